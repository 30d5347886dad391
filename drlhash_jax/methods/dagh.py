"""DAGH: features of anchors regress to the codes of all training rows over an anchor graph that labels define.

Yudong Chen, Zhihui Lai, Yujuan Ding, Kaiyi Lin and Wai Keung Wong, "Deep Supervised Hashing with Anchor Graph", ICCV
2019. With Y in {0, 1} the labels ``[n, C]``, B in {-1, 1} the codes ``[n, K]``, Omega the m anchors of a round, which
are training rows, and u_i the logits of anchor i:

    min over B, W, u of  alpha n / (m K) sum_(i in Omega) sum_j P_ij ||u_i - b_j||^2
                         + n sum_(s = 0, 1) mean_(i, j in Omega, s_ij = s) [log(1 + e^theta_ij) - s theta_ij]
                         + mu / K (||B - Y W||^2 + epsilon ||W||^2),
    P_ij = y_i . y_j / sum_j y_i . y_j,  theta_ij = (scale / K) u_i . u_j.

P is the anchor graph and its rows sum to 1; s_ij is 1 where rows i and j share a label. Each bit may be asked to be 1
in half of the rows. A round draws anchors, takes some epochs of gradient steps on the first two terms over their
batches, and then updates

    W = (Y^T Y + epsilon I)^(-1) Y^T B,
    B = the codes that maximise tr(B^T Q),  Q = alpha (n / m) P^T U + mu Y W,

which is all of the objective that depends on B, since every code has the same length. The gradient in u_i is 2 alpha /
K (u_i - (P B)_i) from the first term: a feature less the mean of the codes that its anchor is connected to.

P is never made: P B = Y (Y^T B) / Y (Y^T 1), and P^T U = Y (Y^T D^-1 U) with D the row sums. With one label for each
row, P B are the means of classes. An update costs n C (C + K), whatever the number of label sets, and n K log n more to
sort for ``balance="exact"``.

This is a derivation from descriptions of the paper, which tell the terms, the three updates and the alternation, but no
norms, weights or sizes, and there is no public implementation. The norms here are the ones in which the update of the
codes is a trace, as described, and the gradient holds the named difference. What is ours: P weighs a connection by the
number of shared labels, for one label a row the same as whether there is one; terms are means over rows, pairs and
bits; and similar pairs weigh as much as the others together, as in HashNet, since with ten classes nine pairs of ten
are dissimilar. U are the logits that the anchors had in the last epoch of the round, which saves a pass over them.
Anchors are drawn from row numbers and labels alone: rows in a file are read ahead, before it is known what their losses
will be. What adapts to losses is therefore not which rows are drawn but what they weigh: with h_i the share of bits in
which the logits of row i and its mean code (P B)_i had opposite signs when it was last in a batch, anchor i counts
exp(focus h_i) in all sums over Omega, divided by the mean of that over the training rows, and m is the sum of these
weights. A focus above 0 does what drawing badly coded rows more often does, and still does it where all rows are
anchors. ``anchors="kmeans"`` takes the rows nearest to k-means centres of the inputs, once, for all rounds.

Three consequences. Q depends on a row's labels alone, so that without balance all rows of a class have one code. With
``balance="exact"`` one class is divided in every bit for which its rows straddle the middle, at random in every round.
And rows without a label would have no code, so they are refused.

Hyper-parameters are all ours: chosen on `cifar10_features` with 32 bits, 1,500 of 5,000 training rows held out, by Adam
at 1e-3 and weight decay 3, mean mAP of three splits; HashNet had .639 on them. The settings below gave .634, and
``balance`` "exact" and "off" .632 and .633; another draw of the first codes moved one split by .006. What was learnt:
without the weighing of pairs it was .623 (balance exact, alpha 1; .628 with it). tanh of the logits as features helped
without the weighing (.628) and did harm with it (.623). alpha .1 and 3 gave .596 and .623 where .3 and 1 gave .632 and
.628; a large alpha is a regression to codes that were found too early. mu .3 and 3, scales 5 and 10 and rounds of 5
epochs lost .3 to .7 points, rounds of 1 epoch 1.2. 2,000 anchors lost two points: an epoch takes the anchors alone, and
so fewer steps.

Anchors and wrong labels: mAP at 32 bits, mean of seeds 0 and 1, of 1,500 training rows that were held out with their
true labels, after training on the other 3,500, of whose labels a share was made wrong; the steps are as many in each
(`benchmarks/anchors.py`):

    anchors, m, focus        0 %   10 %   30 % wrong
    random, 200             .601   .570   .490
    classes, 200            .612   .586   .500
    kmeans, 200             .398   .357   .255
    random, 1,000           .611   .591   .514
    classes, 1,000          .623   .599   .519
    kmeans, 1,000           .552   .506   .357
    random, 1,000, -4       .604   .591   .553
    all 3,500               .614   .592   .521
    all 3,500, 2            .612   .575   .475
    all 3,500, -2           .611   .602   .554
    all 3,500, -4           .600   .600   .561
    all 3,500, -8           .568   .551   .498

Classes are about equally large here, so that "classes" draws as "random" does: .01 is chance. Given the same number of
steps, 200 anchors do nearly as well as all rows, as long as every round draws others. Rows that stay the same do not,
since the network sees no other label than theirs: "kmeans" is for data of which few rows can be looked at. (A row of
each of m strata of the rows in k-means order, drawn in every round, was no better than a random draw.) Badly coded rows
are often badly labelled: weighing them up does harm, weighing them down is worth three to four points at 30 % and
nothing with right labels, whence the default of 0.

Cost with 10,000, 30,000 and 100,000 rows, 100 classes and 32 bits (`benchmarks/anchor_updates.py`): drawing anchors
took .007, .015 and .045 seconds of the processor, W and B .10, .11 and .16, with ``balance="exact"`` .20, .46 and 2.1.
"""

