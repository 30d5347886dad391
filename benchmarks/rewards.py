"""Which reward on training rows orders subsets of bits as the database does: rank correlation over random subsets.

    python -m benchmarks.rewards --workdir=runs/rewards

Five splits of CIFAR-10 embeddings that no result is reported on, 200 subsets of 16 bits out of 64 each. A pool is
trained twice for each split: on all training rows, for rewards on cross-fitted and fitted codes, and without three
tenths of them, for rewards on these. Half an hour on 2 cores; the same command goes on where it was stopped.
"""

import functools
import runpy
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl import app, flags

from benchmarks.timing import describe_machine
from drlhash_jax import bit_selection, data
from drlhash_jax.codes import load_codes, pack_distinct
from drlhash_jax.files import read_arrays
from drlhash_jax.methods.erh import class_relevance
from drlhash_jax.methods.soft_ranking import soft_average_precision
from drlhash_jax.pipeline import train_and_evaluate
from drlhash_jax.pipeline.load import load_run
from drlhash_jax.pipeline.run import hold_out_rows
from drlhash_jax.posteriors import fit_kernel_ridge, posterior_of
from drlhash_jax.runs import encode, load_model

_WORKDIR = flags.DEFINE_string("workdir", "runs/rewards", "Directory of the runs.")
_SEEDS = flags.DEFINE_list("seeds", ["100", "101", "102", "103", "104"], "Seeds of the splits.")
POOL_BITS, NUM_SELECTED, NUM_MASKS = 64, 16, 200
CONFIG = Path(__file__).parents[1] / "configs/cifar10_features.py"
# Noise on features, in units of their standard deviations, as `erh.noise` has it.
NOISE = 0.8


def train_pool(folder: Path, seed: int, codes: str):
    """A finished run whose pool of bits is judged by `codes`, see `bit_selection.RewardSettings`; its Loaded."""
    config = runpy.run_path(str(CONFIG))["get_config"]()
    config.update({"seed": seed, "bits": (NUM_SELECTED,), "selectors": ("first",), "train_direct": False})
    config.reward.codes = codes
    train_and_evaluate(config, str(folder))
    return load_run(config)


def scores(orders: np.ndarray, query: tuple, database: tuple) -> np.ndarray:
    """mAP of each subset of int ``[M, p]``; query and database are codes and labels."""
    masks = jnp.stack([bit_selection.mask_of(jnp.asarray(order), POOL_BITS) for order in orders])
    env = bit_selection.EnvParams(pack_distinct(*query), pack_distinct(*database), POOL_BITS)
    return np.asarray(jax.jit(lambda env: jax.lax.map(functools.partial(bit_selection.subset_reward, env), masks))(env))


def soft_scores(orders: np.ndarray, codes: np.ndarray, posterior: np.ndarray, num_queries: int) -> np.ndarray:
    """The same of subsets int ``[M, p]``, with the relevance that held-out posteriors expect in place of labels."""
    signs, posterior = 2.0 * jnp.asarray(codes, jnp.float32) - 1.0, jnp.asarray(posterior, jnp.float32)

    @jax.jit
    def score(order):
        query, database = signs[:num_queries, order], signs[num_queries:, order]
        relevance = class_relevance(posterior[:num_queries], posterior[num_queries:])
        found = soft_average_precision(query, database, jnp.ones(relevance.pairs.shape), relevance.count)
        return jnp.mean(jnp.sum(relevance.chances * found, axis=1))

    return np.asarray([score(order) for order in orders])


def part_of(folder: Path, name: str) -> np.ndarray:
    """Codes uint8 ``[n, K]`` that a run wrote."""
    return load_codes(folder / f"codes/{name}.npy", POOL_BITS)


def rewards_of(folder: Path, seed: int, orders: np.ndarray) -> dict[str, tuple[Callable[[], np.ndarray], Path]]:
    """Name of a reward -> function that gives the reward of every subset, and the run whose codes it is about."""
    crossfit, holdout = folder / f"crossfit{seed}", folder / f"holdout{seed}"
    loaded = train_pool(crossfit, seed, "crossfit")
    kept_out = hold_out_rows(train_pool(holdout, seed, "holdout").config, len(loaded.split.train))
    labels = loaded.dataset.labels[loaded.split.train].astype(np.int64)
    inputs = np.asarray(data.select_rows(loaded.dataset.inputs, loaded.split.train))
    order = np.random.default_rng(seed).permutation(len(labels))
    codes, fitted = part_of(crossfit, "train_heldout")[order], part_of(crossfit, "train")[order]
    held = np.random.default_rng(seed).permutation(kept_out)
    held_codes = part_of(holdout, "train")
    y = labels[order]

    def hard(codes: np.ndarray, labels: np.ndarray, num_queries: int) -> Callable[[], np.ndarray]:
        cut = lambda rows: (codes[rows], labels[rows])
        return lambda: scores(orders, cut(np.s_[:num_queries]), cut(np.s_[num_queries:]))

    def noisy() -> np.ndarray:
        noise = np.random.default_rng(seed).normal(size=inputs.shape) * NOISE * inputs.std(axis=0)
        views = (inputs + noise).astype(np.float32)
        return hard(encode(load_model(crossfit / "model"), views)[order], y, 1_000)()

    def soft() -> np.ndarray:
        ridge = fit_kernel_ridge(inputs, labels, int(labels.max()) + 1)
        return soft_scores(orders, codes, posterior_of(ridge.held_out, True)[order], 1_000)

    return {
        "crossfit, 200 queries": (hard(codes, y, 200), crossfit),
        "crossfit, 1,000 queries": (hard(codes, y, 1_000), crossfit),
        "crossfit, 2,500 queries": (hard(codes, y, 2_500), crossfit),
        "crossfit, relevance by leave-one-out posteriors": (soft, crossfit),
        "fitted": (hard(fitted, y, 1_000), crossfit),
        "fitted, noise on features": (noisy, crossfit),
        "holdout, 750 of 1,500 rows": (hard(held_codes[held], labels[held], len(held) // 2), holdout),
    }


def main(_) -> None:
    """Prints the rank correlation of each reward with the mAP of queries, and how good its best subset is."""
    print(describe_machine())
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in map(int, _SEEDS.value):
        rng = np.random.default_rng(seed)
        orders = np.stack([rng.permutation(POOL_BITS)[:NUM_SELECTED] for _ in range(NUM_MASKS)])
        truths = {}
        for name, (reward, run) in rewards_of(Path(_WORKDIR.value), seed, orders).items():
            if run not in truths:
                split = read_arrays(run / "split.npz")
                labels = data.load_dataset("cifar10_features").labels.astype(np.int64)
                truths[run] = scores(
                    orders, *((part_of(run, part), labels[split[part]]) for part in ("query", "database"))
                )
            values, truth = reward(), truths[run]
            # Rewards that are all equal order nothing.
            correlation = scipy.stats.spearmanr(values, truth).statistic if np.ptp(values) else 0.0
            found.setdefault(name, []).append((correlation, truth[values.argmax()] - truth.mean()))
            print(f"  seed {seed}: {name}: {correlation:.3f}", flush=True)
    print(f"{'reward':50}  rank correlation   lead of its best subset over the mean of all")
    for name, each in found.items():
        (correlation, lead), sd = np.mean(each, axis=0), np.std(each, axis=0, ddof=min(1, len(each) - 1))
        print(f"{name:50}  {correlation:.3f} +- {sd[0]:.3f}    {lead:+.4f} +- {sd[1]:.4f}")


if __name__ == "__main__":
    app.run(main)
