"""Stage 3: one reward against plain NumPy counting, updates per second, and the reward's share of the time.

    python -m benchmarks.ppo --workdir=runs/c10

The workdir is a finished run of configs/cifar10_features.py, whose held-out training codes are the pool.
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.field_loop import counting_map
from benchmarks.pools import NUM_DATABASE, NUM_QUERIES, POOL_BITS, reward_of, reward_sample
from benchmarks.timing import describe_machine, first_call, interleaved
from drlhash_jax import bit_selection

_WORKDIR = flags.DEFINE_string("workdir", "runs/c10", "A finished run of configs/cifar10_features.py.")
NUM_SELECTED = 16
UPDATES_PER_CALL = 10


def compare_reward(sample, env: bit_selection.EnvParams) -> None:
    """Prints one reward in jit, inside a loop over masks as PPO runs it, against NumPy on the same masks."""
    num_masks = 20
    rng = np.random.default_rng(1)
    orders = np.stack([rng.permutation(POOL_BITS)[:NUM_SELECTED] for _ in range(num_masks)])
    masks = jnp.stack([bit_selection.mask_of(jnp.asarray(order), POOL_BITS) for order in orders])
    in_jit = jax.jit(lambda masks: jax.lax.map(functools.partial(bit_selection.subset_reward, env), masks))
    query, database, query_labels, database_labels = sample

    def in_numpy():
        return [counting_map(query[:, order], database[:, order], query_labels, database_labels) for order in orders]

    compile_seconds = first_call(lambda: in_jit(masks))
    seconds = interleaved({"jit": lambda: in_jit(masks), "numpy": in_numpy}, 7)
    difference = np.abs(np.asarray(in_jit(masks)) - in_numpy()).max()
    print(f"one reward, {NUM_QUERIES} x {NUM_DATABASE}, {NUM_SELECTED} of {POOL_BITS} bits, {num_masks} masks:")
    for name, value in seconds.items():
        print(f"  {name:6} {value / num_masks * 1e3:7.3f} ms")
    print(f"  jit / numpy = {seconds['jit'] / seconds['numpy']:.2f}; largest difference {difference:.1e}")
    print(f"  first call {compile_seconds:.2f} s")


def time_updates(env: bit_selection.EnvParams) -> None:
    """Prints updates per second and the share of the time that goes into rewards."""
    settings = bit_selection.PPOSettings()
    key = jax.random.key(0)
    new_state = lambda: bit_selection.init_state(key, env, NUM_SELECTED, settings)
    train = lambda: bit_selection.train_chunk(
        key, new_state(), env, num_selected=NUM_SELECTED, num_updates=UPDATES_PER_CALL, settings=settings
    )
    masks = jax.random.bernoulli(key, 0.25, (settings.num_envs + 1, POOL_BITS))
    rewards = jax.jit(lambda masks: jax.lax.map(functools.partial(bit_selection.subset_reward, env), masks))
    compile_seconds = first_call(train)
    first_call(lambda: rewards(masks))
    seconds = interleaved({"updates": train, "rewards": lambda: rewards(masks)}, 5)
    an_update = seconds["updates"] / UPDATES_PER_CALL
    print(f"PPO, {settings.num_envs} environments, {NUM_SELECTED} of {POOL_BITS} bits:")
    print(f"  {1 / an_update:.1f} updates/s, {settings.num_envs / an_update:.0f} episodes/s")
    print(f"  first call of {UPDATES_PER_CALL} updates {compile_seconds:.1f} s")
    print(f"  rewards take {seconds['rewards'] / an_update:.0%} of an update")


def main(_) -> None:
    """Runs both parts."""
    print(describe_machine())
    sample = reward_sample(Path(_WORKDIR.value))
    env = reward_of(sample)
    compare_reward(sample, env)
    time_updates(env)


if __name__ == "__main__":
    app.run(main)