import dataclasses
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from scipy.cluster import vq

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, encoder_logits
from drlhash_jax.methods.linear import flat_rows
from drlhash_jax.methods.pairs import mean_over_pairs, negative_log_likelihood, pair_rows, write_rows
from drlhash_jax.methods.rounds import ends_round, round_key
from drlhash_jax.methods.sdh import solve_ridge
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Start, State, epoch_keys, gradient_phase, multi_hot, weighted_mean
from drlhash_jax.types import Array

BALANCES = ("exact", "centred", "off")
ANCHORS = ("random", "classes", "kmeans")
# K-means looks at so many rows for each centre, at most, and so often at each.
_ROWS_PER_CENTRE, _PASSES = 50, 10


@dataclasses.dataclass(frozen=True)
class DAGHSettings(Settings):
    """Settings of DAGH."""

    regression_weight: float = setting(
        0.3, "alpha, weight of the regression over the anchor graph", least=0.0, most=1e6, search=(1.0,)
    )
    balance: str = setting(
        "centred",
        "codes: each bit 1 in half of the rows (exact), where it is above its mean (centred), or positive (off)",
        choices=BALANCES,
        search=("exact", "off"),
    )
    label_weight: float = setting(1.0, "mu, weight of the regression of codes on labels", least=0.0, most=1e6)
    ridge: float = setting(1e-3, "epsilon, weight of ||W||^2 in that regression", least=1e-9, most=1e9)
    scale: float = setting(7.0, "theta of two rows with equal codes", least=0.0, most=1e6)
    anchors: str = setting(
        "random",
        "each round's anchors: all rows alike, each class as often; or for all rounds those nearest to k-means centres",
        choices=ANCHORS,
    )
    focus: float = setting(
        0.0,
        "an anchor weighs exp(focus h), h the share of its bits that missed its code; below 0 where labels have errors",
        least=-30.0,
        most=30.0,
    )
    num_anchors: int = setting(5_000, "m, anchors drawn in each round", least=1, most=10_000_000)
    epochs_per_round: int = setting(3, "epochs between two updates of the codes", least=1, most=1_000)


