"""Locality-sensitive hashing: signs of random projections. Nothing is learnt from labels; the floor of every table.

Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002: bit k of x is [(x - m) . a_k >= 0]
with m the mean of the training rows and a_k drawn from N(0, I), so that two rows differ in a share of bits that is
their angle over pi. Centring is ours; images are flattened.

With `orthogonal`, planes of a block of at most D are orthogonal to each other (Ji et al., "Super-bit locality-sensitive
hashing", NIPS 2012): the share of bits is the same on average and varies less.

With `secret_file`, the planes are derived from the bytes of that file and from nothing else, by SHAKE-256: the hash is
keyed (thesis Eq. 1.5). Whoever lacks the key cannot tell the bits of an input, and two keys give codes that agree in
half of their bits. The key reaches this file as a field of `KeyedLSHSettings`, which no configuration holds:
config.json has the path alone, and run.json a SHA-256 that tells a changed key. Therefore the key must be random bytes
(``head -c 32 /dev/urandom > key``) and not a word that can be guessed. The saved model, and the finished stages in
checkpoints/, contain the planes: keep them as secret as the key.
"""

import dataclasses
import functools
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from drlhash_jax.methods.base import Ingredients, Method
from drlhash_jax.methods.linear import logits, mean_of_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Phase, Start, State
from drlhash_jax.types import Array

# Whatever else is derived from a key begins with other words.
_PLANE, _FINGERPRINT = b"drlhash_jax lsh plane", b"drlhash_jax lsh fingerprint"


@dataclasses.dataclass(frozen=True)
class LSHSettings(Settings):
    """Settings of LSH, as a configuration holds them."""

    orthogonal: bool = setting(False, "whether planes of a block of at most D are orthogonal to each other")
    secret_file: str = setting("", "file with the key that the planes are derived from; empty for planes of the seed")

    def with_secret(self, secret: bytes) -> "KeyedLSHSettings":
        """These settings, with the content of `secret_file`."""
        return KeyedLSHSettings(self.orthogonal, self.secret_file, secret)


@dataclasses.dataclass(frozen=True)
class KeyedLSHSettings(LSHSettings):
    """Settings of LSH with the key itself; made when a run begins, and never written or shown."""

    secret: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def fingerprint(self) -> str:
        """A SHA-256 that tells a key from others, as hexadecimal digits."""
        return hashlib.sha256(_FINGERPRINT + self.secret).hexdigest()


def keyed_planes(secret: bytes, num_inputs: int, num_bits: int) -> np.ndarray:
    """Planes of N(0, 1) that are derived from a key: float64 ``[D, K]``.

    Plane k has a SHAKE-256 stream of its own, of the number of inputs, k and the key. Each 32 bits of it are a place in
    (0, 1), and the normal quantile of that place is a number of the plane. So the first planes are the same whatever K.
    """
    planes = []
    for bit in range(num_bits):
        numbers = num_inputs.to_bytes(8, "little") + bit.to_bytes(8, "little")
        stream = hashlib.shake_256(_PLANE + numbers + secret).digest(4 * num_inputs)
        planes.append(scipy.special.ndtri((np.frombuffer(stream, "<u4") + 0.5) / 2.0**32))
    return np.stack(planes, axis=1)


def orthogonalised(planes: np.ndarray) -> np.ndarray:
    """Planes ``[D, K]`` as float64 of length 1, each block of at most D columns orthogonal.

    The Q of the QR decomposition whose R has a positive diagonal, which is unique: the Gram-Schmidt process. The first
    plane of a block keeps its direction, and planes of N(0, 1) become orthogonal ones without a preferred direction.
    """
    blocks = []
    for place in range(0, planes.shape[1], len(planes)):
        q, r = np.linalg.qr(np.asarray(planes[:, place : place + len(planes)], np.float64))
        blocks.append(q * np.where(np.diag(r) < 0, -1.0, 1.0)[None])
    return np.concatenate(blocks, axis=1)


def _draw_planes(key: Array, num_inputs: int, num_bits: int, settings: LSHSettings) -> np.ndarray:
    """Planes float32 ``[D, K]`` of the settings' key, or of the PRNG key where they name none."""
    if settings.secret_file:
        if not getattr(settings, "secret", b""):
            raise ValueError("the content of secret_file was not given: see LSHSettings.with_secret")
        planes = keyed_planes(settings.secret, num_inputs, num_bits)
    else:
        planes = jax.random.normal(key, (num_inputs, num_bits), jnp.float32)
    return np.asarray(orthogonalised(planes) if settings.orthogonal else planes, np.float32)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """LSH for codes of one length: one plane a bit."""

    def init(key: Array, begin: Start) -> State:
        mean = mean_of_rows(begin)
        projection = _draw_planes(key, len(mean), given.num_bits, given.settings)
        return State(jnp.zeros((), jnp.int32), {"mean": mean, "projection": projection})

    return Method((Phase("projection", 0, 0, init),), logits)
