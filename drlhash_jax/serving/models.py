"""A saved model with what a bundle remembers of it, and the refusal of one with codes of another."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drlhash_jax.bundles import Bundle
from drlhash_jax.data import ImageSpec, UnreadableImageError, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.files import sha256_of
from drlhash_jax.runs import Model, encode, load_model, selected_bits

_DESCRIPTION = "model.json"
# Decoded and coded at a time.
_BLOCK_IMAGES = 256


def _decode(path: str | Path, spec: ImageSpec) -> np.ndarray:
    """Pixels uint8 ``[size, size, 3]`` of a file."""
    try:
        return decode_image(Path(path), spec)
    except UnreadableImageError as error:
        raise UserError(f"{path} cannot be read: {error}; leave it out") from error


class ServedModel(NamedTuple):
    """A model, and the bits of it that are in use.

    Attributes:
      model: Model.
      folder: it was read from.
      sha256: of its description, which holds the digest of its parameters.
      bits: length of a stored selection; None, with selector None, for all bits.
      selector: who made it.
    """

    model: Model
    folder: Path
    sha256: str
    bits: int | None = None
    selector: str | None = None

    @property
    def num_bits(self) -> int:
        """Bits of its codes."""
        return len(selected_bits(self.model, self.bits, self.selector))

    @property
    def two_functions(self) -> bool:
        """Whether it codes queries and the database apart."""
        return self.model.method.database_logits is not None

    @property
    def prefixes(self) -> list[int]:
        """Lengths below that of its codes at which their first bits were trained, or chosen, to be codes themselves.

        A selection is the first bits of a longer one where its selector makes one order for several lengths.
        """
        if self.selector is None:
            return list(self.model.method.prefixes)
        chosen = self.model.selections
        order = chosen[self.bits][self.selector]
        return sorted(n for n in chosen if n < self.bits and chosen[n].get(self.selector) == order[:n])

    def encode(self, inputs: Any, *, role: str | None = None) -> np.ndarray:
        """Codes uint8 ``[N, K]`` of {0, 1}; see `runs.encode`."""
        return encode(self.model, inputs, self.bits, self.selector, role=role)

    def encode_images(self, paths: Sequence[str | Path], *, role: str | None = None) -> np.ndarray:
        """Codes of image files, which are decoded as the training images were.

        Args:
          paths: of the files, N of them.
          role: "query" or "database"; may be left out where one function codes both.

        Returns:
          uint8 ``[N, K]`` of {0, 1}, in the order of the paths.

        Raises:
          UserError: a model that reads no image files, an image that cannot be read, or no role where there are two
            functions.
        """
        spec = image_spec(self)
        codes = [np.empty((0, self.num_bits), np.uint8)]
        for start in range(0, len(paths), _BLOCK_IMAGES):
            pixels = [_decode(path, spec) for path in paths[start : start + _BLOCK_IMAGES]]
            codes.append(self.encode(np.stack(pixels), role=role))
        return np.concatenate(codes)

    def facts(self) -> dict:
        """What a bundle remembers: JSON values."""
        return {
            "sha256": self.sha256,
            "bits": self.bits,
            "selector": self.selector,
            "prefixes": self.prefixes,
            "input": {"kind": self.model.spec.kind, "shape": list(self.model.input_shape)},
            "image_files": self.model.image_files,
        }


def load(path: str | Path, bits: int | None = None, selector: str | None = None) -> ServedModel:
    """Reads a saved model.

    Args:
      path: its directory, or the finished run that has it in ``model/``.
      bits: length of a stored selection; None, with selector None, for all bits.
      selector: who made it.

    Raises:
      UserError: no model, a damaged one, or no such selection.
    """
    folder = Path(path)
    if not (folder / _DESCRIPTION).is_file() and (folder / "model" / _DESCRIPTION).is_file():
        folder = folder / "model"
    model = load_model(folder)
    selected_bits(model, bits, selector)
    return ServedModel(model, folder, sha256_of(folder / _DESCRIPTION), bits, selector)


def open_model_of(bundle: Bundle, path: str | Path) -> ServedModel:
    """Reads the model that a bundle's codes were made by, with the selection that they have.

    Raises:
      UserError: see `load`; or it is another model.
    """
    facts = bundle.manifest.model
    if facts is None:
        raise UserError(f"{bundle.path} does not say which model made its codes: query it by --id or --code")
    served = load(path)
    if served.sha256 != facts["sha256"]:
        raise UserError(
            f"--model={path} is not the model of {bundle.path}: its SHA-256 begins with {served.sha256[:12]}, that of "
            f"the model that made the codes with {facts['sha256'][:12]}; codes of two models cannot be compared"
        )
    bits, selector = facts.get("bits"), facts.get("selector")
    selected_bits(served.model, bits, selector)
    return served._replace(bits=bits, selector=selector)


def image_spec(served: ServedModel) -> ImageSpec:
    """How image files become what the model reads.

    Raises:
      UserError: it was not trained on image files.
    """
    fields = served.model.image_files
    if fields is None:
        raise UserError(f"{served.folder} was not trained on image files: give it arrays by --embeddings")
    try:
        return ImageSpec(**fields)
    except TypeError as error:
        raise UserError(f"{served.folder} is not a saved model: image_files of model.json: {error}") from error
