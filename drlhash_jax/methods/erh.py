"""Expected relevance hashing (ERH), this project's own method: codes that rank well under what is known of each row.

Stage 1 of the thesis takes S_ij = 1 where two training rows share a label and -1 elsewhere. Codes that are best for
such an S are as many as there are label sets, and the encoder's doubt about a row is thrown away. Here similarity is
what a held-out classifier expects it to be: with its posterior p_i float32 ``[C]`` of every row,

    rho_ij = sum_c p_ic p_jc                  rows of one label each
    rho_ij = 1 - prod_{c in y} (1 - p_jc)     multi-label rows: of a label in common with a set y drawn from p_i

and S~ = 2 rho - 1, of which the thesis's S is the case of certain labels. Posteriors come from classifiers that did not
see the row: a row that they were fitted to would be surer than those of the database will ever be.

1. `ridge`: kernel ridge regression of the features or pixels, whose leave-one-out scores are a closed form; images of
   more than 4,096 values, and more than 20,000 rows, go without.
2. `posterior_1` .. `posterior_F`: the encoder with a class output, each on the rows of all folds but one, and
   `posterior` on all rows. Features get Gaussian noise.
3. `code_layer`: the logits of both are added with the weights of smallest log loss, and a small network over the
   standardised posterior gives f; h = tanh(beta f). At first, with beta = 1, pairs learn by
   -rho log sigmoid(a h_i . h_j + b) - (1 - rho) log(1 - sigmoid(a h_i . h_j + b)), a and b learnt too; then the
   average precision of soft histograms under rho (`soft_ranking`) is maximised while beta grows. Bit k is 1 iff
   f_k >= 0. With `erh.nested` both losses are means over codes cut off at these lengths.
4. `cells`: where one function codes both sides, cells of the posterior get codes of their own, from f on, that are
   improved bit by bit under the average precision of bits rather than of h (`methods.cells`).

With `erh.novel` the posterior has one class more, of rows whose class no training row has, and with
`erh.geometry_bits` some bits hold directions of the features for these: see `new_classes`.

With ``erh_two`` there are two code layers, from one start: one codes queries, the other the database. The distance is
the same and search costs the same, but a doubtful query wants all rows that it may belong to, and a doubtful row of the
database should come late, which one function cannot both say. (Neyshabur, Yadollahpour, Makarychev, Salakhutdinov and
Srebro, "The power of asymmetry in binary hashing", NIPS 2013.)

Hyper-parameters are ours, chosen on held-out training rows of CIFAR-10 embeddings (C-54, seeds 0 to 3), where mAP is:
16 bits of one function, beta 20 at the end .642, 400 .644, 1,000 with 256 instead of 64 hidden units .648; 48 bits of
two functions, beta 20 .676, 50 .682, 200 .684. What codes lose to h is most of what can be won: beta 20 is not enough.
Long codes want a smaller beta than short ones, and two functions a smaller one than one. Batches of 1,000, other rates
and a second hidden layer won nothing; the logits of each classifier, or their roots, as further inputs of the layer
lost. Twice as many steps, or noise of .3 on logits, raise the expected AP of held-out rows at 16 bits from .656 to .659
and .657, yet trainings of 2,000 steps had mAP .641 over five seeds, as those of 1,000. Gaussian class models as a third
classifier lower the log loss by .002. Drawing one class for each query instead of all of them costs .003 with two
functions.

Cells raise the expected AP of held-out rows at 16 bits from .653 to .660 and their mAP from .647 to .654. Perturbed
codes, other starts and 3,000 cells instead of 1,500 win .001 or nothing. With two functions, of codes searched for on
both sides, the expected AP stayed .682 at 16 bits and fell from .701 to .697 at 48, so these do without.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from drlhash_jax import parallel
from drlhash_jax.methods.base import Ingredients, Method, TrainingFacts, encoder_logits, signs
from drlhash_jax.methods.cells import cell_codes, cells_phase
from drlhash_jax.methods.classes import cross_entropy, for_classes, posterior_of_scores
from drlhash_jax.methods.linear import flat, flat_rows
from drlhash_jax.methods.new_classes import (
    as_known_and_as_new,
    chance_of_new,
    geometry_logits,
    known_and_new,
    novelty_phase,
)
from drlhash_jax.methods.pairs import mean_over_pairs
from drlhash_jax.methods.soft_ranking import soft_average_precision
from drlhash_jax.posteriors import MOST_KERNEL_ROWS, fit_kernel_ridge, kernel_logits, posterior_of, stack_logits
from drlhash_jax.settings import Settings, setting
from drlhash_jax.training import Batch, Phase, Start, State, encode_logits, gradient_phase
from drlhash_jax.types import Array

_FOLD_SEED = 0
# Values of a prepared image that kernel ridge regression still looks at: it keeps all training rows.
_MOST_PIXELS = 4_096


@dataclasses.dataclass(frozen=True)
class ERHSettings(Settings):
    """Settings of expected relevance hashing."""

    kernel_ridge: bool = setting(
        True,
        "whether kernel ridge regression is one of the classifiers, of 20,000 rows at most, features or small images",
    )
    num_folds: int = setting(5, "F, folds of the training rows, each left out by one classifier", least=2, most=100)
    noise: float = setting(
        0.8, "standard deviation of the noise on features while a classifier learns", least=0.0, most=100.0
    )
    dropout: float = setting(
        0.5, "share of hidden units that an mlp drops while it learns classes", least=0.0, most=0.99, search=(0.0,)
    )
    hidden: int = setting(256, "width of the code layer's hidden layer", least=1, most=100_000)
    num_steps: int = setting(1_000, "steps of the code layer", least=1, most=1_000_000)
    pair_steps: int = setting(150, "steps of them that learn pairs", least=0, most=1_000_000)
    code_batch: int = setting(500, "rows per step of the code layer", least=2, most=100_000)
    code_rate: float = setting(5e-3, "learning rate of the code layer, Adam", least=1e-9, most=10.0)
    warmup_steps: int = setting(
        20, "steps in which that rate is reached; it falls by a cosine after", least=0, most=10_000
    )
    nested: tuple[int, ...] = setting(
        (), "lengths at which the first bits are to be good codes too, besides all of them"
    )
    novel: float = setting(
        0.0,
        "chance that a row coded later is of a class that no training row has; 0 for none. Features of one label each, "
        "20,000 at most",
        least=0.0,
        most=0.9,
    )
    geometry_bits: int = setting(
        0, "even number of bits that hold directions of the features, for rows of such classes", least=0, most=4_096
    )
    cells: int = setting(
        1_500,
        "cells of the posterior, at most, whose codes are improved bit by bit at the end; 0 for the network's codes. "
        "Rows of one label each, one function, erh.novel=0",
        least=0,
        most=20_000,
    )
    steepness: float = setting(200.0, "beta at the end", least=1.0, most=1e9, search=(50.0, 1_000.0))


def misfit(settings: ERHSettings, facts: TrainingFacts) -> str | None:
    """Refuses lengths that are none, and novelty where it cannot be told."""
    for length in settings.nested:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            return f"erh.nested={','.join(map(str, settings.nested))}: give lengths from 1, e.g. 8,16,32"
    if not settings.novel and not settings.geometry_bits:
        return None
    if not settings.novel:
        return f"erh.geometry_bits={settings.geometry_bits} are for rows of new classes: set erh.novel too, e.g. 0.1"
    if facts.kind != "features" or facts.multi_label or facts.num_rows > MOST_KERNEL_ROWS:
        return (
            f"erh.novel={settings.novel:g} needs features with one label each and at most {MOST_KERNEL_ROWS} training "
            "rows: set it to 0"
        )
    most = min(facts.num_bits - 1, facts.num_rows - 1, *facts.shape)
    if settings.geometry_bits % 2 or settings.geometry_bits > most:
        return (
            f"erh.geometry_bits={settings.geometry_bits}: give an even number, {most} at most where codes have "
            f"{facts.num_bits} bits and {facts.num_rows} rows {facts.shape[0]} values each"
        )
    return None


class CodeLayer(nn.Module):
    """A hidden layer with ReLU over standardised posteriors, and an output for each bit.

    Attributes:
      num_bits: K.
      hidden: width of the hidden layer.
    """

    num_bits: int
    hidden: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits float32 ``[B, K]`` of float32 ``[B, C]``."""
        x = nn.relu(nn.Dense(self.hidden, name="hidden_layer")(x))
        return nn.Dense(self.num_bits, name="bits")(x)


