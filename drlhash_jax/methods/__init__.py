"""Hashing methods by name, one file and one row each."""

from drlhash_jax.methods import adsh, csq, dpsh, drlhash, dsh, dtsh, hashnet, lsh
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
    "lsh": MethodSpec(lsh.make, "Charikar, STOC 2002: random projections", trains_encoder=False, learns_labels=False),
    "csq": MethodSpec(
        csq.make, "Yuan et al., CVPR 2020: hash centres", csq.CSQSettings, section="csq", accepts_unlabelled=True
    ),
    "adsh": MethodSpec(
        adsh.make, "Jiang and Li, AAAI 2018: asymmetric", adsh.ADSHSettings, section="adsh", accepts_unlabelled=True
    ),
    "hashnet": MethodSpec(
        hashnet.make, "Cao et al., ICCV 2017: weighted pairs, continuation", hashnet.HashNetSettings, section="hashnet"
    ),
    "dpsh": MethodSpec(dpsh.make, "Li et al., IJCAI 2016: pairs", dpsh.DPSHSettings, section="dpsh"),
    "dsh": MethodSpec(dsh.make, "Liu et al., CVPR 2016: pairs within a margin", dsh.DSHSettings, section="dsh"),
    "dtsh": MethodSpec(dtsh.make, "Wang et al., ACCV 2016: triplets", dtsh.DTSHSettings, section="dtsh"),
}

__all__ = ["METHODS", "Ingredients", "Method", "MethodSpec", "TrainingFacts"]
