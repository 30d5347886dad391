"""Expected relevance hashing: what it expects, its loss, what rows are held out, and codes of two functions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import CHANGES, NUM_BITS, NUM_CLASSES, NUM_ROWS, TRAINING, fitted, key_of, make, toy
from test_soft_ranking import by_loop

from drlhash_jax.encoders import fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.methods import METHODS, Ingredients, TrainingFacts, erh
from drlhash_jax.posteriors import kernel_logits, log_loss, posterior_of, stack_logits
from drlhash_jax.training import Batch, Start, fit, place_rows, run_phase


def toy_start(before, labels, num_classes=NUM_CLASSES):
    return Start(None, labels, np.arange(len(labels), dtype=np.int32), num_classes, None, before, {}, 1)


def make_ingredients(name, settings):
    return Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS, hidden=(32,)), TRAINING, settings)


def test_relevance_of_classes_is_the_chance_of_the_same_one():
    rng = np.random.default_rng(0)
    query, database = rng.dirichlet(np.ones(3), size=2), rng.dirichlet(np.ones(3), size=4)
    found = erh.class_relevance(jnp.float32(query), jnp.float32(database))
    np.testing.assert_allclose(found.chances, query, rtol=1e-6)
    inside = rng.random((2, 4))
    for i, j in itertools.product(range(2), range(4)):
        assert float(found.pairs[i, j]) == pytest.approx(sum(query[i, c] * database[j, c] for c in range(3)), rel=1e-5)
    expected = [[sum(inside[i, j] * database[j, c] for j in range(4)) for c in range(3)] for i in range(2)]
    np.testing.assert_allclose(found.count(jnp.float32(inside)), expected, rtol=1e-5)


def test_relevance_of_label_sets_is_the_chance_of_one_in_common():
    database = np.array([[0.5, 0.1, 0.9], [0.0, 0.0, 1.0]])
    found = erh.label_set_relevance(jnp.float32([[1, 1, 0], [0, 0, 0], [0, 0, 1]]), jnp.float32(database))
    # By counting: label 0 or 1 in common is 1 - .5 x .9; an empty set shares nothing.
    np.testing.assert_allclose(found.pairs, [[0.55, 0.0], [0.0, 0.0], [0.9, 1.0]], atol=2e-6)
    inside = jnp.float32([[0.5, 1.0], [1.0, 1.0], [1.0, 0.25]])
    np.testing.assert_allclose(found.count(inside), [[0.275], [0.0], [1.15]], atol=2e-6)


def test_certain_posteriors_give_the_similarity_of_the_thesis():
    labels = np.eye(3)[[0, 1, 0, 2]]
    found = erh.class_relevance(jnp.float32(labels), jnp.float32(labels)).pairs
    np.testing.assert_array_equal(2 * found - 1, np.where(labels @ labels.T > 0, 1, -1))


def test_weights_of_classifiers_have_the_smallest_loss():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    good, bad = 2.0 * np.eye(3)[labels] + rng.normal(size=(400, 3)), rng.normal(size=(400, 3))
    weights = stack_logits([good, bad], labels)
    loss = lambda w: log_loss(posterior_of(w[0] * good + w[1] * bad, True), labels)
    grid = itertools.product(np.linspace(0, 3, 31), np.linspace(-1, 1, 21))
    assert loss(weights) <= min(map(loss, grid)) + 1e-6
    assert weights[0] > 1 and abs(weights[1]) < 0.3


def code_layer_step(multi_label, two, late, nested=(), cut=5):
    """A step of the code layer of 5 bits, cut off after some, while pairs are learnt or after: state, loss, key."""
    name, rng = "erh_two" if two else "erh", np.random.default_rng(3)
    settings = METHODS[name].settings().replace(**CHANGES[name] | {"code_batch": 6, "nested": nested})
    phase = erh._code_layer_phase(erh._Layers(erh.CodeLayer(5, 4), two), settings)
    shorter = erh._code_layer_phase(erh._Layers(erh.CodeLayer(cut, 4), two), settings)
    labels = np.arange(6) % 3
    labels = np.eye(3, dtype=np.uint8)[labels] if multi_label else labels
    before = {"params": {}, "held_out": rng.normal(size=(6, 3)).astype(np.float32)}
    state = phase.init(jax.random.key(0), toy_start(before | {"multi_label": np.asarray(multi_label)}, labels, 3))
    state = state.replace(step=jnp.int32(late))
    if two:
        shifted = jax.tree.map(lambda x: x + 0.1, state.params["layers"]["database"])
        state = state.replace(params=state.params | {"layers": state.params["layers"] | {"database": shifted}})
    key = jax.random.key(9)
    if cut < 5:
        in_last = lambda path: "bits" in [getattr(part, "key", None) for part in path]
        of = lambda path, x: x[..., :cut] if in_last(path) else x
        state = jax.tree_util.tree_map_with_path(of, state.replace(opt_state=None))
        state = state.replace(opt_state=erh._optimizer(settings).init(state.params))
    after, metrics = shorter.step(state, Batch(None, None, None, None), key, num_steps=settings.num_steps)
    return settings, state, after, float(metrics["loss"]), key


def layer(params, x):
    hidden = np.maximum(x @ params["hidden_layer"]["kernel"] + params["hidden_layer"]["bias"], 0)
    return hidden @ params["bits"]["kernel"] + params["bits"]["bias"]


@pytest.mark.parametrize(
    ("multi_label", "two", "late"),
    [(False, False, 45), (False, True, 0), (False, True, 45), (True, True, 0), (True, True, 45)],
)
def test_the_loss_is_that_of_loops(multi_label, two, late):
    settings, state, _, loss, key = code_layer_step(multi_label, two, late)
    p = np.asarray(state.extra["posterior"], np.float64)
    row_key, draw_key = jax.random.split(key)
    rows = np.asarray(jax.random.permutation(row_key, 6))
    drawn = np.asarray(jax.random.bernoulli(draw_key, state.extra["posterior"][rows]), np.float64)
    p = p[rows]
    standard = (p - p.mean(axis=0)) / p.std(axis=0)
    beta = settings.steepness ** (max(late - settings.pair_steps, 0) / (settings.num_steps - settings.pair_steps))
    sides = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params["layers"])
    query = np.tanh(beta * layer(sides["query"], standard))
    database = np.tanh(beta * layer(sides["database" if two else "query"], standard))
    others = 1 - np.eye(6)
    shared = 1 - np.prod(np.where(drawn[:, None] > 0, 1 - p[None], 1.0), axis=2) if multi_label else p @ p.T
    if late < settings.pair_steps:
        theta = 8.0 * query @ database.T / 5 - 3.0
        values = np.log1p(np.exp(theta)) - shared * theta
        expected = (values * others).sum() / others.sum()
    elif multi_label:
        expected = -by_loop(query, database, others, shared).mean()
    else:
        by_class = [by_loop(query, database, others, np.tile(p[:, c], (6, 1))) for c in range(3)]
        expected = -np.mean(np.sum(p * np.stack(by_class, axis=1), axis=1))
    assert loss == pytest.approx(expected, rel=1e-4)


def test_held_out_rows_are_coded_by_classifiers_that_did_not_see_them():
    """Another label for a row changes what is said about the other fold, and nothing about its own."""
    inputs, labels, _ = toy("erh")
    spec = fit_input_spec(inputs)
    folds = erh.folds_of(NUM_ROWS, 2)
    assert np.bincount(folds).tolist() == [80, 80] and (folds == erh.folds_of(NUM_ROWS, 2)).all()

    def held_out(labels):
        before, phases = None, make("erh").phases
        for phase in phases[:-2]:
            before = run_phase(key_of(phase.name), phase, place_rows(inputs, labels, spec), before=before)
        return before["held_out"]

    row = int(np.flatnonzero(folds == 0)[0])
    changed = labels.copy()
    changed[row] = (labels[row] + 1) % NUM_CLASSES
    plain, other = held_out(labels), held_out(changed)
    np.testing.assert_array_equal(plain[folds == 0], other[folds == 0])
    assert (plain[folds == 1] != other[folds == 1]).any(axis=1).mean() > 0.9


def test_the_posterior_is_that_of_all_classifiers():
    params = dict(fitted("erh")["params"])
    params.pop("cells", None)
    inputs, _, queries = toy("erh")
    x = np.asarray(prepare_inputs(queries, fit_input_spec(inputs)))
    scores = np.maximum(x @ params["encoder"]["dense0"]["kernel"] + params["encoder"]["dense0"]["bias"], 0)
    scores = scores @ params["encoder"]["head"]["kernel"] + params["encoder"]["head"]["bias"]
    mixed = params["weights"][0] * scores + params["weights"][1] * np.asarray(kernel_logits(params["ridge"], x))
    p = posterior_of(np.asarray(mixed), True)
    expected = layer(params["layers"]["query"], (p - params["mean"]) / params["deviation"])
    np.testing.assert_allclose(make("erh").logits(params, x), expected, atol=2e-3)


@pytest.mark.exhaustive
def test_without_kernel_ridge():
    settings = METHODS["erh"].settings().replace(**CHANGES["erh"] | {"kernel_ridge": False})
    given = make_ingredients("erh", settings)
    method, (inputs, labels, _) = METHODS["erh"].make(given), toy("erh")
    assert [phase.name for phase in method.phases] == ["posterior_1", "posterior_2", "posterior", "code_layer", "cells"]
    params = fit(method.phases, place_rows(inputs, labels, fit_input_spec(inputs)), key_of)["params"]
    assert "ridge" not in params and params["weights"].shape == (1,)


def test_nested_lengths_are_a_mean_over_prefixes():
    """The loss of all lengths is the mean of what codes cut off at each would lose."""
    found = {}
    for late, nested in itertools.product((0, 45), ((2, 4), (9,))):
        found[late, nested] = code_layer_step(False, True, late, nested=nested)[3]
    for late in (0, 45):
        alone = [code_layer_step(False, True, late, cut=length)[3] for length in (2, 4, 5)]
        assert found[late, (2, 4)] == pytest.approx(np.mean(alone), rel=1e-5)
        assert found[late, (9,)] == pytest.approx(alone[2], rel=1e-6)


def test_lengths_that_are_none_are_refused():
    settings, facts = METHODS["erh"].settings(), TrainingFacts(16, "features", (5,), 100, 4)
    assert METHODS["erh"].misfit(settings.replace(nested=(8, 64)), facts) is None
    for nested, shown in (((8, 0), "8,0"), ((8.5,), "8.5"), (("a",), "a")):
        expected = f"erh.nested={shown}: give lengths from 1, e.g. 8,16,32"
        assert METHODS["erh_two"].misfit(settings.replace(nested=nested), facts) == expected
    # A method is made before its rows are known, and then refused.
    assert METHODS["erh"].make(make_ingredients("erh", settings.replace(nested=("a", 8)))).prefixes == (8,)


def test_two_functions_start_as_one_and_part():
    params = fitted("erh_two")["params"]["layers"]
    assert set(params) == {"query", "database"}
    kernels = [params[role]["bits"]["kernel"] for role in ("query", "database")]
    assert (kernels[0] != kernels[1]).any()
    first = erh._Layers(erh.CodeLayer(5, 4), True).init(jax.random.key(0), 3)
    jax.tree.map(np.testing.assert_array_equal, first["query"], first["database"])


def test_roles():
    one, two = make("erh"), make("erh_two")
    assert one.database_logits is None and one.logits_for("database") is one.logits
    assert two.logits_for("query") is two.logits and two.logits_for("database") is two.database_logits is not two.logits


def test_large_images_and_many_rows_go_without_kernel_ridge(monkeypatch):
    phase, rng = make("erh").phases[0], np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
    begin = toy_start(None, np.arange(8) % 2, 2)._replace(inputs=images, spec=fit_input_spec(images))
    for rows, pixels in ((8, 15), (7, 16)):
        monkeypatch.setattr(erh, "MOST_KERNEL_ROWS", rows)
        monkeypatch.setattr(erh, "_MOST_PIXELS", pixels)
        assert phase.finish(phase.init(jax.random.key(0), begin)) == {}
    monkeypatch.setattr(erh, "MOST_KERNEL_ROWS", 8)
    assert set(phase.finish(phase.init(jax.random.key(0), begin))) == {"ridge", "ridge_held_out"}
    # Small images that are made large for the encoder count as large.
    larger = begin._replace(spec=fit_input_spec(images, image_size=8))
    monkeypatch.setattr(erh, "_MOST_PIXELS", 63)
    assert phase.finish(phase.init(jax.random.key(0), larger)) == {}
    features = images[:, 0, :, 0].astype(np.float32)
    monkeypatch.setattr(erh, "_MOST_PIXELS", 3)
    begin = begin._replace(inputs=features, spec=fit_input_spec(features))
    assert set(phase.finish(phase.init(jax.random.key(0), begin))) == {"ridge", "ridge_held_out"}


def test_noise_is_that_of_the_row():
    """A batch in another order sees the same noise in each row."""
    given = make_ingredients("erh", METHODS["erh"].settings().replace(noise=0.5, dropout=0.0, kernel_ridge=False))
    phase = erh._posterior_phase(given, NUM_CLASSES, 0)
    inputs, labels, _ = toy("erh")
    spec = fit_input_spec(inputs)
    rows = place_rows(inputs, labels, spec)
    begin = Start(rows.inputs, rows.labels, np.arange(NUM_ROWS, dtype=np.int32), NUM_CLASSES, spec, None, {}, 1)
    state, x = phase.init(jax.random.key(0), begin), jnp.asarray(prepare_inputs(inputs, spec))
    hot = jax.nn.one_hot(labels, NUM_CLASSES)
    losses = []
    for order in (np.arange(8), np.arange(8)[::-1]):
        batch = Batch(x[order], hot[order], jnp.asarray(order), jnp.ones(8), jax.random.key(5))
        losses.append(float(phase.step(state, batch, jax.random.key(1), num_steps=1, axis_name=None)[1]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    other = batch._replace(key=jax.random.key(6))
    assert float(phase.step(state, other, jax.random.key(1), num_steps=1, axis_name=None)[1]["loss"]) != losses[1]


def test_folds_of_one_size_share_their_program():
    """Programs are told apart by what they are made of and by the number of rows, not by which rows these are."""
    given = make_ingredients("erh", METHODS["erh"].settings().replace(**CHANGES["erh"] | {"num_folds": 4}))
    phases = METHODS["erh"].make(given).phases[1:6]
    assert [phase.name for phase in phases] == ["posterior_1", "posterior_2", "posterior_3", "posterior_4", "posterior"]
    assert len({phase.traced for phase in phases}) == 1
    begin = Start(None, None, np.arange(NUM_ROWS), NUM_CLASSES, None, None, {}, 1)
    chosen = [phase.choose_rows(jax.random.key(0), begin) for phase in phases]
    assert [len(each) for each in chosen] == [120] * 4 + [160]
    # Each row is left out once.
    np.testing.assert_array_equal(np.bincount(np.concatenate(chosen[:4])), 3)
