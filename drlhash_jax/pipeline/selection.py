"""The stages that choose bits of a pool by a reward on training rows."""

import functools
from collections.abc import Callable

import jax
import numpy as np

from drlhash_jax import bit_selection
from drlhash_jax.codes import pack_distinct
from drlhash_jax.errors import UserError
from drlhash_jax.pipeline.hashing import Hashed, heldout_codes
from drlhash_jax.pipeline.run import Run
from drlhash_jax.types import Array, BitSelection, Checkpoint


def reward_codes(run: Run, pool: Hashed) -> tuple[np.ndarray, np.ndarray]:
    """Codes uint8 ``[m, K]`` of the training rows that the reward looks at, and their numbers int ``[m]``."""
    every = np.arange(len(run.split.train))
    source = run.config.reward_codes
    if source == "holdout":
        return pool.train[run.held_out], run.held_out
    if source == "fitted":
        return pool.train, every
    return heldout_codes(run, pool.train.shape[1], pool.before), every


def make_reward(run: Run, codes: np.ndarray, labels: np.ndarray) -> bit_selection.EnvParams:
    """The reward sample: some training rows as queries, the others as the database."""
    config = run.config.reward
    order = np.asarray(jax.random.permutation(run.key("reward"), len(labels)))
    num_queries = config.num_queries
    if run.held_out is not None:
        num_queries = min(num_queries, len(labels) // 2)
    query, database = order[:num_queries], order[num_queries:]
    if config.num_database:
        database = database[: config.num_database]
    env = bit_selection.EnvParams(
        query=pack_distinct(codes[query], labels[query]),
        database=pack_distinct(codes[database], labels[database]),
        pool_bits=codes.shape[1],
        top_k=run.config.run.top_k,
    )
    if not np.isfinite(bit_selection.order_reward(env, np.arange(codes.shape[1]))):
        raise UserError(f"reward.num_queries={config.num_queries}: none of these rows shares a label with the others")
    return env


def _selectors(run: Run, stage: Callable[[str], str]) -> dict:
    """Selector name -> function of (key, env, p, checkpoint) that returns a BitSelection.

    Args:
      run: Run.
      stage: selector name -> name of its stage.
    """
    settings = run.config.ppo

    def ppo(key: Array, env: bit_selection.EnvParams, num_selected: int, checkpoint: Checkpoint) -> BitSelection:
        title = f"PPO, {num_selected} of {env.pool_bits} bits"
        with run.progress(stage("ppo"), title, settings.num_updates) as progress:

            def on_call(done: int, metrics: bit_selection.UpdateMetrics) -> None:
                for row, update in enumerate(range(done - len(metrics.kl), done)):
                    scalars = {name: values[row] for name, values in metrics._asdict().items()}
                    run.workdir.metrics.write(stage("ppo"), update, **scalars)
                progress.update(done, f"reward {float(metrics.best_reward[-1]):.4f}")

            return bit_selection.select_ppo(key, env, num_selected, settings, on_call, run.devices, checkpoint)

    # The others take seconds, and start again where they are interrupted.
    whole = lambda select: lambda key, env, num_selected, checkpoint: select(key, env, num_selected)
    # As many draws as PPO plays episodes.
    num_draws = settings.num_updates * settings.num_envs
    best_of_random = functools.partial(bit_selection.select_best_of_random, num_draws=num_draws, devices=run.devices)
    return {
        "ppo": ppo,
        "greedy": whole(functools.partial(bit_selection.select_greedy, devices=run.devices)),
        "entropy": whole(bit_selection.select_by_entropy),
        "random": whole(bit_selection.select_random),
        "first": whole(bit_selection.select_first),
        "best_of_random": whole(best_of_random),
    }


def select_bits(run: Run, env: bit_selection.EnvParams, num_selected: int) -> dict[str, dict[str, np.ndarray]]:
    """Selector -> order ``[draws, p]``, reward ``[draws]``, evaluations and seconds."""
    stage = lambda name: f"selection_{num_selected:03d}_{name}"
    key = run.key("selection", num_selected)
    selections = {}
    for name, select in _selectors(run, stage).items():
        if name not in run.config.run.selectors:
            continue
        draws = run.config.run.random_draws if name == "random" else 1

        def compute(checkpoint: Checkpoint, select=select, draws=draws) -> dict[str, np.ndarray]:
            found = [select(jax.random.fold_in(key, draw), env, num_selected, checkpoint) for draw in range(draws)]
            return {
                "order": np.stack([np.asarray(each.order) for each in found]),
                "reward": np.array([float(each.reward) for each in found], np.float32),
                "evaluations": np.array(sum(each.num_evaluations for each in found)),
            }

        arrays = run.workdir.stage(stage(name), compute)
        selections[name] = arrays | {"seconds": np.array(run.workdir.seconds(stage(name)))}
    return selections
