"""The stages that choose bits of a pool by a reward on training rows."""

from typing import NamedTuple

import jax
import numpy as np

from drlhash_jax import bit_selection
from drlhash_jax.pipeline.hashing import Hashed, heldout_codes
from drlhash_jax.pipeline.run import Run, selection_stage
from drlhash_jax.types import BitSelection, Checkpoint


class RewardCodes(NamedTuple):
    """Codes that the reward looks at.

    Attributes:
      rows: int ``[m]``, numbers of the training rows.
      codes: uint8 ``[m, K]``, of these rows in the database.
      query: uint8 ``[m, K]``, of the same rows as queries.
    """

    rows: np.ndarray
    codes: np.ndarray
    query: np.ndarray


def reward_codes(run: Run, pool: Hashed) -> RewardCodes:
    """Codes of the training rows that the reward looks at."""
    every = np.arange(len(run.split.train))
    source = run.config.reward_codes
    if source == "crossfit":
        codes = heldout_codes(run, pool.train.shape[1], pool.before)
        return RewardCodes(every, codes, codes)
    rows = run.held_out if source == "holdout" else every
    query = pool.train if pool.train_query is None else pool.train_query
    return RewardCodes(rows, pool.train[rows], query[rows])


def make_reward(run: Run, pool: Hashed) -> tuple[bit_selection.EnvParams, RewardCodes]:
    """The reward, and the codes that it looks at."""
    found = reward_codes(run, pool)
    options = {"query_codes": found.query, "held_out": run.held_out is not None, "top_k": run.config.run.top_k}
    labels = run.train_labels[found.rows]
    return bit_selection.make_reward(run.key("reward"), found.codes, labels, run.config.reward, **options), found


def _run_selector(
    run: Run, name: str, stage: str, env: bit_selection.EnvParams, num_selected: int, checkpoint: Checkpoint
) -> list[BitSelection]:
    """All draws of a selector, with a bar if it reports its steps."""
    selector = bit_selection.SELECTORS[name]
    tools = bit_selection.SelectorTools(run.config.ppo, run.config.search, run.devices)
    key = run.key("selection", num_selected)
    draws = run.config.run.random_draws if selector.has_draws else 1
    select = lambda tools: [
        selector.select(jax.random.fold_in(key, draw), env, num_selected, tools) for draw in range(draws)
    ]
    if selector.num_steps is None:
        return select(tools)
    title = f"{selector.label}, {num_selected} of {env.pool_bits} bits"
    with run.progress(stage, title, selector.num_steps(tools.settings)) as progress:

        def on_call(done: int, metrics: bit_selection.UpdateMetrics) -> None:
            for row, update in enumerate(range(done - len(metrics.kl), done)):
                scalars = {field: values[row] for field, values in metrics._asdict().items()}
                run.workdir.metrics.write(stage, update, **scalars)
            progress.update(done, f"reward {float(metrics.best_reward[-1]):.4f}")

        return select(tools._replace(on_call=on_call, checkpoint=checkpoint))


def _found(run: Run, name: str, env: bit_selection.EnvParams, num_selected: int) -> dict[str, np.ndarray]:
    """What a selector found, computed or read: see `select_bits`."""
    stage = selection_stage(name, num_selected)

    def compute(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
        found = _run_selector(run, name, stage, env, num_selected, checkpoint)
        return {
            "order": np.stack([np.asarray(each.order) for each in found]),
            "reward": np.array([float(each.reward) for each in found], np.float32),
            "evaluations": np.array(sum(each.num_evaluations for each in found)),
            "found_by": np.array(found[0].found_by),
        }

    return run.workdir.stage(stage, compute) | {"seconds": np.array(run.workdir.seconds(stage))}


def _found_for_all(run: Run, name: str, env: bit_selection.EnvParams, num_selected: int) -> dict[str, np.ndarray]:
    """The first bits of a selector's order for all lengths; evaluations and seconds are those of the whole order."""
    lengths = tuple(sorted(run.config.run.bits))
    found = _found(run, name, env.replace(lengths=lengths), lengths[-1])
    orders = found["order"][:, :num_selected]
    return found | {"order": orders, "reward": np.array([bit_selection.order_reward(env, order) for order in orders])}


def select_bits(run: Run, env: bit_selection.EnvParams, num_selected: int) -> dict[str, dict[str, np.ndarray]]:
    """Selector -> order ``[draws, p]``, reward ``[draws]``, evaluations, found_by and seconds."""
    selections = {}
    for name, selector in bit_selection.SELECTORS.items():
        if name in run.config.run.selectors:
            find = _found_for_all if selector.nested else _found
            selections[name] = find(run, name, env, num_selected)
    return selections
