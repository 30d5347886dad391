"""Rivals of hash codes on embeddings, those that a sceptic brings: quantised features, and posteriors of simple probes.

Each is fitted to training rows alone, turns a row of the database into so many bytes, and gives every query a score of
every row. Where labels are learnt, the literature's objection stands behind it (Sablayrolles, Douze, Usunier and Jegou,
"How should we evaluate supervised hashing?", ICASSP 2017): ranking by a classifier's posterior may do as well as codes.

    float_cosine      q . d of L2-normalised rows
    pq                |q - d'|^2, d' the row decoded from a product quantiser (Jegou, Douze and Schmid, TPAMI 2011)
    rabitq            |q - d|^2 as a bit per dimension and two floats estimate it (Gao and Long, SIGMOD 2024)
    posterior         p_q . p_d, p the class posterior of logistic regression
    ridge_posterior   the same, p that of kernel ridge regression
    posterior_pq      p_q . p'_d, p'_d decoded from a product quantiser of logistic regression's posterior

p_q . p_d is the probability that two rows of one label each share it. Rows with several labels have a probability for
each label. Equal rows get equal scores to the last bit, since only distinct rows are encoded and scored: a matrix
product may round a row differently at another place.
"""

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from drlhash_jax.errors import UserError
from drlhash_jax.posteriors import (
    MOST_KERNEL_ROWS,
    fit_kernel_ridge,
    kernel_logits,
    log_loss,
    posterior_of,
    unit_rows,
)

# s of logistic regression, which minimises the mean loss + |W|^2 / (2 s), for features of variance about 1.
_STRENGTHS = (5.0, 20.0, 50.0, 200.0, 500.0)
_NUM_FOLDS = 5
# Rows whose kernel is in memory at a time.
_KERNEL_ROWS = 2_000
# Centroids of one byte.
_NUM_CENTROIDS = 256


class RivalRows(NamedTuple):
    """Rows of a split; inputs are normalised as an encoder sees them.

    Attributes:
      train: float32 ``[n, D]``.
      labels: of the training rows, int ``[n]``, negative for none, or multi-hot ``[n, C]``.
      query: float32 ``[Q, D]``.
      database: float32 ``[N, D]``.
    """

    train: np.ndarray
    labels: np.ndarray
    query: np.ndarray
    database: np.ndarray


class Ranking(NamedTuple):
    """A database ranked for every query.

    Attributes:
      score_rows: (first query, query to stop before) -> float32 ``[q, N]``, larger for rows that come earlier; see
        `retrieval.score_queries`.
      bytes_per_row: what is stored for a row of the database.
    """

    score_rows: Callable[[int, int], np.ndarray]
    bytes_per_row: float


class Rival(NamedTuple):
    """What is known of a rival.

    Attributes:
      fit: (RivalRows, bytes allowed for a row, seed) -> Ranking.
      description: one line for people.
      query: what a query is at search time.
      learns_labels: whether it looks at labels.
      sizes: bytes for a row at which it is measured; None where it has one size of its own, and does not look at the
        bytes allowed.
      needs_faiss: whether it needs the package faiss-cpu.
    """

    fit: Callable[[RivalRows, int, int], Ranking]
    description: str
    query: str
    learns_labels: bool
    sizes: tuple[int, ...] | None = None
    needs_faiss: bool = False


def import_faiss() -> ModuleType:
    """The module faiss.

    Raises:
      UserError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        names = ", ".join(name for name, rival in RIVALS.items() if rival.needs_faiss)
        raise UserError(f"{names} need the package faiss-cpu: pip install 'drlhash-jax[rivals]'") from error
    return faiss


def distinct_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of float32 ``[N, k]``: ``[M, k]``, and for each row its place among them, int64 ``[N]``."""
    # Adding 0 turns -0 into 0, so that equal numbers are equal bytes.
    whole = np.ascontiguousarray(x + np.float32(0))
    as_bytes = whole.view(f"V{whole.shape[1] * whole.itemsize}").reshape(-1)
    _, first, places = np.unique(as_bytes, return_index=True, return_inverse=True)
    return whole[first], places.reshape(-1)


def rank_by_products(
    rows: RivalRows,
    encode_query: Callable[[np.ndarray], np.ndarray],
    encode_database: Callable[[np.ndarray], np.ndarray],
    bytes_per_row: float,
) -> Ranking:
    """The ranking by inner products of what queries and rows of the database are turned into.

    Args:
      rows: RivalRows.
      encode_query: inputs ``[Q, D]`` -> float32 ``[Q, k]``.
      encode_database: inputs ``[M, D]`` -> float32 ``[M, k]``.
      bytes_per_row: what is stored for a row of the database.
    """
    inputs, places = distinct_rows(rows.database)
    vectors, vector_places = distinct_rows(encode_database(inputs))
    places, queries = vector_places[places], encode_query(rows.query)
    return Ranking(lambda start, stop: (queries[start:stop] @ vectors.T)[:, places], bytes_per_row)


def with_column(x: np.ndarray, column: np.ndarray | float) -> np.ndarray:
    """float32 ``[N, k]`` with one more column."""
    return np.concatenate([x, np.broadcast_to(np.float32(column), len(x))[:, None]], axis=1)


