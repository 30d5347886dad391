"""A stage's loop that is stopped between its calls ends in the same bits, and what is no number is never saved."""

import copy

import jax
import numpy as np
import pytest
from trainings import fit_encoder, infer_target_codes

from drlhash_jax.bit_selection import EnvParams, PPOSettings
from drlhash_jax.bit_selection.learning import select_by_population, select_ppo
from drlhash_jax.codes import pack_distinct
from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.errors import RunStoppedError
from drlhash_jax.target_codes import TargetCodeSettings
from drlhash_jax.training import TrainingSettings
from drlhash_jax.types import Checkpoint

SETTINGS = TrainingSettings(num_epochs=3, batch_size=4, optimizer="adam", learning_rate=1e-2, head_learning_rate=1e-2)
PPO = PPOSettings(num_updates=14, num_envs=4, num_epochs=2, num_minibatches=2)


def to_host(tree):
    return jax.tree.map(lambda x: np.array(x), tree)


def run_with_stops(loop):
    """Runs ``loop(checkpoint)`` with a stop at every offer but the last; returns its result and the positions."""
    saved, positions = [], []

    def offer(position, state):
        positions.append(position)
        saved.append(to_host(state))
        raise RunStoppedError("asked to")

    restore = lambda state: copy.deepcopy(saved[-1]) if saved else state
    while True:
        try:
            return loop(Checkpoint(restore, offer)), positions
        except RunStoppedError:
            continue


def never_offered():
    """A checkpoint that fails the test if a state is offered to it."""

    def offer(position, state):
        raise AssertionError(f"a state was offered at {position}")

    return Checkpoint(lambda state: state, offer)


def data(kind):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (40, 4)).astype(np.uint8)
    if kind == "features":
        return make_encoder("mlp", 4, hidden=(8,)), rng.normal(size=(40, 5)).astype(np.float32), codes
    return make_encoder("compact", 4, width=8), rng.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), codes


# Ten batches an epoch: features take them in one call, images look at their losses after eight, and at the end.
@pytest.mark.parametrize(("kind", "positions"), [("features", [10, 20, 30]), ("images", [8, 10, 18, 20, 28, 30])])
def test_stopped_anywhere_the_parameters_are_the_same(kind, positions):
    encoder, inputs, codes = data(kind)
    settings = SETTINGS.replace(max_shift=1)
    losses = {"whole": [], "stopped": []}

    def fit(name, **more):
        report = lambda epoch, loss: losses[name].append((epoch, loss))
        spec = fit_input_spec(inputs)
        return fit_encoder(jax.random.key(1), encoder, inputs, codes, np.arange(40), spec, settings, report, **more)

    whole = fit("whole")
    stopped, found = run_with_stops(lambda checkpoint: fit("stopped", checkpoint=checkpoint))
    assert found == positions
    jax.tree.map(np.testing.assert_array_equal, whole, stopped)
    assert losses["whole"] == losses["stopped"]


def test_a_loss_that_is_no_number_names_its_batch_and_is_not_saved():
    encoder, inputs, codes = data("features")
    inputs[17] = np.nan
    spec = fit_input_spec(np.nan_to_num(inputs))
    with pytest.raises(FloatingPointError, match=r"loss is nan at step \d \(epoch 0, batch \d\)"):
        fit_encoder(
            jax.random.key(1), encoder, inputs, codes, np.arange(40), spec, SETTINGS, checkpoint=never_offered()
        )


@pytest.mark.parametrize("way", [{"path": "exact"}, {"path": "blockwise"}, {"loss": "likelihood"}])
def test_stopped_anywhere_the_target_codes_are_the_same(way):
    labels = np.arange(30) % 3
    settings = TargetCodeSettings(num_epochs=50, block_height=16, block_width=16, **way)
    losses = {"whole": [], "stopped": []}

    def infer(name, **more):
        report = lambda epoch, loss: losses[name].append((epoch, loss))
        return infer_target_codes(jax.random.key(2), labels, 8, settings, on_epoch=report, **more)

    whole = infer("whole")
    stopped, positions = run_with_stops(lambda checkpoint: infer("stopped", checkpoint=checkpoint))
    assert positions == [20, 40, 50]
    np.testing.assert_array_equal(whole.codes, stopped.codes)
    assert losses["whole"] == losses["stopped"] and len(losses["whole"]) == 50


def test_a_stage_1_loss_that_is_no_number_is_not_saved():
    settings = TargetCodeSettings(num_epochs=30, init_scale=float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        infer_target_codes(jax.random.key(0), np.arange(6) % 2, 4, settings, checkpoint=never_offered())


def environment():
    rng = np.random.default_rng(3)
    codes, labels = rng.integers(0, 2, (50, 8)).astype(np.uint8), np.arange(50) % 3
    return EnvParams(pack_distinct(codes[:10], labels[:10]), pack_distinct(codes[10:], labels[10:]), 8, None)


def test_stopped_anywhere_the_selection_is_the_same():
    rewards = {"whole": [], "stopped": []}

    def select(name, **more):
        report = lambda done, metrics: rewards[name].extend(metrics.mean_reward.tolist())
        return select_ppo(jax.random.key(0), environment(), 3, PPO, report, **more)

    whole = select("whole")
    stopped, positions = run_with_stops(lambda checkpoint: select("stopped", checkpoint=checkpoint))
    assert positions == [7, 14]
    np.testing.assert_array_equal(whole.order, stopped.order)
    assert float(whole.reward) == float(stopped.reward)
    assert rewards["whole"] == rewards["stopped"] and len(rewards["whole"]) == 14


def test_stopped_anywhere_a_population_is_the_same():
    settings = PPO.replace(population=5, num_updates=4)
    select = lambda **more: select_by_population(jax.random.key(0), environment(), 3, settings, **more)
    whole = select()
    stopped, positions = run_with_stops(lambda checkpoint: select(checkpoint=checkpoint))
    # Rounds of 5 members and of 1.
    assert positions == [2, 4]
    np.testing.assert_array_equal(whole.order, stopped.order)
    assert float(whole.reward) == float(stopped.reward) and whole.found_by == stopped.found_by


def test_a_ppo_loss_that_is_no_number_is_not_saved():
    settings = PPO.replace(num_updates=2, learning_rate=float("nan"))
    with pytest.raises(FloatingPointError, match=r"is nan in update 0"):
        select_ppo(jax.random.key(0), environment(), 3, settings, checkpoint=never_offered())
