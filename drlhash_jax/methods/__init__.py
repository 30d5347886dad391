"""Hashing methods by name, one file and one row each."""

from drlhash_jax.methods import adsh, cnnh, csq, dnnh, drlhash, drlih, lsh, pgdh
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
    "pgdh": MethodSpec(pgdh.make, "Yuan et al., ECCV 2018: policy gradient", pgdh.PGDHSettings, section="pgdh"),
    "drlih": MethodSpec(
        drlih.make, "Peng et al., IEEE TMM 2020: a recurrent agent, triplets", drlih.DRLIHSettings, section="drlih"
    ),
}

__all__ = ["METHODS", "Ingredients", "Method", "MethodSpec", "TrainingFacts"]