def fit_cosine(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """Cosine of the features as they are; nothing is fitted."""
    return rank_by_products(rows, unit_rows, unit_rows, 4.0 * rows.train.shape[1])


def fit_quantiser(train: np.ndarray, num_bytes: int, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A product quantiser of one byte for each of M parts of a vector, by k-means.

    Args:
      train: float32 ``[n, k]``, what it is fitted to; vectors are filled up with zeros to a multiple of M numbers.
      num_bytes: M.
      seed: of k-means.

    Returns:
      Function of vectors float32 ``[B, k]`` that encodes and decodes them, float32 ``[B, k]``.

    Raises:
      UserError: fewer rows than a byte has values.
    """
    faiss = import_faiss()
    if len(train) < _NUM_CENTROIDS:
        raise UserError(f"a product quantiser needs {_NUM_CENTROIDS} training rows, here are {len(train)}")
    width = train.shape[1]
    filled = lambda x: np.pad(x, ((0, 0), (0, -width % num_bytes))).astype(np.float32)
    quantiser = faiss.ProductQuantizer(width + -width % num_bytes, num_bytes, 8)
    quantiser.cp.seed = seed % 2**31
    # Without this, FAISS prints that it would like 39 rows a centroid.
    quantiser.cp.min_points_per_centroid = 1
    quantiser.train(filled(train))
    return lambda x: quantiser.decode(quantiser.compute_codes(filled(x)))[:, :width]


def fit_pq(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """Asymmetric distance to product-quantised features: -|q - d'|^2 = 2 (q . d' - |d'|^2 / 2) - |q|^2."""
    quantise = fit_quantiser(unit_rows(rows.train), num_bytes, seed)

    def encode(x: np.ndarray) -> np.ndarray:
        decoded = quantise(unit_rows(x))
        return with_column(decoded, -0.5 * np.sum(decoded**2, axis=1))

    return rank_by_products(rows, lambda x: with_column(unit_rows(x), 1.0), encode, float(num_bytes))


def fit_rabitq(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """RaBitQ's estimate of the distance, with queries that are not quantised.

    With the mean c of the training rows after a random rotation, r = d - c and its stored signs s, FAISS decodes a row
    to c + r', r' = s |r|^2 / |r|_1, and stores |r|^2 beside it. The estimate of |q - d|^2 is
    |q - c|^2 - 2 (q - c) . r' + |r|^2. FAISS's own search, which takes far longer to rank all rows, cuts negative
    estimates off at 0; here they keep their order.
    """
    faiss = import_faiss()
    width = rows.train.shape[1]
    # FAISS's own random rotation depends on the number of threads.
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    rotated = lambda x: unit_rows(x) @ rotation.astype(np.float32)
    index = faiss.IndexRaBitQ(width, faiss.METRIC_L2)
    index.train(rotated(rows.train))
    centre = faiss.vector_to_array(index.center)

    def encode(x: np.ndarray) -> np.ndarray:
        codes = index.sa_encode(rotated(x))
        # After the signs, a byte for 8 of them, come two floats: |r|^2 and the length of the decoded row.
        squares = np.ascontiguousarray(codes[:, -8:]).view(np.float32)[:, 0]
        return with_column(index.sa_decode(codes) - centre, -0.5 * squares)

    return rank_by_products(rows, lambda x: with_column(rotated(x) - centre, 1.0), encode, float(index.sa_code_size()))


class Probe(NamedTuple):
    """A classifier of features.

    Attributes:
      posterior: inputs float32 ``[B, D]`` -> float32 ``[B, C]``, the probability of each class or label.
      held_out: float32 ``[n', C]``, posteriors of the labelled training rows, each by a fit that did not see it.
    """

    posterior: Callable[[np.ndarray], np.ndarray]
    held_out: np.ndarray


def _labelled(rows: RivalRows) -> tuple[np.ndarray, np.ndarray]:
    """Training inputs and labels that a probe can be fitted to.

    Raises:
      UserError: there are no two classes with two rows each.
    """
    train, labels = rows.train, np.asarray(rows.labels)
    if labels.ndim == 1:
        train, labels = train[labels >= 0], labels[labels >= 0]
        enough = (np.bincount(labels) >= 2).sum() >= 2
    else:
        enough = ((labels != 0).any(axis=0) & (labels == 0).any(axis=0)).any() and len(labels) >= 2
    if not enough:
        raise UserError("a class posterior needs training rows of two classes, at least two of each")
    return train, labels


def _num_classes(labels: np.ndarray) -> int:
    """C of class numbers ``[n]`` or multi-hot labels ``[n, C]``."""
    return int(labels.max()) + 1 if labels.ndim == 1 else labels.shape[1]


def _logistic(x: np.ndarray, labels: np.ndarray, strength: float) -> Callable[[np.ndarray], np.ndarray]:
    """Logistic regression of all classes at once, or of each label; a function of inputs that gives the posterior."""

    def fit(targets: np.ndarray) -> LogisticRegression:
        # Sums of several threads round differently, which a thousand steps make visible.
        with threadpool_limits(limits=1):
            return LogisticRegression(C=strength / len(x), max_iter=1_000).fit(x, targets)

    if labels.ndim == 1:
        model, num_classes = fit(labels), labels.max() + 1

        def posterior(inputs: np.ndarray) -> np.ndarray:
            found = np.zeros((len(inputs), num_classes), np.float32)
            found[:, model.classes_] = model.predict_proba(inputs)
            return found

        return posterior
    targets = labels != 0
    varies = targets.any(axis=0) & ~targets.all(axis=0)
    models = {label: fit(targets[:, label]) for label in np.flatnonzero(varies)}
    # A label that all rows have, or none: its smoothed frequency.
    frequency = ((targets.sum(axis=0) + 1) / (len(targets) + 2)).astype(np.float32)

    def posteriors(inputs: np.ndarray) -> np.ndarray:
        found = np.tile(frequency, (len(inputs), 1))
        for label, model in models.items():
            found[:, label] = model.predict_proba(inputs)[:, 1]
        return found

    return posteriors


def _folds(labels: np.ndarray, seed: int) -> np.ndarray:
    """Fold of each row, int64 ``[n]``, random; every fold has its share of each class."""
    order = np.random.default_rng(seed).permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % _NUM_FOLDS
    return folds


def fit_logistic(rows: RivalRows, seed: int) -> Probe:
    """Logistic regression; the penalty has the smallest log loss of held-out rows in a cross-validation."""
    train, labels = _labelled(rows)
    folds, best = _folds(labels, seed), None
    for strength in _STRENGTHS:
        held_out = np.zeros((len(labels), _num_classes(labels)), np.float32)
        for fold in np.unique(folds):
            left = folds == fold
            found = _logistic(train[~left], labels[~left], strength)(train[left])
            held_out[left, : found.shape[1]] = found
        loss = log_loss(held_out, labels)
        if best is None or loss < best[0]:
            best = loss, strength, held_out
    _, strength, held_out = best
    return Probe(_logistic(train, labels, strength), held_out)


def fit_posterior(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """Inner products of logistic regression's posteriors, as floats."""
    probe = fit_logistic(rows, seed)
    return rank_by_products(rows, probe.posterior, probe.posterior, 4.0 * probe.held_out.shape[1])


def fit_posterior_pq(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """Inner products of a query's posterior with those decoded from bytes.

    The quantiser is fitted to posteriors of held-out training rows: on rows that a probe was fitted to, it is surer
    than on those of the database.
    """
    import_faiss()
    probe = fit_logistic(rows, seed)
    quantise = fit_quantiser(probe.held_out, num_bytes, seed)
    return rank_by_products(rows, probe.posterior, lambda x: quantise(probe.posterior(x)), float(num_bytes))


def fit_ridge(rows: RivalRows) -> Probe:
    """Kernel ridge regression, see `posteriors.kernel_ridge`.

    Raises:
      UserError: too many rows for a kernel, or labels of one class.
    """
    train, labels = _labelled(rows)
    if len(train) > MOST_KERNEL_ROWS:
        raise UserError(f"ridge_posterior fits up to {MOST_KERNEL_ROWS} training rows, here are {len(train)}")
    ridge = fit_kernel_ridge(train, labels, _num_classes(labels))
    logits_of, single = jax.jit(kernel_logits), labels.ndim == 1

    def posterior(x: np.ndarray) -> np.ndarray:
        parts = [x[start : start + _KERNEL_ROWS] for start in range(0, len(x), _KERNEL_ROWS)]
        return posterior_of(np.concatenate([np.asarray(logits_of(ridge.params, part)) for part in parts]), single)

    return Probe(posterior, posterior_of(ridge.held_out, single))


def fit_ridge_posterior(rows: RivalRows, num_bytes: int, seed: int) -> Ranking:
    """Inner products of kernel ridge regression's posteriors, as floats."""
    probe = fit_ridge(rows)
    return rank_by_products(rows, probe.posterior, probe.posterior, 4.0 * probe.held_out.shape[1])


RIVALS: dict[str, Rival] = {
    "float_cosine": Rival(fit_cosine, "cosine of the features", "features", learns_labels=False),
    "pq": Rival(
        fit_pq,
        "FAISS product quantiser of the features, asymmetric distance",
        "features",
        learns_labels=False,
        sizes=(2, 4, 6, 8),
        needs_faiss=True,
    ),
    "rabitq": Rival(
        fit_rabitq, "FAISS RaBitQ of the features: a bit per dimension, two floats", "features", False, needs_faiss=True
    ),
    "posterior": Rival(
        fit_posterior, "class posterior of logistic regression, inner product", "posterior, real-valued", True
    ),
    "ridge_posterior": Rival(
        fit_ridge_posterior, "class posterior of kernel ridge regression, inner product", "posterior, real-valued", True
    ),
    "posterior_pq": Rival(
        fit_posterior_pq,
        "product quantiser of logistic regression's class posterior, inner product",
        "posterior, real-valued",
        learns_labels=True,
        sizes=(2,),
        needs_faiss=True,
    ),
}
