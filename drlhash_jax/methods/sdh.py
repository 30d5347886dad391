"""Supervised discrete hashing: codes that labels are a linear function of, and a kernel regression that predicts them.

Shen, Shen, Liu and Shen, "Supervised discrete hashing", CVPR 2015. With Y in {0, 1} the labels ``[n, C]``, B in {-1, 1}
the codes ``[n, K]`` and Phi ``[n, m + 1]`` the kernel features of the inputs,

    min over B, W, P of ||Y - B W||^2 + lambda ||W||^2 + nu (||B - Phi P||^2 + epsilon ||P||^2).

An iteration updates W and P in closed form, then B column by column (discrete cyclic coordinate descent, DCC): with
Q = Y W^T + nu Phi P, column k is sign(Q_k - B' W' w_k), where B' and W' lack column and row k, and w_k is row k of W.
No update can raise the objective. With ``solver="fsdh"`` (Gui, Liu, Sun, Tao and Tan, "Fast supervised discrete
hashing", TPAMI 2018) the first term is ||B - Y W||^2, and B has the closed form sign(Y W + nu Phi P).

Inputs are centred, divided by their length and compared with m anchors, which are random training rows: phi_j(x) =
exp(-||x - a_j||^2 / (2 sigma^2)), and a last feature that is 1. The bits of an input are the signs of phi(x) P, where P
is fitted to the last B.

Hyper-parameters: lambda = 1, nu = 1e-5, 1,000 anchors, 5 iterations and at most 10 sweeps are those of the paper and of
its public implementation; epsilon = 1e-2 is of public implementations, which add it to Phi^T Phi. The paper leaves it
out of the objective; here it is in it, since only then does the update of P lower what is reported. The width that
public implementations set by hand (0.4 for rows of length 1) is by default taken from the data: sigma is the mean
distance of a row to the nearest anchor other than itself. On the CIFAR-10 embeddings at 32 bits that is .98 and gives
mAP .60, against .48 with 0.4; the solver makes no difference there.

Numbers: the condition of Phi^T Phi + epsilon I may reach n (m + 1) / epsilon, which is beyond float32, so it is
decomposed in float64, once. What iterates in float32 is the whitened Phi of the rows, whose products keep their digits.
Every device computes the same.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax import struct

from drlhash_jax.methods.base import Ingredients, Method, signs
from drlhash_jax.methods.linear import flat, flat_blocks, mean_of_rows
from drlhash_jax.methods.pairs import squared_distances
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State
from drlhash_jax.types import Array

SOLVERS = ("dcc", "fsdh")


@dataclasses.dataclass(frozen=True)
class SDHSettings(Settings):
    """Settings of SDH."""

    solver: str = setting("dcc", "update of the codes: SDH's by columns, or FSDH's closed form", choices=SOLVERS)
    num_iterations: int = setting(5, "updates of all three variables", least=1, most=100_000)
    num_sweeps: int = setting(10, "sweeps over the columns in an update by dcc, at most", least=1, most=10_000)
    num_anchors: int = setting(1_000, "m, kernel anchors; n (m + 1) numbers are in memory", least=1, most=20_000)
    sigma: float = setting(
        0.0, "width of the kernel for inputs of length 1; 0 for one from the data", least=0, most=1e6, search=(0.7,)
    )
    label_weight: float = setting(1.0, "lambda, weight of ||W||^2", least=1e-9, most=1e9)
    regression_weight: float = setting(1e-5, "nu, weight of ||B - Phi P||^2", least=0.0, most=1e9, search=(1e-4, 1e-3))
    ridge: float = setting(1e-2, "epsilon, weight of ||P||^2 in the regression", least=1e-6, most=1e9)


@struct.dataclass
class Regression:
    """The kernel regression of the training rows; constant while the codes are learnt.

    Attributes:
      kernel: "mean" float32 ``[D]``, "anchors" ``[m, D]`` and "sigma" ``[]``, what kernel features are computed with.
      whitening: float32 ``[m + 1, m + 1]``, A^(-1/2) with A = Phi^T Phi + epsilon I.
      basis: float32 ``[n, m + 1]``, F = Phi A^(-1/2), so that Phi A^(-1) Phi^T = F F^T. P = A^(-1/2) F^T B.
    """

    kernel: dict[str, Array]
    whitening: Array
    basis: Array


def normalised(mean: Array, x: Array) -> Array:
    """Inputs ``[B, ...]`` as centred rows of length 1, float32 ``[B, D]``; a row that is the mean stays zero."""
    centred = flat(x) - mean[None]
    return centred / jnp.maximum(jnp.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


@jax.jit
def kernel_features(kernel: dict[str, Array], x: Array) -> Array:
    """phi: float32 ``[B, m + 1]`` of inputs ``[B, ...]``, with a last column of ones."""
    distances = squared_distances(normalised(kernel["mean"], x), kernel["anchors"])
    features = jnp.exp(-distances / (2.0 * kernel["sigma"] ** 2))
    return jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)


def logits(params: dict[str, Array], x: Array) -> Array:
    """phi(x) P, float32 ``[B, K]`` of inputs ``[B, ...]``."""
    return kernel_features(params, x) @ params["projection"]


def anchor_distance(begin: Start, mean: np.ndarray, anchors: Array, places: np.ndarray) -> float:
    """Mean over the training rows of the distance to the nearest anchor other than the row itself.

    Args:
      begin: Start with n rows.
      mean: float32 ``[D]``.
      anchors: float32 ``[m, D]``, normalised.
      places: int ``[m]``, which of the n rows the anchors are.

    Returns:
      The mean; 1 where it is zero, or there is no other anchor.
    """
    total, first = 0.0, 0
    for block in flat_blocks(begin):
        squares = np.array(squared_distances(normalised(mean, block), anchors))
        inside = (places >= first) & (places < first + len(squares))
        squares[places[inside] - first, np.flatnonzero(inside)] = np.inf
        total += np.sqrt(squares.min(axis=1), dtype=np.float64).sum()
        first += len(squares)
    # The root of rounding errors, where all rows are the same, is no width either.
    return total / first if 1e-3 < total / first < np.inf else 1.0


def start_regression(key: Array, begin: Start, settings: SDHSettings) -> Regression:
    """Draws the anchors and decomposes the kernel features of the training rows."""
    mean = mean_of_rows(begin)
    places = np.asarray(jax.random.permutation(key, len(begin.subset)))[: settings.num_anchors]
    anchors = normalised(mean, begin.prepared(begin.subset[places]))
    sigma = settings.sigma or anchor_distance(begin, mean, anchors, places)
    kernel = {"mean": jnp.asarray(mean), "anchors": anchors, "sigma": jnp.float32(sigma)}
    basis = np.concatenate([np.asarray(kernel_features(kernel, block)) for block in flat_blocks(begin)])
    gram = np.zeros((basis.shape[1], basis.shape[1]))
    for block in np.array_split(basis, -(-len(basis) // 4096)):
        gram += block.astype(np.float64).T @ block
    values, vectors = scipy.linalg.eigh(gram)
    whitening = (vectors / np.sqrt(np.maximum(values, 0.0) + settings.ridge)[None]) @ vectors.T
    for block in np.array_split(basis, -(-len(basis) // 4096)):
        block[:] = block @ whitening
    return Regression(kernel, whitening.astype(np.float32), basis)


def solve_ridge(gram: Array, weight: float, right: Array) -> Array:
    """(G + weight I)^(-1) R of a positive semidefinite G ``[K, K]`` and R ``[K, C]``, all float32.

    By eigenvalues, which are not let below 0: codes of few classes have a G of low rank, and rounding could make
    G + weight I indefinite where there are many rows.
    """
    values, vectors = jnp.linalg.eigh(gram)
    return vectors @ ((vectors.T @ right) / (jnp.maximum(values, 0.0) + weight)[:, None])


def update_bit(bit: Array, codes: Array, gram: Array, wanted: Array) -> Array:
    """The column of B that is best given the others: one step of DCC.

    Args:
      bit: int32 scalar k.
      codes: float32 ``[n, K]`` of {-1, 1}, B.
      gram: float32 ``[K, K]``, W W^T.
      wanted: float32 ``[n, K]``, Q.

    Returns:
      B with another column k.
    """
    others = gram[:, bit].at[bit].set(0.0)
    return codes.at[:, bit].set(signs(wanted[:, bit] - codes @ others))


def update_codes(codes: Array, w: Array, wanted: Array, num_sweeps: int) -> Array:
    """Sweeps over the columns of B until none changes, or as many as are allowed; arguments as in `update_bit`."""
    gram = w @ w.T

    def sweep(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        codes, _, count = carry
        after = jax.lax.fori_loop(0, codes.shape[1], lambda bit, b: update_bit(bit, b, gram, wanted), codes)
        return after, jnp.any(after != codes), count + 1

    goes_on = lambda carry: carry[1] & (carry[2] < num_sweeps)
    return jax.lax.while_loop(goes_on, sweep, (codes, jnp.bool_(True), jnp.int32(0)))[0]


def update_all(codes: Array, labels: Array, regression: Regression, settings: SDHSettings) -> tuple[Array, Array]:
    """One iteration: W and P of the codes, then the codes of W and P.

    Args:
      codes: float32 ``[n, K]`` of {-1, 1}, B.
      labels: float32 ``[n, C]`` multi-hot, Y.
      regression: Regression of the same rows.
      settings: SDHSettings.

    Returns:
      The next codes, and the objective of these codes, W and P, divided by n.
    """
    whitened = regression.basis.T @ codes
    predicted = regression.basis @ whitened
    if settings.solver == "dcc":
        w = solve_ridge(codes.T @ codes, settings.label_weight, codes.T @ labels)
        wanted = labels @ w.T + settings.regression_weight * predicted
        codes = update_codes(codes, w, wanted, settings.num_sweeps)
        residual = labels - codes @ w
    else:
        w = solve_ridge(labels.T @ labels, settings.label_weight, labels.T @ codes)
        codes = signs(labels @ w + settings.regression_weight * predicted)
        residual = codes - labels @ w
    unfitted = jnp.sum((codes - predicted) ** 2) + settings.ridge * jnp.sum((regression.whitening @ whitened) ** 2)
    objective = jnp.sum(residual**2) + settings.label_weight * jnp.sum(w**2) + settings.regression_weight * unfitted
    return codes, objective / codes.shape[0]


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """SDH or FSDH for codes of one length."""
    settings = given.settings

    def init(key: Array, begin: Start) -> State:
        anchor_key, code_key = jax.random.split(jax.random.split(key)[0])
        codes = jax.random.rademacher(code_key, (len(begin.subset), given.num_bits), jnp.float32)
        return State(jnp.zeros((), jnp.int32), codes, extra=start_regression(anchor_key, begin, settings))

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        codes, objective = update_all(state.params, batch.labels, state.extra, settings)
        return state.replace(params=codes), {"loss": objective}

    def finish(state: State) -> dict[str, dict[str, Array]]:
        regression = state.extra
        projection = regression.whitening @ (regression.basis.T @ state.params)
        return {"params": regression.kernel | {"projection": projection}}

    # Inputs are read while the phase begins, some at a time; steps look at their kernel features.
    return Method((Phase("codes", settings.num_iterations, 0, init, step, finish=finish, needs_inputs=False),), logits)