@struct.dataclass
class Graph:
    """What DAGH keeps beside the encoder; n rows are all training rows, t of them are trained on.

    Attributes:
      codes: float32 ``[n, K]`` of {-1, 1}, B; 0 for rows that are not trained on.
      labels: float32 ``[t, C]`` multi-hot, Y.
      subset: int32 ``[t]``, numbers of the rows that are trained on.
      class_codes: float32 ``[C, K]``, Y^T B.
      class_sizes: float32 ``[C]``, Y^T 1.
      anchored: float32 ``[C, K]``, Y^T D^-1 U of the rows that were in a batch of this epoch, times their weights.
      total: float32 scalar, the sum of these weights.
      misses: float32 ``[n]``, h, the share of a row's bits that differed from its mean code when it was last in a
        batch; 0 before.
    """

    codes: Array
    labels: Array
    subset: Array
    class_codes: Array
    class_sizes: Array
    anchored: Array
    total: Array
    misses: Array


def misfit(settings: DAGHSettings, facts: TrainingFacts) -> str | None:
    """Refuses k-means of images: distances of pixels say little."""
    if settings.anchors == "kmeans" and facts.kind != "features":
        return "dagh.anchors=kmeans is for inputs that are vectors, and these are images: use random or classes"
    return None


def nearest_to_centres(key: Array, begin: Start, num_anchors: int) -> np.ndarray:
    """The training rows nearest to k-means centres of the inputs; a row that is nearest to two counts once.

    Args:
      key: PRNG key, consumed.
      begin: Start with t rows to choose from; 50 for each centre are drawn if there are more.
      num_anchors: m, number of centres.

    Returns:
      int32 ``[r]`` with r <= min(m, t), in ascending order.
    """
    if num_anchors >= len(begin.subset):
        return begin.subset
    rows = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(begin.subset)
    rows = rows[: _ROWS_PER_CENTRE * num_anchors]
    inputs = flat_rows(begin._replace(subset=rows))
    with warnings.catch_warnings():
        # A centre that loses all rows to an equal one stays where it is.
        warnings.simplefilter("ignore", UserWarning)
        centres, _ = vq.kmeans2(inputs, inputs[:num_anchors], iter=_PASSES, minit="matrix")
    nearest, _ = vq.vq(centres, inputs)
    return np.unique(rows[nearest])


def draw_anchors(key: Array, subset: Array, labels: Array, settings: DAGHSettings) -> Array:
    """The anchors of a round, without repetition.

    Args:
      key: PRNG key, consumed.
      subset: int32 ``[t]``, rows to draw from; with ``anchors="kmeans"`` those that were chosen before.
      labels: int32 ``[n]`` or uint8 ``[n, C]``, of all rows.
      settings: DAGHSettings. With ``anchors="classes"`` the chance of a row is the sum of 1 / size over its classes.

    Returns:
      int32 ``[min(num_anchors, t)]``.
    """
    if settings.anchors != "classes":
        return jax.random.permutation(key, subset)[: settings.num_anchors]
    own = labels[subset]
    if own.ndim == 1:
        ordered = jnp.sort(own)
        sizes = jnp.searchsorted(ordered, own, side="right") - jnp.searchsorted(ordered, own, side="left")
        chances = 1.0 / sizes
    else:
        hot = own.astype(jnp.float32)
        chances = hot @ (1.0 / jnp.maximum(jnp.sum(hot, axis=0), 1.0))
    # The largest of log p + Gumbel noise are a draw without repetition.
    noisy = jnp.log(jnp.maximum(chances, 1e-30)) + jax.random.gumbel(key, chances.shape)
    return subset[jnp.argsort(-noisy)][: settings.num_anchors]


