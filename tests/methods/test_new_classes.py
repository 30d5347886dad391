"""Codes for rows of classes that no training row has: what is silent, what is balanced, and what it is good for."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from method_toys import CHANGES, NUM_BITS, TRAINING, key_of

from drlhash_jax.encoders import fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.methods import METHODS, Ingredients, TrainingFacts
from drlhash_jax.methods.erh import class_posterior
from drlhash_jax.methods.new_classes import as_known_and_as_new, geometry_logits, known_and_new
from drlhash_jax.retrieval import mean_average_precision
from drlhash_jax.training import encode_codes, fit, place_rows

WIDTH, KNOWN = 20, 6


def test_new_is_one_more_class():
    found = known_and_new(jnp.float32([[0.5, 0.5], [0.9, 0.1]]), jnp.float32([0.2, 1.0]))
    np.testing.assert_allclose(found, [[0.4, 0.4, 0.2], [0.0, 0.0, 1.0]], atol=1e-7)


def test_a_row_in_its_second_guise_has_nothing_of_its_class():
    before = {"nu_known": np.float32([0.1, 0.2]), "nu_new": np.float32([0.6, 0.7])}
    found = as_known_and_as_new(np.log(np.float32([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])), np.array([0, 1]), before)
    expected = [
        [0.45, 0.27, 0.18, 0.1],
        [0.08, 0.64, 0.08, 0.2],
        # .4 of the chance is left, .3 / .5 of it for the second class.
        [0.0, 0.4 * 0.6, 0.4 * 0.4, 0.6],
        [0.15, 0.0, 0.15, 0.7],
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_balanced_codes_are_at_one_distance_from_silence():
    rng = np.random.default_rng(0)
    params = {"mean": rng.normal(size=5).astype(np.float32), "projection": rng.normal(size=(5, 8)).astype(np.float32)}
    x, nu = rng.normal(size=(40, 5)).astype(np.float32), rng.random(40).astype(np.float32)
    speaking = np.asarray(geometry_logits(params, x, nu, True)) >= 0
    assert (speaking.sum(axis=1) == 4).all()
    projected = (x - params["mean"]) @ params["projection"]
    largest = np.argsort(-projected, axis=1)[:, :4]
    assert all(set(np.flatnonzero(bits)) == set(order) for bits, order in zip(speaking, largest))
    found = np.asarray(geometry_logits(params, x, nu, False)) >= 0
    np.testing.assert_array_equal(found, speaking & (nu[:, None] >= 0.3))
    silent = found[nu < 0.3]
    assert (np.count_nonzero(silent[:, None] != speaking[None], axis=2) == 4).all()


@functools.cache
def blobs():
    """Blobs of nine classes, six of them with training rows: training, query and database inputs and labels."""
    rng = np.random.default_rng(0)
    centres = 2.5 * rng.normal(size=(9, WIDTH))
    draw = lambda labels: (centres[labels] + rng.normal(size=(len(labels), WIDTH))).astype(np.float32)
    train, query, database = np.arange(240) % KNOWN, np.arange(180) % 9, np.arange(450) % 9
    return (draw(train), train), (draw(query), query), (draw(database), database)


@functools.cache
def trained(name, **changes):
    """Method, its parameters and the codes of queries and database."""
    spec = METHODS[name]
    settings = spec.settings().replace(**CHANGES[name] | changes)
    method = spec.make(Ingredients(NUM_BITS, make_encoder("mlp", NUM_BITS, hidden=(32,)), TRAINING, settings))
    (inputs, labels), (queries, _), (database, _) = blobs()
    rows = place_rows(inputs, labels, fit_input_spec(inputs))
    params = fit(method.phases, rows, key_of)["params"]
    sides = ("query", queries), ("database", database)
    codes = [encode_codes(method.logits_for(role), params, x, rows.spec) for role, x in sides]
    return method, params, codes


def maps(codes):
    """mAP of queries of known classes, and of new ones."""
    (_, (_, labels), (_, database)), (query, rows) = blobs(), codes
    known = labels < KNOWN
    found = lambda of: float(mean_average_precision(query[of], rows, labels[of], database))
    return found(known), found(~known)


@pytest.mark.parametrize("name", ["erh_two", pytest.param("erh", marks=pytest.mark.exhaustive)])
def test_classes_never_seen_are_found(name):
    """Measured: mAP 1.0 of known and .88 of new classes where a chance is left to these, .77 and .43 without."""
    known, new = maps(trained(name, novel=0.2, geometry_bits=8)[2])
    plain_known, plain_new = maps(trained(name)[2])
    assert known > plain_known - 0.02 and known > 0.9
    assert new > plain_new + 0.3


def test_which_rows_speak():
    """Of two functions the database always speaks; a query only if it seems new."""
    method, params, (query, database) = trained("erh_two", novel=0.2, geometry_bits=8)
    (inputs, _), (queries, labels), _ = blobs()
    x = np.asarray(prepare_inputs(queries, fit_input_spec(inputs)))
    encoder = make_encoder("mlp", KNOWN, hidden=(32,))
    posterior = class_posterior(params, x, lambda p, rows: encoder.apply({"params": p}, rows, train=False))
    assert posterior.shape == (180, KNOWN + 1)
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0, atol=1e-5)
    speak = np.asarray(posterior[:, -1]) >= 0.3
    assert speak[labels >= KNOWN].mean() > 0.8 and speak[labels < KNOWN].mean() < 0.2
    assert (query[:, 8:].sum(axis=1) == np.where(speak, 4, 0)).all() and (database[:, 8:].sum(axis=1) == 4).all()


def test_what_does_not_fit_is_refused():
    facts = TrainingFacts(16, "features", (12,), 100, 4)
    settings = METHODS["erh"].settings()
    misfit = lambda facts=facts, **changes: METHODS["erh"].misfit(settings.replace(**changes), facts)
    assert misfit(novel=0.1) is None and misfit(novel=0.1, geometry_bits=12) is None
    assert misfit(geometry_bits=8) == "erh.geometry_bits=8 are for rows of new classes: set erh.novel too, e.g. 0.1"
    for changed in ({"kind": "images"}, {"multi_label": True}, {"num_rows": 20_001}):
        expected = "erh.novel=0.1 needs features with one label each and at most 20000 training rows: set it to 0"
        assert misfit(facts._replace(**changed), novel=0.1) == expected
    for bits, most, num_bits in ((7, 12, 16), (14, 12, 16), (8, 7, 8)):
        expected = f"erh.geometry_bits={bits}: give an even number, {most} at most where codes have {num_bits} bits"
        assert misfit(facts._replace(num_bits=num_bits), novel=0.1, geometry_bits=bits).startswith(expected)
