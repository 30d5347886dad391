"""Rivals of hash codes against loops, refits and FAISS's own search; equal rows get equal scores."""

import sys

import numpy as np
import pytest

from drlhash_jax import retrieval
from drlhash_jax.comparison import rivals
from drlhash_jax.comparison.rivals import RIVALS, RivalRows
from drlhash_jax.errors import UserError

NUM_CLASSES, WIDTH = 4, 12


def blobs(labels, noise, seed):
    centres = np.random.default_rng(0).normal(size=(NUM_CLASSES, WIDTH))
    rng = np.random.default_rng(seed)
    return (centres[labels] + noise * rng.normal(size=(len(labels), WIDTH))).astype(np.float32)


def make_rows(multi_label=False, noise=1.0):
    """300 training rows, 20 queries, 90 rows of a database whose last 30 repeat the first."""
    labels = [np.arange(count) % NUM_CLASSES for count in (300, 20, 60)]
    train, query, database = (blobs(each, noise, seed) for seed, each in enumerate(labels, 1))
    given = np.eye(NUM_CLASSES, dtype=np.uint8)[labels[0]] if multi_label else labels[0]
    return RivalRows(train, given, query, np.concatenate([database, database[:30]]))


def unit(row):
    return row / np.sqrt((row.astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("name", RIVALS)
def test_equal_rows_have_equal_scores_and_any_rival_learns(name, multi_label):
    rows, rival = make_rows(multi_label, 0.5), RIVALS[name]
    ranking = rival.fit(rows, (rival.sizes or (0,))[0], 0)
    scores = ranking.score_rows(3, 20)
    assert scores.shape == (17, 90) and scores.dtype == np.float32
    np.testing.assert_array_equal(scores[:, :30], scores[:, 60:])
    labels = np.arange(20) % NUM_CLASSES, np.concatenate([np.arange(60), np.arange(30)]) % NUM_CLASSES
    ranked = retrieval.score_queries(ranking.score_rows, *labels)
    assert retrieval.mean_over_counted(ranked).means.average_precision > 0.75
    again = rival.fit(rows, (rival.sizes or (0,))[0], 0).score_rows(3, 20)
    np.testing.assert_array_equal(scores, again)


def test_bytes_of_a_row():
    rows = make_rows()
    found = {name: RIVALS[name].fit(rows, 2, 0).bytes_per_row for name in RIVALS}
    # RaBitQ: 12 signs in 2 bytes, and two floats.
    expected = {"float_cosine": 48, "pq": 2, "rabitq": 10, "posterior": 16, "ridge_posterior": 16, "posterior_pq": 2}
    assert found == expected


def test_cosine_by_a_loop():
    rows = make_rows()
    found = RIVALS["float_cosine"].fit(rows, 0, 0).score_rows(0, 5)
    expected = [[unit(q) @ unit(d) for d in rows.database] for q in rows.query[:5]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("num_bytes", [2, 4, 5])
def test_product_quantiser_is_faiss_own(num_bytes):
    faiss = pytest.importorskip("faiss")
    rows = make_rows()
    # 12 numbers in 5 parts: three zeros more.
    filled = [np.pad(rivals.unit_rows(x), ((0, 0), (0, -WIDTH % num_bytes))) for x in (rows.train, rows.database)]
    index = faiss.IndexPQ(filled[0].shape[1], num_bytes, 8)
    index.pq.cp.seed, index.pq.cp.min_points_per_centroid = 7, 1
    index.train(filled[0])
    index.add(filled[1])
    quantise = rivals.fit_quantiser(rivals.unit_rows(rows.train), num_bytes, 7)
    np.testing.assert_array_equal(quantise(rivals.unit_rows(rows.database)), index.reconstruct_n(0, 90)[:, :WIDTH])
    query = np.pad(rivals.unit_rows(rows.query), ((0, 0), (0, -WIDTH % num_bytes)))
    distances, ids = index.search(query, 90)
    found = 1.0 - 2.0 * RIVALS["pq"].fit(rows, num_bytes, 7).score_rows(0, 20)
    np.testing.assert_allclose(np.take_along_axis(found, ids, 1), distances, atol=2e-6)


def test_rabitq_is_faiss_own():
    faiss = pytest.importorskip("faiss")
    rows = make_rows()
    rotation = np.linalg.qr(np.random.default_rng(7).normal(size=(WIDTH, WIDTH)))[0].astype(np.float32)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(WIDTH), atol=1e-6)
    train, query, database = (rivals.unit_rows(x) @ rotation for x in (rows.train, rows.query, rows.database))
    index = faiss.IndexRaBitQ(WIDTH, faiss.METRIC_L2)
    index.qb = 0
    index.train(train)
    index.add(database)
    distances, ids = index.search(query, 90)
    from_centre = ((query - train.mean(axis=0)) ** 2).sum(axis=1, keepdims=True)
    found = from_centre - 2.0 * RIVALS["rabitq"].fit(rows, 0, 7).score_rows(0, 20)
    # FAISS cuts negative estimates off.
    np.testing.assert_allclose(np.take_along_axis(np.maximum(found, 0.0), ids, 1), distances, atol=2e-5)


def test_threads_of_faiss_do_not_matter():
    faiss = pytest.importorskip("faiss")
    before, found = faiss.omp_get_max_threads(), []
    for number in (1, 4):
        faiss.omp_set_num_threads(number)
        found.append([RIVALS[name].fit(make_rows(), 4, 0).score_rows(0, 20) for name in ("pq", "rabitq")])
    faiss.omp_set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("fit", [lambda rows: rivals.fit_logistic(rows, 0), rivals.fit_ridge])
def test_posteriors_are_probabilities_and_held_out(fit):
    rows = make_rows(noise=1.5)
    probe = fit(rows)
    posterior = probe.posterior(rows.train)
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(probe.held_out.sum(axis=1), 1.0, rtol=1e-5)
    assert rivals.log_loss(posterior, rows.labels) < rivals.log_loss(probe.held_out, rows.labels) < np.log(NUM_CLASSES)
    # On other rows of the same kind, the held-out loss is what is found.
    labels = np.arange(2_000) % NUM_CLASSES
    elsewhere = rivals.log_loss(probe.posterior(blobs(labels, 1.5, 9)), labels)
    assert elsewhere == pytest.approx(rivals.log_loss(probe.held_out, rows.labels), abs=0.15)


@pytest.mark.parametrize("fit", [lambda rows: rivals.fit_logistic(rows, 0), rivals.fit_ridge])
def test_labels_of_a_row_have_their_own_probabilities(fit):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 5)).astype(np.float32)
    # Labels 0 and 1 depend on one feature each, 2 on nothing; no row has 3, and all have 4.
    labels = np.stack(
        [inputs[:, 0] > 0, inputs[:, 1] > 0.5, rng.random(400) < 0.3, np.zeros(400, bool), np.ones(400, bool)], axis=1
    )
    probe = fit(RivalRows(inputs[:300], labels[:300].astype(np.uint8), inputs[:5], inputs[:5]))
    posterior = probe.posterior(inputs[300:])
    assert posterior.shape == (100, 5) and ((posterior >= 0) & (posterior <= 1)).all()
    assert ((posterior > 0.5) == labels[300:])[:, :2].mean() > 0.85
    assert np.abs(posterior[:, 2] - 0.3).mean() < 0.2
    assert posterior[:, 3].max() < 0.02 and posterior[:, 4].min() > 0.98