class Relevance(NamedTuple):
    """What queries may be, and how much of the database each hypothesis makes relevant.

    Attributes:
      count: w float32 ``[B, M]`` -> sum_j w_ij rho_ij under each hypothesis, float32 ``[B, H]``.
      chances: float32 ``[B, H]``, of the hypotheses.
      pairs: float32 ``[B, M]``, rho over all hypotheses.
    """

    count: Callable[[Array], Array]
    chances: Array
    pairs: Array


def class_relevance(query: Array, database: Array) -> Relevance:
    """Rows of one label each, with posteriors ``[B, C]`` and ``[M, C]``: one hypothesis for each class."""
    return Relevance(lambda inside: inside @ database, query, query @ database.T)


def label_set_relevance(drawn: Array, database: Array) -> Relevance:
    """Multi-label rows: one hypothesis for each query, that its labels are a set y.

    Args:
      drawn: float32 ``[B, C]`` of {0, 1}, y.
      database: float32 ``[M, C]``, posteriors p; a label in common has probability 1 - prod_{c in y} (1 - p_jc).
    """
    shared = -jnp.expm1(drawn @ jnp.log1p(-jnp.minimum(database, 1.0 - 1e-6)).T)
    count = lambda inside: jnp.sum(inside * shared, axis=1, keepdims=True)
    return Relevance(count, jnp.ones_like(drawn[:, :1]), shared)


