"""All attacks against several hashes, as plain rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from drlhash_jax.codes import as_codes
from drlhash_jax.errors import UserError
from drlhash_jax.robustness.attacks import ATTACKS, find_attack
from drlhash_jax.robustness.distances import count_different, count_same
from drlhash_jax.robustness.hashers import Hasher
from drlhash_jax.robustness.roc import area_under_curve, equal_error_rate, roc_curve, threshold_at


def _check_images(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"images must be uint8 [n, H, W, 3], not {images.dtype} {list(images.shape)}")
    if len(images) < 2:
        raise UserError(f"{len(images)} image(s): at least two are needed, different images are compared too")
    rows: dict[bytes, int] = {}
    for row, image in enumerate(images):
        first = rows.setdefault(image.tobytes(), row)
        if first != row:
            # The pair would be counted among those of different images.
            raise UserError(f"images {first} and {row} are the same pixels: give every image once")


def _codes(name: str, hasher: Hasher, images: np.ndarray) -> np.ndarray:
    codes = as_codes(hasher(images), f"hasher {name}")
    if len(codes) != len(images):
        raise UserError(f"hasher {name}: {len(codes)} codes for {len(images)} images")
    return codes


def _mean_distance(counts: np.ndarray) -> float:
    return round(float(np.arange(len(counts)) @ counts / np.sum(counts)), 6)


def _row(same: np.ndarray, different: np.ndarray, false_positive_rate: float) -> dict[str, float | int]:
    threshold = threshold_at(different, false_positive_rate)
    curve = roc_curve(same, different)
    return {
        "bits": len(same) - 1,
        "n": int(np.sum(same)),
        "n_different": int(np.sum(different)),
        "mean_distance": _mean_distance(same),
        "mean_different": _mean_distance(different),
        "xi": threshold,
        "max_false_positive_rate": false_positive_rate,
        "false_positive_rate": round(float(curve.false_positive_rate[threshold + 1]), 6),
        "detection_rate": round(float(curve.detection_rate[threshold + 1]), 6),
        "eer": round(equal_error_rate(same, different), 6),
        "auc": round(area_under_curve(same, different), 6),
    }


def measure_robustness(
    images: np.ndarray,
    hashers: Mapping[str, Hasher],
    attacks: Sequence[str] = tuple(ATTACKS),
    false_positive_rate: float = 0.01,
) -> list[dict[str, str | float | int]]:
    """Attacks every image in every way and lets every hash look for the copies.

    The different images of a hash are all pairs of the images as they are, so its threshold is one for all attacks.

    Args:
      images: uint8 RGB ``[n, H, W, 3]``, all different.
      hashers: name -> Hasher.
      attacks: names out of `ATTACKS`.
      false_positive_rate: that the threshold xi must keep to.

    Returns:
      One row for each attack, strength and hash; `evaluation.ROBUSTNESS_DEFINITIONS` says what its fields are.

    Raises:
      UserError: not such images, an image twice, or a hash that does not give codes.
      ValueError: an unknown attack, or not a rate.
    """
    _check_images(images)
    found = {name: find_attack(name) for name in attacks}
    originals = {name: _codes(name, hasher, images) for name, hasher in hashers.items()}
    different = {name: count_different(codes) for name, codes in originals.items()}
    rows = []
    for attack, (function, strengths, unit, _, _) in found.items():
        for strength in strengths:
            copies = np.stack([function(image, strength) for image in images])
            for name, hasher in hashers.items():
                same = count_same(originals[name], _codes(name, hasher, copies))
                facts = {"attack": attack, "strength": strength, "unit": unit, "hasher": name}
                rows.append(facts | _row(same, different[name], false_positive_rate))
    return rows
