"""Questions to a bundle by what its model reads: embeddings and images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.bundles import Answer, Bundle, ask
from drlhash_jax.data import UnreadableImageError, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.runs import real_codes
from drlhash_jax.serving.inputs import array_blocks, read_inputs
from drlhash_jax.serving.models import ServedModel, image_spec, open_model_of


def _real_codes(bundle: Bundle, served: ServedModel, inputs: np.ndarray) -> np.ndarray:
    """Logits float32 ``[Q, K]`` of the other side than the bundle's, where a model has two."""
    role = {"database": "query", "query": "database", None: None}[bundle.manifest.role]
    return real_codes(served.model, inputs, served.bits, served.selector, role=role)


def _cosines(real: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Cosines ``[n]`` of logits ``[K]`` with logits float16 ``[n, K]``; 0 where one of them is 0."""
    logits = logits.astype(np.float32)
    norms = np.linalg.norm(logits, axis=1) * np.linalg.norm(real)
    return np.divide(logits @ real, norms, out=np.zeros(len(logits), np.float32), where=norms > 0)


class Wanted(NamedTuple):
    """What an answer should hold.

    Attributes:
      k: see `bundles.ask`.
      radius: see `bundles.ask`.
      rerank: how many of the nearest rows are put in the order of their logits' cosine with the query's, of which the
        first k are given; None for the order of distances.
      bits: distances are of the first bits alone, cosines of all; None for all.
    """

    k: int | None = None
    radius: int | None = None
    rerank: int | None = None
    bits: int | None = None


def _rerank(bundle: Bundle, queries: list[str], real: np.ndarray, wanted: Wanted) -> list[Answer]:
    """The `rerank` nearest rows by distance, of which the k of largest cosine come first; equal ones stay in order."""
    if not bundle.manifest.has_logits:
        raise UserError(f"--rerank: {bundle.path} has no logits; encode with --logits")
    answers = []
    for query, values, distances, rows in zip(
        queries, real, *bundle.search(real >= 0, wanted.rerank, wanted.bits), strict=True
    ):
        order = np.argsort(-_cosines(values, bundle.logits_of(rows)), kind="stable")[
            : 10 if wanted.k is None else wanted.k
        ]
        names = [bundle.id_of(row) for row in rows[order].tolist()]
        answers.append(Answer(query, names, distances[order].tolist()))
    return answers


def _ask(bundle: Bundle, queries: list[str], real: np.ndarray, wanted: Wanted) -> list[Answer]:
    if wanted.rerank is None:
        return ask(bundle, queries, real >= 0, wanted.k, wanted.radius, wanted.bits)
    if wanted.radius is not None:
        raise UserError("--rerank takes the nearest rows whatever their distance: leave out --radius")
    return _rerank(bundle, queries, real, wanted)


def ask_by_array(bundle: Bundle, model: str | Path, address: str, wanted: Wanted) -> list[Answer]:
    """What is near each row of an array.

    Args:
      bundle: Bundle.
      model: the saved model, or the finished run, that made its codes.
      address: FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY of inputs ``[Q, ...]``.
      wanted: Wanted.

    Raises:
      UserError: another model, inputs that it cannot read, no logits to order by, or see `bundles.ask`.
    """
    served = open_model_of(bundle, model)
    inputs = read_inputs("embedding", address)
    real = np.concatenate([_real_codes(bundle, served, block) for block in array_blocks(inputs, address)])
    return _ask(bundle, [f"row {row}" for row in range(len(real))], real, wanted)


def ask_by_image(bundle: Bundle, model: str | Path, path: Path, wanted: Wanted) -> Answer:
    """What is near an image file, which is decoded as the model's training images were.

    Args:
      bundle: Bundle.
      model: the saved model, or the finished run, that made its codes.
      path: of the image.
      wanted: Wanted.

    Raises:
      UserError: another model, one that reads no image files, an image that cannot be read, no logits to order by, or
        see `bundles.ask`.
    """
    served = open_model_of(bundle, model)
    try:
        image = decode_image(path, image_spec(served))
    except UnreadableImageError as error:
        raise UserError(f"--image={path} cannot be read: {error}") from error
    (answer,) = _ask(bundle, [str(path)], _real_codes(bundle, served, image[None]), wanted)
    return answer
