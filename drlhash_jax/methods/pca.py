"""Principal directions as hash functions: their signs, a random rotation of them, and ITQ. No labels are used.

Gong and Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011. With V
``[n, K]`` the centred rows projected on the K directions of largest variance, the bits are the signs of V R, where R is

- `pca`: the identity (PCA sign; Wang et al., "Semi-supervised hashing", CVPR 2010, compare with it),
- `pca_rotation`: a random rotation, which spreads the variance over the bits (Gong and Lazebnik's PCA-RR; Jegou et al.,
  "Aggregating local descriptors into a compact image representation", CVPR 2010),
- `itq`: the rotation that ||B - V R||^2 is minimised by, over B in {-1, 1} and R orthogonal in turn, from a random one:
  B = sign(V R), and with U S W^T the singular value decomposition of V^T B, R = U W^T. Neither can raise the error.

50 iterations are the paper's. Ours: V is divided by the root of its mean square, which changes no bit and no rotation,
so that the error has the same scale for all data. Images are flattened. Mean and covariance are sums over blocks of
rows in float64; of rows in a file, ITQ keeps V alone in memory.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, signs
from drlhash_jax.methods.linear import flat_blocks, logits, mean_of_rows
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State
from drlhash_jax.types import Array

# Values of a row. The covariance of so many takes 0.5 GiB, and its decomposition minutes.
_MAX_VALUES = 8_192


@dataclasses.dataclass(frozen=True)
class ITQSettings(Settings):
    """Settings of ITQ."""

    num_iterations: int = setting(50, "updates of the rotation", least=0, most=100_000)


def misfit(settings: Settings, facts: TrainingFacts) -> str | None:
    """Refuses more bits than there are directions, and rows whose covariance is too large."""
    num_values = int(np.prod(facts.shape))
    if facts.num_bits > num_values:
        return f"{facts.num_bits} bits need as many directions, and a row has {num_values} values: use fewer bits"
    # Centred rows span one direction less than there are rows.
    if facts.num_bits >= facts.num_rows:
        return f"{facts.num_bits} bits need more rows than that, and there are {facts.num_rows}: use fewer bits"
    if num_values > _MAX_VALUES:
        return (
            f"the covariance of {num_values} values a row is too large, {_MAX_VALUES} are the most: use smaller images "
            "or embeddings"
        )
    return None


def principal_directions(begin: Start, mean: np.ndarray, num_bits: int) -> np.ndarray:
    """The directions of largest variance of the training rows, largest first.

    Args:
      begin: Start.
      mean: float32 ``[D]`` of its rows.
      num_bits: K.

    Returns:
      float32 ``[D, K]``, orthonormal; the largest entry of each direction is positive.

    Raises:
      ValueError: rows are shorter than K, or too few; `misfit` says so before, but for images that are made smaller and
        for rows that are held out.
    """
    covariance = np.zeros((len(mean), len(mean)))
    if num_bits > len(mean) or num_bits >= len(begin.subset):
        raise ValueError(f"{num_bits} bits of {len(begin.subset)} rows of {len(mean)} values: use fewer bits")
    for block in flat_blocks(begin):
        centred = np.asarray(block, np.float64) - mean[None]
        covariance += centred.T @ centred
    largest = len(mean) - num_bits, len(mean) - 1
    _, directions = scipy.linalg.eigh(covariance, subset_by_index=largest)
    directions = directions[:, ::-1]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(num_bits)])
    return (directions * signs[None]).astype(np.float32)


def random_rotation(key: Array, num_bits: int) -> Array:
    """An orthogonal float32 ``[K, K]`` without a preferred direction.

    The Q of the QR decomposition of a random matrix whose R has a positive diagonal.
    """
    q, r = jnp.linalg.qr(jax.random.normal(key, (num_bits, num_bits), jnp.float32))
    return q * jnp.where(jnp.diag(r) < 0, -1.0, 1.0)[None]


def update_rotation(rotation: Array, projected: Array) -> tuple[Array, Array]:
    """One iteration of ITQ.

    Args:
      rotation: float32 ``[K, K]``, R.
      projected: float32 ``[n, K]``, V.

    Returns:
      The next R, and the error before it: the mean over rows and bits of (B - V R)^2.
    """
    rotated = projected @ rotation
    codes = signs(rotated)
    u, _, w = jnp.linalg.svd(projected.T @ codes)
    return u @ w, jnp.mean((codes - rotated) ** 2)


def _start_rotation(key: Array, begin: Start, num_bits: int, rotated: bool) -> tuple[dict[str, Array], Array]:
    """Parameters that the rotation is learnt in, and V float32 ``[n, K]``."""
    mean = mean_of_rows(begin)
    directions = principal_directions(begin, mean, num_bits)
    projected = np.concatenate([np.asarray((block - mean[None]) @ directions) for block in flat_blocks(begin)])
    spread = np.sqrt(np.mean(np.square(projected), dtype=np.float64))
    rotation = random_rotation(key, num_bits) if rotated else jnp.eye(num_bits)
    params = {"mean": mean, "directions": directions, "rotation": rotation}
    return params, (projected / max(float(spread), 1e-30)).astype(np.float32)


def _make(given: Ingredients, rotated: bool, num_iterations: int) -> Method:
    def init(key: Array, begin: Start) -> State:
        # The loop takes the other half of the key.
        rotation_key, _ = jax.random.split(key)
        params, projected = _start_rotation(rotation_key, begin, given.num_bits, rotated)
        return State(jnp.zeros((), jnp.int32), params, extra=projected)

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        rotation, error = update_rotation(state.params["rotation"], state.extra)
        return state.replace(params=state.params | {"rotation": rotation}), {"loss": error}

    def finish(state: State) -> dict[str, dict[str, Array]]:
        params = state.params
        return {"params": {"mean": params["mean"], "projection": params["directions"] @ params["rotation"]}}

    # Inputs are read while the phase begins, some at a time; a step looks at V alone.
    return Method((Phase("projection", num_iterations, 0, init, step, finish=finish, needs_inputs=False),), logits)


def fit_itq(key: Array, begin: Start, num_bits: int) -> dict[str, np.ndarray]:
    """ITQ at once, for methods that have some bits of it: "mean" ``[D]`` and "projection" float32 ``[D, num_bits]``.

    Args:
      key: PRNG key, consumed.
      begin: Start; its training rows are features and fit into memory.
      num_bits: below D and the number of rows, see `misfit`.
    """
    params, projected = _start_rotation(key, begin, num_bits, True)
    update = lambda _, rotation: update_rotation(rotation, projected)[0]
    rotation = jax.lax.fori_loop(0, ITQSettings().num_iterations, update, params["rotation"])
    return {"mean": params["mean"], "projection": np.asarray(params["directions"] @ rotation)}


@functools.lru_cache
def make_pca(given: Ingredients) -> Method:
    """PCA sign for codes of one length."""
    return _make(given, False, 0)


@functools.lru_cache
def make_rotation(given: Ingredients) -> Method:
    """PCA with a random rotation for codes of one length."""
    return _make(given, True, 0)


@functools.lru_cache
def make_itq(given: Ingredients) -> Method:
    """ITQ for codes of one length."""
    return _make(given, True, given.settings.num_iterations)