def _ridge_phase() -> Phase:
    """Hands on "ridge", see `KernelRidge.params`, and "ridge_held_out" float32 ``[m, C]`` of the rows trained on.

    What was handed on before stays. Of images of many pixels, and of more rows than a kernel may have, it adds nothing.
    """

    def init(key: Array, begin: Start) -> State:
        handed_on = dict(begin.before or {})
        # As the encoder sees them: small images may have been made large for it.
        num_values = flat(begin.prepared(begin.subset[:1])).shape[1]
        many_pixels = begin.spec.kind == "images" and num_values > _MOST_PIXELS
        if many_pixels or len(begin.subset) > MOST_KERNEL_ROWS:
            return State(jnp.zeros((), jnp.int32), handed_on)
        rows = flat_rows(begin)
        ridge = fit_kernel_ridge(rows, np.asarray(begin.labels[begin.subset]), begin.num_classes)
        handed_on |= {"ridge": ridge.params, "ridge_held_out": ridge.held_out}
        return State(jnp.zeros((), jnp.int32), handed_on)

    return Phase("ridge", 0, 0, init, finish=lambda state: state.params)


def folds_of(num_rows: int, num_folds: int) -> np.ndarray:
    """A fold for each row, int ``[m]``: always the same, random, and of sizes that differ by at most one."""
    return np.random.default_rng(_FOLD_SEED).permutation(num_rows) % num_folds


