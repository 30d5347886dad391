"""Hashing methods by name, one file and one row each."""

from drlhash_jax.methods import adsh, csq, drlhash, lsh, posterior_hadamard
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
    "posterior_hadamard": MethodSpec(
        posterior_hadamard.make,
        "a baseline, no paper: signs of projected class posteriors",
        misfit=posterior_hadamard.misfit,
    ),
}

__all__ = ["METHODS", "Ingredients", "Method", "MethodSpec", "TrainingFacts"]
