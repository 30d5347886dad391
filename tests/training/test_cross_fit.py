"""Out-of-fold codes: balanced folds, and a row's code that its own target cannot reach."""

import jax
import numpy as np
import pytest
from trainings import codes as encode_codes
from trainings import encoder_phase, fit_encoder, logits_of

from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.training import TrainingSettings, assign_folds, cross_fit_codes, place_rows

ENCODER = make_encoder("mlp", 8, hidden=(64,))
SETTINGS = TrainingSettings(num_epochs=40, batch_size=40, optimizer="adam", learning_rate=0.01, head_learning_rate=0.01)


@pytest.mark.parametrize(("num_rows", "num_folds"), [(10, 2), (11, 5), (50, 7), (3, 3)])
def test_folds_are_balanced(num_rows, num_folds):
    folds = assign_folds(jax.random.key(0), num_rows, num_folds)
    assert folds.shape == (num_rows,)
    sizes = np.bincount(folds, minlength=num_folds)
    assert len(sizes) == num_folds and sizes.sum() == num_rows
    assert sizes.max() - sizes.min() <= 1


def test_folds_are_random():
    first, again, other = (assign_folds(jax.random.key(seed), 60, 3) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # Neighbours are not dealt out in turn.
    assert not np.array_equal(first, np.arange(60) % 3)


def cross_fit(key, inputs, codes, spec, **more):
    rows = place_rows(inputs, np.zeros(len(inputs), np.int32), spec)
    phase = encoder_phase(ENCODER, SETTINGS)
    return cross_fit_codes(key, phase, logits_of(ENCODER), rows, 3, before={"codes": codes}, **more)


def random_targets():
    """Inputs that say nothing about their targets, in enough dimensions to be learnt by heart."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 64)).astype(np.float32), rng.integers(0, 2, (60, 8)).astype(np.uint8)


def test_held_out_codes_do_not_know_their_targets():
    inputs, codes = random_targets()
    spec = fit_input_spec(inputs)
    key = jax.random.key(0)
    params = fit_encoder(key, ENCODER, inputs, codes, np.arange(60), spec, SETTINGS)
    assert (encode_codes(ENCODER, params, inputs, spec) == codes).mean() > 0.98
    epochs = []
    run_fold = lambda fold, fit: fit(lambda epoch, means: epochs.append((fold, epoch)))
    heldout = cross_fit(key, inputs, codes, spec, run_fold=run_fold)
    assert heldout.shape == codes.shape and heldout.dtype == np.uint8
    # 480 fair coins: standard deviation .023.
    assert 0.4 < (heldout == codes).mean() < 0.6
    assert epochs == [(fold, epoch) for fold in range(3) for epoch in range(40)]
    # Its own target does not reach a row's code; those of other folds do.
    flipped = codes.copy()
    flipped[7] = 1 - flipped[7]
    again = cross_fit(key, inputs, flipped, spec)
    np.testing.assert_array_equal(again[7], heldout[7])
    assert (again != heldout).any()


def test_separable_data_survive_cross_fitting():
    rng = np.random.default_rng(1)
    labels = np.arange(60) % 3
    inputs = (np.eye(3)[labels] @ rng.normal(size=(3, 64)) * 3 + rng.normal(size=(60, 64))).astype(np.float32)
    codes = rng.integers(0, 2, (3, 8)).astype(np.uint8)[labels]
    heldout = cross_fit(jax.random.key(0), inputs, codes, fit_input_spec(inputs))
    assert (heldout == codes).mean() > 0.95
