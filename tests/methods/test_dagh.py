"""DAGH: the loss by loops, both closed forms against other codes and weights, and what each kind of balance keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import CHANGES, TRAINING, key_of, make, toy

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.methods import Ingredients, TrainingFacts, dagh
from drlhash_jax.methods.sdh import solve_ridge
from drlhash_jax.training import Batch, Start, State, fit, gradient, place_rows

NUM_CLASSES, NUM_BITS = 3, 4
# Rows of one, two and three labels; row 5 is not trained on.
MULTI_HOT = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 0]], np.uint8)
SUBSET = np.array([0, 1, 2, 3, 4, 6], np.int32)


def begin(labels=MULTI_HOT, subset=SUBSET):
    return dagh._begin(jax.random.key(0), Start(None, labels, subset, NUM_CLASSES, None, None, {}, 1), NUM_BITS)


def dense_graph(hot):
    """P with the number of shared labels as weights, rows of sum 1."""
    shared = hot.astype(np.float64) @ hot.T
    return shared / shared.sum(axis=1, keepdims=True)


def objective(codes, w, u, hot, anchors, settings):
    """What of the objective depends on codes and weights, times K."""
    p = dense_graph(hot)[anchors]
    distances = ((u[:, None, :] - codes[None]) ** 2).sum(axis=2)
    regression = settings.regression_weight * len(hot) / len(anchors) * (p * distances).sum()
    labels = ((codes - hot @ w) ** 2).sum() + settings.ridge * (w**2).sum()
    return regression + settings.label_weight * labels


def test_mean_codes_are_those_of_the_dense_graph():
    graph = begin()
    expected = dense_graph(MULTI_HOT[SUBSET]) @ np.asarray(graph.codes)[SUBSET]
    found = dagh.mean_codes(graph.labels, graph.class_codes, graph.class_sizes)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # With one label for each row: the means of classes.
    labels = np.array([0, 1, 0, 2, 1, 0, 0])
    graph = begin(labels)
    found = dagh.mean_codes(graph.labels, graph.class_codes, graph.class_sizes)
    codes = np.asarray(graph.codes)[SUBSET]
    expected = [codes[labels[SUBSET] == each].mean(axis=0) for each in labels[SUBSET]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def step(logits, graph, settings):
    """One step of descent with rate 1 of an encoder whose kernel is the logits, on rows 4, 0 and padding."""
    training = TRAINING.replace(optimizer="sgd", learning_rate=1.0, head_learning_rate=1.0)
    params = {"head": {"kernel": jnp.asarray(logits), "bias": jnp.zeros(NUM_BITS)}}
    state = State(jnp.int32(0), params, gradient._optimizer(training, 1).init(params), graph)
    rows = np.array([4, 0, 2])
    batch = Batch(jnp.eye(3), jnp.asarray(MULTI_HOT[rows], jnp.float32), jnp.asarray(rows), jnp.array([1.0, 1.0, 0.0]))
    given = Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS, hidden=()), training, settings)
    after, metrics = dagh.make(given).phases[0].step(state, batch, jax.random.key(0), num_steps=1)
    return float(metrics["loss"]), np.asarray(params["head"]["kernel"] - after.params["head"]["kernel"]), after.extra


def loss_by_loops(logits, codes, settings, weights=(1.0, 1.0)):
    """Rows 4 and 0 are in the batch; P has a column for every row that is trained on."""
    p = dense_graph(MULTI_HOT[SUBSET])[[4, 0]]
    value = 0.0
    for i in range(2):
        for j, code in enumerate(codes):
            distance = ((logits[i] - code) ** 2).sum()
            value += weights[i] * settings.regression_weight * p[i, j] * distance / (sum(weights) * NUM_BITS)
    # The two rows share a label, and there are two pairs, of the same theta, and none of the other kind.
    theta = settings.scale / NUM_BITS * logits[0] @ logits[1]
    return value + np.log1p(np.exp(theta)) - theta


def test_loss_and_gradient_by_loops():
    settings = dagh.DAGHSettings(regression_weight=0.7, scale=3.0)
    logits = np.random.default_rng(0).normal(size=(3, NUM_BITS)).astype(np.float32)
    graph = begin()
    value, slope, after = step(logits, graph, settings)
    codes = np.asarray(graph.codes, np.float64)[SUBSET]
    logits = logits.astype(np.float64)
    assert value == pytest.approx(loss_by_loops(logits, codes, settings), rel=1e-5)
    expected = np.zeros_like(logits)
    for place in np.ndindex(2, NUM_BITS):
        moved = [logits.copy(), logits.copy()]
        moved[0][place] += 1e-5
        moved[1][place] -= 1e-5
        expected[place] = (loss_by_loops(moved[0], codes, settings) - loss_by_loops(moved[1], codes, settings)) / 2e-5
    np.testing.assert_allclose(slope, expected, atol=1e-5)
    # Y^T D^-1 U of the two rows that count.
    hot = MULTI_HOT[SUBSET].astype(np.float64)
    row_sums = (hot @ hot.T).sum(axis=1)
    np.testing.assert_allclose(after.anchored, (hot[[4, 0]] / row_sums[[4, 0], None]).T @ logits[:2], atol=1e-5)


def test_rows_weigh_by_the_bits_that_missed():
    settings = dagh.DAGHSettings(regression_weight=0.7, scale=3.0, focus=-4.0)
    logits = np.random.default_rng(0).normal(size=(3, NUM_BITS)).astype(np.float32)
    misses = np.array([0.5, 0.0, 0.75, 0.0, 0.0, 9.0, 0.25], np.float32)
    graph = begin().replace(misses=jnp.asarray(misses))
    value, _, after = step(logits, graph, settings)
    # The mean is 1 over the rows that are trained on.
    weights = np.exp(-4.0 * misses[[4, 0]].astype(np.float64)) / np.exp(-4.0 * misses[SUBSET]).mean()
    codes = np.asarray(graph.codes, np.float64)[SUBSET]
    assert value == pytest.approx(loss_by_loops(logits.astype(np.float64), codes, settings, weights), rel=1e-5)
    hot = MULTI_HOT[SUBSET].astype(np.float64)
    row_sums = (hot @ hot.T).sum(axis=1)[[4, 0]]
    expected = (hot[[4, 0]] * (weights / row_sums)[:, None]).T @ logits[:2]
    np.testing.assert_allclose(after.anchored, expected, atol=1e-5)
    assert float(after.total) == pytest.approx(weights.sum(), rel=1e-6)
    # Rows of the batch are told anew by their bits before the step; padding (row 2) and others stay.
    means = dense_graph(MULTI_HOT[SUBSET])[[4, 0]] @ codes
    told = misses.copy()
    told[[4, 0]] = [np.mean([u * mean < -1e-9 for u, mean in zip(*row)]) for row in zip(logits, means)]
    np.testing.assert_array_equal(after.misses, told)


@pytest.mark.parametrize("balance", dagh.BALANCES)
@pytest.mark.parametrize("multi_label", [False, True])
def test_no_update_raises_the_objective(balance, multi_label):
    rng = np.random.default_rng(1)
    settings = dagh.DAGHSettings(regression_weight=0.8, label_weight=0.3, ridge=0.1, balance=balance)
    labels = rng.integers(0, NUM_CLASSES, 20)
    hot = (rng.random((20, NUM_CLASSES)) < 0.4) | np.eye(NUM_CLASSES, dtype=bool)[labels]
    hot = hot if multi_label else np.eye(NUM_CLASSES)[labels]
    graph = begin(hot.astype(np.uint8), np.arange(20, dtype=np.int32))
    for round_number in range(3):
        anchors = rng.permutation(20)[:8]
        u = rng.normal(size=(8, NUM_BITS))
        row_sums = (hot @ hot.T.astype(np.float64)).sum(axis=1)
        anchored = jnp.asarray((hot[anchors] / row_sums[anchors, None]).T @ u, jnp.float32)
        graph = graph.replace(anchored=anchored, total=jnp.float32(8.0))
        codes = np.asarray(graph.codes, np.float64)
        w = np.asarray(solve_ridge(graph.labels.T @ graph.labels, settings.ridge, graph.class_codes), np.float64)
        value = objective(codes, w, u, hot, anchors, settings)
        for _ in range(20):
            other = w + rng.normal(size=w.shape) * 0.1
            assert value <= objective(codes, other, u, hot, anchors, settings)

        wanted = np.asarray(dagh.wanted_codes(graph, settings), np.float64)
        exact = settings.regression_weight * 20 / 8 * dense_graph(hot)[anchors].T @ u + settings.label_weight * hot @ w
        np.testing.assert_allclose(wanted, exact, atol=1e-4)
        found = np.asarray(
            dagh.threshold_codes(jax.random.key(round_number), jnp.asarray(wanted, jnp.float32), balance)
        )
        measured = wanted - wanted.mean(axis=0) if balance == "centred" else wanted
        # Codes of before are balanced in the first round; later ones are what the same rule found.
        assert (found * measured).sum() >= (codes * measured).sum() - 1e-4
        if balance != "centred":
            assert objective(found, w, u, hot, anchors, settings) <= value + 1e-3
        graph = dagh._write_codes(graph, jnp.asarray(found, jnp.float32))
        assert not np.asarray(graph.anchored).any()


def test_exact_balance_takes_the_largest_entries_and_breaks_ties_by_key():
    wanted = jnp.asarray([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    seen = set()
    for seed in range(20):
        codes = np.asarray(dagh.threshold_codes(jax.random.key(seed), wanted, "exact"))
        assert ((codes == 1).sum(axis=0) == 3).all() and (np.abs(codes) == 1).all()
        # One of the four rows of the same value is above the middle.
        assert codes[0, 0] == codes[2, 0] == codes[4, 1] == 1 and codes[5, 0] == -1
        seen.add(int(np.flatnonzero(codes[[1, 3, 4, 6], 0] == 1)[0]))
    assert seen == {0, 1, 2, 3}
    same = [np.asarray(dagh.threshold_codes(jax.random.key(5), wanted, "exact")) for _ in range(2)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("balance", ["centred", "off"])
def test_zeros_are_drawn(balance):
    codes = np.asarray(dagh.threshold_codes(jax.random.key(0), jnp.zeros((400, 2)), balance))
    assert (np.abs(codes) == 1).all() and (np.abs(codes.mean(axis=0)) < 0.2).all()


def test_first_codes_are_balanced_and_other_rows_have_none():
    codes = np.asarray(begin().codes)
    assert not codes[5].any() and not codes[SUBSET].sum(axis=0).any()


@pytest.mark.parametrize("balance", ["off", "exact"])
def test_codes_of_classes(balance):
    """Without balance a class has one code; with it every bit is 1 in half of the rows."""
    inputs, labels, _ = toy("dagh")
    settings = dagh.DAGHSettings(balance=balance).replace(**CHANGES["dagh"])
    method = dagh.make(Ingredients(8, make_encoder("mlp", 8, hidden=(32,)), TRAINING, settings))
    codes = fit(method.phases, place_rows(inputs, labels, fit_input_spec(inputs)), key_of)["codes"]
    distinct = [len(np.unique(codes[labels == each], axis=0)) for each in range(labels.max() + 1)]
    if balance == "off":
        assert distinct == [1, 1, 1, 1] and len(np.unique(codes, axis=0)) == 4
    else:
        assert (codes.sum(axis=0) == len(codes) // 2).all()


def draws(anchors, labels):
    settings = dagh.DAGHSettings(num_anchors=6, anchors=anchors)
    draw = lambda key: dagh.draw_anchors(key, jnp.arange(0, 60, 2), labels, settings)
    drawn = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 200)))
    assert all(len(set(each)) == 6 for each in drawn.tolist()) and (drawn % 2 == 0).all()
    return np.bincount(drawn.ravel(), minlength=60)[::2] / 200


def test_anchors_of_classes():
    # Of the 30 rows to draw from, 3 are of class 1.
    labels = (np.arange(60) % 20 == 0).astype(np.int32)
    plain, by_class = draws("random", jnp.asarray(labels)), draws("classes", jnp.asarray(labels))
    rare = labels[::2] == 1
    assert plain[rare].mean() == pytest.approx(0.2, abs=0.05) and by_class[rare].mean() > 0.6
    hot = np.eye(2, dtype=np.uint8)[labels]
    np.testing.assert_array_equal(by_class, draws("classes", jnp.asarray(hot)))


def test_a_round_keeps_its_anchors():
    phase = make("dagh").phases[0]
    labels = jnp.zeros(160, jnp.int32)
    sample = lambda epoch: phase.sample_rows(jax.random.key(0), epoch, jnp.arange(160), labels)
    rows = [set(np.asarray(sample(epoch)).tolist()) for epoch in range(6)]
    assert rows[0] == rows[1] == rows[2] != rows[3] == rows[4] == rows[5]
    assert all(len(each) == 128 for each in rows)


def test_kmeans_takes_a_row_of_each_cluster_of_the_rows_to_train_on():
    rng = np.random.default_rng(0)
    clusters = np.arange(120) % 6
    inputs = (10.0 * np.eye(6)[clusters] + rng.normal(size=(120, 6))).astype(np.float32)
    subset = np.flatnonzero(clusters < 5).astype(np.int32)
    start = Start(inputs, clusters, subset, 6, fit_input_spec(inputs), None, {}, 1)
    chosen = [dagh.nearest_to_centres(jax.random.key(seed), start, 40) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(chosen[0], chosen[1])
    assert not np.array_equal(chosen[0], chosen[2])
    for rows in chosen:
        assert len(rows) <= 40 and set(clusters[rows]) == {0, 1, 2, 3, 4} and len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(dagh.nearest_to_centres(jax.random.key(0), start, 100), subset)
    # The steps see these rows, in every round.
    settings = dagh.DAGHSettings(anchors="kmeans", num_anchors=40)
    phase = dagh.make(Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS, hidden=()), TRAINING, settings)).phases[0]
    rows = phase.choose_rows(jax.random.key(0), start)
    for epoch in (0, 3):
        sampled = phase.sample_rows(jax.random.key(0), epoch, jnp.asarray(rows), jnp.asarray(clusters))
        assert sorted(np.asarray(sampled).tolist()) == rows.tolist()


def test_kmeans_of_images_is_refused():
    settings = dagh.DAGHSettings(anchors="kmeans")
    facts = TrainingFacts(16, "images", (32, 32, 3), 100, 10)
    assert "use random or classes" in dagh.misfit(settings, facts)
    assert dagh.misfit(settings, facts._replace(kind="features", shape=(64,))) is None
    assert dagh.misfit(dagh.DAGHSettings(), facts) is None