def threshold_codes(key: Array, wanted: Array, balance: str) -> Array:
    """The codes that maximise tr(B^T Q): under balance, those of the largest entries of each column are 1.

    Args:
      key: PRNG key, consumed; it breaks ties.
      wanted: float32 ``[t, K]``, Q.
      balance: "exact": floor(t / 2) rows of each column are 1. "centred": Q is taken from its column means, which makes
        no difference to balanced codes. "off": any codes.

    Returns:
      float32 ``[t, K]`` of {-1, 1}.
    """
    coins = jax.random.uniform(key, wanted.shape)
    if balance == "exact":
        # By Q, and where that is the same by coins.
        order = jnp.lexsort((coins, -wanted), axis=0)[: wanted.shape[0] // 2]
        return jnp.full(wanted.shape, -1.0).at[order, jnp.arange(wanted.shape[1])[None, :]].set(1.0)
    if balance == "centred":
        wanted = wanted - jnp.mean(wanted, axis=0, keepdims=True)
    return jnp.where((wanted > 0) | ((wanted == 0) & (coins < 0.5)), 1.0, -1.0)


def mean_codes(labels: Array, class_codes: Array, class_sizes: Array) -> Array:
    """P B, the mean code of the rows that each row is connected to.

    Args:
      labels: float32 ``[B, C]`` multi-hot.
      class_codes: float32 ``[C, K]``, Y^T B.
      class_sizes: float32 ``[C]``, Y^T 1.

    Returns:
      float32 ``[B, K]``; zeros for a row without a label.
    """
    return labels @ class_codes / jnp.maximum(labels @ class_sizes, 1.0)[:, None]


def missed_bits(u: Array, labels: Array, graph: Graph) -> Array:
    """h, the share of bits in which logits and mean code have opposite signs.

    Args:
      u: float32 ``[B, K]``.
      labels: float32 ``[B, C]`` multi-hot.
      graph: Graph.

    Returns:
      float32 ``[B]``.
    """
    return jnp.mean((u * mean_codes(labels, graph.class_codes, graph.class_sizes) < 0).astype(jnp.float32), axis=1)


def weigh(batch: Batch, graph: Graph, focus: float) -> Batch:
    """The batch with each row's weight times exp(focus h), whose mean over all rows to train on is made 1."""
    mean = jnp.mean(jnp.exp(focus * graph.misses[graph.subset]))
    return batch._replace(weights=batch.weights * jnp.exp(focus * graph.misses[batch.rows]) / mean)


def wanted_codes(graph: Graph, settings: DAGHSettings) -> Array:
    """Q = alpha (n / m) P^T U + mu Y W, with the W that is best for the codes; n counts the rows that are trained on.

    Args:
      graph: Graph after the last epoch of the round; m is its `total`.
      settings: DAGHSettings.

    Returns:
      float32 ``[t, K]`` for the rows that are trained on.
    """
    w = solve_ridge(graph.labels.T @ graph.labels, settings.ridge, graph.class_codes)
    share = settings.regression_weight * graph.labels.shape[0] / graph.total
    return graph.labels @ (share * graph.anchored + settings.label_weight * w)


def _write_codes(graph: Graph, codes: Array) -> Graph:
    """The graph with other codes float32 ``[t, K]``, and an epoch begun."""
    return graph.replace(
        codes=graph.codes.at[graph.subset].set(codes),
        class_codes=graph.labels.T @ codes,
        anchored=jnp.zeros_like(graph.anchored),
        total=jnp.zeros_like(graph.total),
    )


def _begin(key: Array, begin: Start, num_bits: int) -> Graph:
    subset = jnp.asarray(begin.subset)
    labels = multi_hot(jnp.asarray(begin.labels)[subset], begin.num_classes)
    zeros = jnp.zeros((begin.num_classes, num_bits), jnp.float32)
    none = jnp.zeros((len(begin.labels), num_bits), jnp.float32)
    misses = jnp.zeros(len(begin.labels), jnp.float32)
    graph = Graph(none, labels, subset, zeros, jnp.sum(labels, axis=0), zeros, jnp.float32(0.0), misses)
    codes = threshold_codes(jax.random.fold_in(key, 3), jnp.zeros((len(begin.subset), num_bits)), "exact")
    return _write_codes(graph, codes)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """DAGH (Chen et al., ICCV 2019) for codes of one length."""
    num_bits, settings = given.num_bits, given.settings

    def loss(u: Array, batch: Batch, graph: Graph, axis_name: str | None) -> Array:
        batch = weigh(batch, graph, settings.focus)
        means = mean_codes(batch.labels, graph.class_codes, graph.class_sizes)
        # sum_j P_ij ||u_i - b_j||^2 / K, since P_i sums to 1 and ||b_j||^2 = K.
        distances = 1.0 + jnp.mean(u * u - 2.0 * u * means, axis=1)
        regression = weighted_mean(distances, batch.weights, axis_name)
        others, similar, weights = pair_rows(u, batch, axis_name)
        values = negative_log_likelihood(settings.scale / num_bits * u @ others.T, similar)
        kinds = similar * weights, (1.0 - similar) * weights
        pairs = sum(mean_over_pairs(values, kind, axis_name) for kind in kinds)
        return settings.regression_weight * regression + pairs

    def keep_anchors(graph: Graph, u: Array, batch: Batch, axis_name: str | None) -> Graph:
        weighed = weigh(batch, graph, settings.focus).weights
        missed = write_rows(graph.misses, missed_bits(u, batch.labels, graph), batch, axis_name)
        u, labels, weights = parallel.gather_rows((u, batch.labels, weighed), axis_name)
        row_sums = jnp.maximum(labels @ graph.class_sizes, 1.0)
        anchored = graph.anchored + labels.T @ (u * (weights / row_sums)[:, None])
        return graph.replace(anchored=anchored, total=graph.total + jnp.sum(weights), misses=missed)

    def end_epoch(state: State, epoch: Array, key: Array, *, axis_name: str | None = None) -> State:
        def end_round(graph: Graph) -> Graph:
            tie_key = jax.random.fold_in(jax.random.fold_in(key, epoch), 1)
            return _write_codes(graph, threshold_codes(tie_key, wanted_codes(graph, settings), settings.balance))

        def go_on(graph: Graph) -> Graph:
            return graph.replace(anchored=jnp.zeros_like(graph.anchored), total=jnp.zeros_like(graph.total))

        ends = ends_round(epoch, settings, given.training.num_epochs)
        return state.replace(extra=jax.lax.cond(ends, end_round, go_on, state.extra))

    def choose_rows(key: Array, begin: Start) -> np.ndarray:
        if settings.anchors != "kmeans":
            return begin.subset
        return nearest_to_centres(jax.random.fold_in(key, 4), begin, settings.num_anchors)

    def sample_rows(key: Array, epoch: Array, subset: Array, labels: Array) -> Array:
        order_key, *_ = epoch_keys(key, epoch)
        draw_key = jax.random.fold_in(round_key(key, epoch, settings), 2)
        return jax.random.permutation(order_key, draw_anchors(draw_key, subset, labels, settings))

    def init_extra(key: Array, begin: Start) -> Graph:
        return _begin(key, begin, num_bits)

    def finish(state: State) -> dict[str, Array]:
        return {"params": state.params, "codes": (state.extra.codes > 0).astype(jnp.uint8)}

    extra = {"init_extra": init_extra, "update_extra": keep_anchors, "end_epoch": end_epoch, "finish": finish}
    rows = {"choose_rows": choose_rows, "sample_rows": sample_rows}
    phase = gradient_phase(given.encoder, given.training, loss, **extra, **rows)
    return Method((phase,), encoder_logits(given.encoder))
