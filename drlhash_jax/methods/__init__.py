"""Hashing methods by name, one file and one row each."""

from drlhash_jax.methods import (
    adsh,
    cnnh,
    csq,
    dagh,
    dihn,
    dnnh,
    dpsh,
    drlhash,
    drlih,
    dsh,
    dtsh,
    erh,
    greedyhash,
    hashgan,
    hashnet,
    lsh,
    orthohash,
    pca,
    pgdh,
    posterior_hadamard,
    sdh,
)
from drlhash_jax.methods.base import Ingredients, Method, MethodSpec, TrainingFacts
from drlhash_jax.target_codes import TargetCodeSettings

METHODS: dict[str, MethodSpec] = {
    "drlhash": MethodSpec(
        drlhash.make,
        "thesis 3.2-3.3: target codes, then an encoder",
        TargetCodeSettings,
        section="target_codes",
        accepts_unlabelled=True,
    ),
    "erh": MethodSpec(
        erh.make,
        "this project's own: codes that rank well under held-out posteriors",
        erh.ERHSettings,
        section="erh",
        misfit=erh.misfit,
    ),
    "erh_two": MethodSpec(
        erh.make_two,
        "the same with one function for queries and one for the database",
        erh.ERHSettings,
        section="erh",
        misfit=erh.misfit,
    ),
    "lsh": MethodSpec(
        lsh.make,
        "Charikar, STOC 2002: random projections",
        lsh.LSHSettings,
        section="lsh",
        trains_encoder=False,
        learns_labels=False,
    ),
    "pca": MethodSpec(
        pca.make_pca,
        "Wang et al., CVPR 2010: signs of principal directions",
        trains_encoder=False,
        learns_labels=False,
        misfit=pca.misfit,
    ),
    "pca_rotation": MethodSpec(
        pca.make_rotation,
        "Gong and Lazebnik, CVPR 2011: principal directions, rotated at random",
        trains_encoder=False,
        learns_labels=False,
        misfit=pca.misfit,
    ),
    "itq": MethodSpec(
        pca.make_itq,
        "Gong and Lazebnik, CVPR 2011: principal directions, rotated towards codes",
        pca.ITQSettings,
        section="itq",
        trains_encoder=False,
        learns_labels=False,
        misfit=pca.misfit,
    ),
    "sdh": MethodSpec(
        sdh.make,
        "Shen et al., CVPR 2015: discrete codes, kernel regression",
        sdh.SDHSettings,
        section="sdh",
        trains_encoder=False,
    ),
    "cnnh": MethodSpec(
        cnnh.make,
        "Xia et al., AAAI 2014: codes from labels, then regression",
        cnnh.CNNHSettings,
        section="cnnh",
        accepts_unlabelled=True,
        misfit=cnnh.misfit,
    ),
    "dnnh": MethodSpec(
        dnnh.make, "Lai et al., CVPR 2015: divide and encode, triplets", dnnh.DNNHSettings, section="dnnh"
    ),
    "dsh": MethodSpec(dsh.make, "Liu et al., CVPR 2016: pairs within a margin", dsh.DSHSettings, section="dsh"),
    "dpsh": MethodSpec(dpsh.make, "Li et al., IJCAI 2016: pairs", dpsh.DPSHSettings, section="dpsh"),
    "dtsh": MethodSpec(dtsh.make, "Wang et al., ACCV 2016: triplets", dtsh.DTSHSettings, section="dtsh"),
    "hashnet": MethodSpec(
        hashnet.make, "Cao et al., ICCV 2017: weighted pairs, continuation", hashnet.HashNetSettings, section="hashnet"
    ),
    "pgdh": MethodSpec(pgdh.make, "Yuan et al., ECCV 2018: policy gradient", pgdh.PGDHSettings, section="pgdh"),
    "csq": MethodSpec(
        csq.make,
        "Yuan et al., CVPR 2020: hash centres",
        csq.CSQSettings,
        section="csq",
        accepts_unlabelled=True,
        misfit=csq.too_many_classes,
    ),
    "orthohash": MethodSpec(
        orthohash.make,
        "Hoe et al., NeurIPS 2021: one cosine with codes of classes",
        orthohash.OrthoHashSettings,
        section="orthohash",
        misfit=csq.too_many_classes,
    ),
    "greedyhash": MethodSpec(
        greedyhash.make,
        "Su et al., NeurIPS 2018: sign forwards, identity backwards",
        greedyhash.GreedyHashSettings,
        section="greedyhash",
    ),
    "hashgan": MethodSpec(
        hashgan.make,
        "Cao et al., CVPR 2018: pairs of real and generated images",
        hashgan.HashGANSettings,
        section="hashgan",
        misfit=hashgan.misfit,
    ),
    "drlih": MethodSpec(
        drlih.make, "Peng et al., IEEE TMM 2020: a recurrent agent, triplets", drlih.DRLIHSettings, section="drlih"
    ),
    "adsh": MethodSpec(
        adsh.make,
        "Jiang and Li, AAAI 2018: asymmetric",
        adsh.ADSHSettings,
        section="adsh",
        accepts_unlabelled=True,
        keeps_codes=True,
    ),
    "dagh": MethodSpec(
        dagh.make, "Chen et al., ICCV 2019: anchor graph", dagh.DAGHSettings, section="dagh", misfit=dagh.misfit
    ),
    "dihn": MethodSpec(
        dihn.make,
        "Wu et al., CVPR 2019: incremental, codes that exist stay",
        dihn.DIHNSettings,
        section="dihn",
        accepts_unlabelled=True,
        keeps_codes=True,
    ),
    "posterior_hadamard": MethodSpec(
        posterior_hadamard.make,
        "a baseline, no paper: signs of projected class posteriors",
        misfit=posterior_hadamard.misfit,
    ),
}

__all__ = ["METHODS", "Ingredients", "Method", "MethodSpec", "TrainingFacts"]