def test_rows_without_a_label_and_classes_without_a_row():
    rows = make_rows()
    labels = np.where(rows.labels == 2, -1, rows.labels)
    for fit in (lambda rows: rivals.fit_logistic(rows, 0), rivals.fit_ridge):
        probe = fit(rows._replace(labels=labels))
        assert probe.held_out.shape == ((labels >= 0).sum(), NUM_CLASSES)
        assert probe.posterior(rows.query)[:, 2].max() < 0.05


def test_folds_have_their_share_of_each_class():
    labels = np.repeat(np.arange(3), [50, 20, 5])
    folds = rivals._folds(labels, 0)
    table = np.array([[((folds == fold) & (labels == label)).sum() for label in range(3)] for fold in range(5)])
    np.testing.assert_array_equal(table, [[10, 4, 1]] * 5)
    assert (folds != rivals._folds(labels, 1)).any()


def test_messages(monkeypatch):
    rows = make_rows()
    few = rows._replace(train=rows.train[:255], labels=rows.labels[:255])
    for name in ("pq", "posterior_pq"):
        with pytest.raises(UserError, match="a product quantiser needs 256 training rows, here are 255"):
            RIVALS[name].fit(few, 2, 0)
    for labels in (np.zeros(300, np.int32), np.full(300, -1), np.ones((300, 2), np.uint8)):
        for name in ("posterior", "ridge_posterior", "posterior_pq"):
            with pytest.raises(UserError, match="a class posterior needs training rows of two classes"):
                RIVALS[name].fit(rows._replace(labels=labels), 2, 0)
    monkeypatch.setattr(rivals, "MOST_KERNEL_ROWS", 299)
    with pytest.raises(UserError, match="ridge_posterior fits up to 299 training rows, here are 300"):
        RIVALS["ridge_posterior"].fit(rows, 0, 0)
    monkeypatch.setitem(sys.modules, "faiss", None)
    for name in (name for name, rival in RIVALS.items() if rival.needs_faiss):
        expected = r"pq, rabitq, posterior_pq need the package faiss-cpu: pip install 'drlhash-jax\[rivals\]'"
        with pytest.raises(UserError, match=expected):
            RIVALS[name].fit(rows, 2, 0)