def _shuffled(key: Array, epoch: Array, subset: Array, labels: Array) -> Array:
    """The rows of an epoch: all, in a random order."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), subset)


def _posterior_phase(given: Ingredients, num_classes: int, fold: int) -> Phase:
    """A classifier learns all rows but those of a fold, 1 to F; or all rows, in fold 0.

    Hands on its "params", what was handed on before, and "held_out" float32 ``[m, C]``, the logits of the rows of the
    folds that were left out before.
    """
    settings = given.settings
    encoder = given.encoder.clone(num_outputs=num_classes)
    if hasattr(encoder, "hidden"):
        # An MLP over features; encoders of images have a dropout of their own.
        encoder = encoder.clone(dropout_rate=settings.dropout)
    apply = _class_logits(given.encoder, num_classes)

    def init_extra(key: Array, begin: Start) -> dict[str, Any]:
        handed_on = dict(begin.before or {}) | {"multi_label": np.asarray(begin.labels.ndim == 2)}
        shape = len(begin.subset), begin.num_classes
        params, held_out = handed_on.pop("params", None), handed_on.pop("held_out", np.zeros(shape, np.float32))
        if params is not None:
            left_out = folds_of(len(begin.subset), settings.num_folds) == (fold or settings.num_folds + 1) - 2
            held_out = np.array(held_out)
            held_out[left_out] = encode_logits(apply, params, begin.inputs[begin.subset[left_out]], begin.spec)
        return handed_on | {"held_out": held_out}

    def choose_rows(key: Array, begin: Start) -> np.ndarray:
        rows = begin.subset
        return rows[folds_of(len(rows), settings.num_folds) != fold - 1] if fold else rows

    phase = gradient_phase(
        encoder,
        given.training,
        cross_entropy,
        init_extra=init_extra,
        choose_rows=choose_rows,
        sample_rows=_shuffled,
        finish=lambda state: {"params": state.params, **state.extra},
    )

    def step(state: State, batch: Batch, key: Array, **options):
        if batch.inputs.ndim == 2 and settings.noise:
            noise_key = jax.random.fold_in(batch.key, 1)
            draw = lambda row: jax.random.normal(jax.random.fold_in(noise_key, row), batch.inputs.shape[1:])
            batch = batch._replace(inputs=batch.inputs + settings.noise * jax.vmap(draw)(batch.rows))
        return phase.step(state, batch, key, **options)

    return phase._replace(step=step, name=f"posterior_{fold}" if fold else "posterior")


@functools.cache
def _class_logits(encoder: nn.Module, num_classes: int) -> Callable[[Any, Array], Array]:
    """Function of parameters and inputs: class logits; the same object for the same encoder."""
    return encoder_logits(encoder.clone(num_outputs=num_classes))


def class_posterior(params: Mapping[str, Any], x: Array, class_logits: Callable[[Any, Array], Array]) -> Array:
    """p float32 ``[B, C]`` of inputs, of all classifiers together; ``[B, C + 1]`` with `known_and_new`."""
    logits = [class_logits(params["encoder"], x)]
    if "ridge" in params:
        logits.append(kernel_logits(params["ridge"], flat(x)))
    mixed = sum(w * each for w, each in zip(params["weights"], logits))
    posterior = posterior_of_scores(mixed, params["multi_label"])
    return known_and_new(posterior, chance_of_new(params["novelty"], flat(x))) if "novelty" in params else posterior


class _Layers(NamedTuple):
    """Code layers of K bits.

    Attributes:
      layer: CodeLayer.
      two: whether the database has its own.
    """

    layer: CodeLayer
    two: bool

    def init(self, key: Array, num_classes: int) -> dict[str, Any]:
        """Both start as one."""
        params = self.layer.init(key, jnp.zeros((1, num_classes)))["params"]
        # A copy, since steps give the memory of their parameters away.
        return {"query": params} | ({"database": jax.tree.map(jnp.copy, params)} if self.two else {})

    def logits(self, params: Mapping[str, Any], posterior: Array, role: str) -> Array:
        """f float32 ``[B, K]`` of posteriors ``[B, C]``; role is "query" or "database"."""
        standard = (posterior - params["mean"][None]) / params["deviation"][None]
        return self.layer.apply({"params": params["layers"][role if self.two else "query"]}, standard)


def _prefixes(settings: ERHSettings, num_bits: int) -> tuple[int, ...]:
    """Lengths below that of all bits at which codes are to be good too; what is no length is left to `misfit`."""
    lengths = {length for length in settings.nested if isinstance(length, int) and length < num_bits}
    return tuple(sorted(lengths))


def _in_cells(settings: ERHSettings, two: bool) -> bool:
    """Whether codes of cells are searched for: two functions together win nothing by it."""
    return settings.cells > 0 and not settings.novel and not two


def _code_layer_phase(layers: _Layers, settings: ERHSettings) -> Phase:
    """Hands on all "params" of the method."""
    lengths = (*_prefixes(settings, layers.layer.num_bits), layers.layer.num_bits)

    def init(key: Array, begin: Start) -> State:
        before = begin.before
        held_out = [before["held_out"]] + ([before["ridge_held_out"]] if "ridge" in before else [])
        labels = np.asarray(begin.labels[begin.subset])
        weights = stack_logits(held_out, labels)
        logits = np.tensordot(weights, np.stack(held_out), 1)
        fixed = {"encoder": before["params"], "weights": weights, "multi_label": before["multi_label"]}
        fixed |= {name: before[name] for name in ("ridge", "novelty", "geometry") if name in before}
        if settings.novel:
            posterior = as_known_and_as_new(logits, labels, before)
            chances = np.repeat([1.0 - settings.novel, settings.novel], len(labels))
        else:
            posterior, chances = posterior_of(logits, labels.ndim == 1), np.ones(len(labels))
        mean = np.average(posterior, axis=0, weights=chances).astype(np.float32)
        variance = np.average((posterior - mean) ** 2, axis=0, weights=chances)
        fixed |= {"mean": mean, "deviation": np.maximum(np.sqrt(variance), 1e-6).astype(np.float32)}
        init_key, _ = jax.random.split(key)
        pairs = {"scale": jnp.float32(np.log(8.0)), "shift": jnp.float32(-3.0)}
        params = {"layers": layers.init(init_key, posterior.shape[1]), "pairs": pairs}
        opt_state = _optimizer(settings).init(params)
        return State(jnp.zeros((), jnp.int32), params, opt_state, {"fixed": fixed, "posterior": posterior})

    def step(state: State, batch: Batch, key: Array, *, num_steps: int, axis_name: str | None = None):
        posterior, fixed = state.extra["posterior"], state.extra["fixed"]
        num_rows = posterior.shape[0] // (2 if settings.novel else 1)
        size = min(settings.code_batch, num_rows)
        row_key, draw_key = jax.random.split(key)
        rows = jax.random.permutation(row_key, num_rows)[:size]
        if settings.novel:
            # The last of them as rows of a new class.
            rows += num_rows * (jnp.arange(size) >= size - round(settings.novel * size))
        drawn = jax.random.bernoulli(draw_key, posterior[rows]).astype(jnp.float32)
        everyone = parallel.pad_rows((rows, drawn, jnp.ones(size)), parallel.num_shards(axis_name))
        mine, drawn, counts = parallel.local_rows(everyone, axis_name)
        weights = counts[:, None] * (mine[:, None] != rows[None, :])
        late = jnp.maximum(state.step - settings.pair_steps, 0) / max(num_steps - settings.pair_steps, 1)

        def share_of_loss(params: dict) -> Array:
            known = fixed | {"layers": params["layers"]}
            beta = settings.steepness**late
            query = jnp.tanh(beta * layers.logits(known, posterior[mine], "query"))
            database = jnp.tanh(beta * layers.logits(known, posterior[rows], "database"))

            def pair_loss(relevance: Relevance, length: int) -> Array:
                theta = jnp.exp(params["pairs"]["scale"]) * (query[:, :length] @ database[:, :length].T) / length
                values = optax.sigmoid_binary_cross_entropy(theta + params["pairs"]["shift"], relevance.pairs)
                return mean_over_pairs(values, weights, axis_name)

            def ranking_loss(relevance: Relevance, length: int) -> Array:
                prefixes = query[:, :length], database[:, :length]
                found = soft_average_precision(*prefixes, weights, relevance.count)
                return -jnp.sum(counts[:, None] * relevance.chances * found) / size

            def loss(relevance: Relevance) -> Array:
                mean = lambda of: lambda: sum(of(relevance, length) for length in lengths) / len(lengths)
                return jax.lax.cond(state.step < settings.pair_steps, mean(pair_loss), mean(ranking_loss))

            return jax.lax.cond(
                fixed["multi_label"],
                lambda: loss(label_set_relevance(drawn, posterior[rows])),
                lambda: loss(class_relevance(posterior[mine], posterior[rows])),
            )

        value, gradient = jax.value_and_grad(share_of_loss)(parallel.vary(state.params, axis_name))
        value, gradient = parallel.total((value, gradient), axis_name)
        updates, opt_state = _optimizer(settings).update(gradient, state.opt_state, state.params)
        return state.replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state), {"loss": value}

    def finish(state: State) -> dict[str, Any]:
        params = {"params": state.extra["fixed"] | {"layers": state.params["layers"]}}
        return params | ({"posterior": state.extra["posterior"]} if _in_cells(settings, layers.two) else {})

    return Phase("code_layer", settings.num_steps, 0, init, step, finish=finish, needs_inputs=False)


def _optimizer(settings: ERHSettings) -> optax.GradientTransformation:
    steps = max(settings.num_steps, settings.warmup_steps + 1)
    rate = optax.warmup_cosine_decay_schedule(0.0, settings.code_rate, settings.warmup_steps, steps)
    return optax.adam(rate)


def _make(given: Ingredients, two: bool) -> Method:
    settings = given.settings
    num_learnt = given.num_bits - settings.geometry_bits
    fold_rows = lambda num_rows: folds_of(num_rows, settings.num_folds)
    layers = _Layers(CodeLayer(num_learnt, settings.hidden), two)

    def phase_of(fold: int) -> Phase:
        return for_classes(functools.cache(lambda num_classes: _posterior_phase(given, num_classes, fold)))

    # Steps are the same whatever is left out, and compiled once for all folds of one size.
    of_all_rows = phase_of(0)
    of_folds = [phase_of(fold)._replace(step=of_all_rows.step) for fold in range(1, settings.num_folds + 1)]

    def logits_of(role: str) -> Callable[[Any, Array], Array]:
        def logits(params: dict[str, Any], x: Array) -> Array:
            class_logits = _class_logits(given.encoder, params["mean"].shape[0] - (1 if settings.novel else 0))
            posterior = class_posterior(params, x, class_logits)
            in_cells = "cells" in params
            learnt = cell_codes(params["cells"], posterior) if in_cells else layers.logits(params, posterior, role)
            if not settings.geometry_bits:
                return learnt
            # Of two functions the database's need no silence: that of a query is enough.
            always = two and role == "database"
            own = geometry_logits(params["geometry"], flat(x), posterior[:, -1], always)
            return jnp.concatenate([learnt, own], axis=1)

        return logits

    phases = [novelty_phase(settings.novel, settings.geometry_bits, fold_rows)] if settings.novel else []
    phases += [_ridge_phase()] if settings.kernel_ridge else []
    phases += [*of_folds, of_all_rows, _code_layer_phase(layers, settings)]
    prefixes = _prefixes(settings, num_learnt)
    if _in_cells(settings, two):
        codes_of = lambda params, posterior: signs(layers.logits(params, posterior, "query"))
        phases.append(cells_phase(codes_of, settings.cells, (*prefixes, num_learnt)))
    database_logits = logits_of("database") if two else None
    return Method(tuple(phases), logits_of("query"), database_logits=database_logits, prefixes=prefixes)


@functools.lru_cache
def make(given: Ingredients) -> Method:
    """ERH for codes of one length."""
    return _make(given, two=False)


@functools.lru_cache
def make_two(given: Ingredients) -> Method:
    """ERH with one function for queries and one for the database."""
    return _make(given, two=True)
