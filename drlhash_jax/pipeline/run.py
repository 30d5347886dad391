"""What every stage of a run needs: settings, data, a directory, and keys that depend on the stage alone."""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from drlhash_jax import data, parallel, runs, terminal
from drlhash_jax.bit_selection import SELECTORS
from drlhash_jax.config import RunConfig, num_held_out
from drlhash_jax.methods import Method
from drlhash_jax.training import Phase, TrainingRows
from drlhash_jax.types import Array

# Keys hash a stage's name, so that a new stage does not reseed the others; these stages are older than that rule.
_NUMBERS = {"target_codes": 0, "crossfit": 1, "encoder": 2, "reward": 3, "selection": 4}
# A phase without batches has many short epochs.
_EPOCHS_PER_LINE = 50


def stage_key(seed: int, stage: str, index: int = 0) -> Array:
    """PRNG key of a stage: depends on the seed, the stage's name and a number, not on what ran before."""
    hashed = int.from_bytes(hashlib.sha256(stage.encode()).digest()[:4], "little") >> 1
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _NUMBERS.get(stage, hashed)), index)


class Run(NamedTuple):
    """A run under way.

    Attributes:
      config: RunConfig.
      workdir: the run's directory.
      dataset: Dataset.
      split: Split.
      rows: TrainingRows of the split's training part, n of them.
      held_out: int ``[h]``, sorted numbers of the training rows that are kept for the reward; None if all are trained
        on.
      frozen: codes that some rows of the dataset have already; None for none.
    """

    config: RunConfig
    workdir: runs.Workdir
    dataset: data.Dataset
    split: data.Split
    rows: TrainingRows
    held_out: np.ndarray | None
    frozen: data.FrozenRows | None

    def progress(self, stage: str, title: str, total: int) -> terminal.StageProgress:
        """The bar of a stage, with its place among all stages."""
        stages = stage_names(self.config)
        place = stages.index(stage) + 1, len(stages)
        return terminal.StageProgress(title, total, place=place, shown=runs.is_first_process())

    @property
    def devices(self) -> parallel.Devices | None:
        """All devices of the run."""
        return self.rows.devices

    @property
    def train_labels(self) -> np.ndarray:
        """Labels of the training rows, as the dataset has them."""
        return self.dataset.labels[self.split.train]

    @property
    def subset(self) -> np.ndarray | None:
        """Numbers of the training rows that encoders are trained on; None for all."""
        if self.held_out is None:
            return None
        return np.setdiff1d(np.arange(len(self.split.train)), self.held_out)

    def key(self, stage: str, index: int = 0) -> Array:
        """See `stage_key`."""
        return stage_key(self.config.run.seed, stage, index)

    def method(self, num_bits: int) -> Method:
        """The run's method for codes of one length."""
        return self.config.make_method(num_bits)


def stage_of(phase: Phase, num_bits: int) -> str:
    """Name of the stage that runs a phase for codes of one length."""
    return f"{phase.name}_{num_bits:03d}"


def selection_stage(selector: str, num_selected: int) -> str:
    """Name of the stage in which a selector chooses bits; one stage for all lengths if it orders them for all."""
    return f"selection_{'all' if SELECTORS[selector].nested else f'{num_selected:03d}'}_{selector}"


def stage_names(config: RunConfig) -> list[str]:
    """Names of all stages of a run, in their order."""
    run = config.run

    def training(bits: int) -> list[str]:
        return [stage_of(phase, bits) for phase in config.make_method(bits).phases]

    names = training(run.pool_bits)
    if run.last_stage == "target_codes":
        return names[:1]
    if run.last_stage == "encoder":
        return names
    if config.reward_codes == "crossfit":
        names += [f"crossfit_{run.pool_bits:03d}_{fold}" for fold in range(config.reward.num_folds)]
    for bits in run.bits:
        names += [selection_stage(selector, bits) for selector in SELECTORS if selector in run.selectors]
    # An order for all lengths is made once.
    names = list(dict.fromkeys(names))
    direct = [bits for bits in run.bits if run.train_direct and bits != run.pool_bits]
    return names + [name for bits in direct for name in training(bits)]


def hold_out_rows(config: RunConfig, num_train: int) -> np.ndarray | None:
    """The training rows that are kept for the reward, sorted; None if all are trained on."""
    if config.run.last_stage != "selection" or config.reward_codes != "holdout":
        return None
    order = jax.random.permutation(stage_key(config.run.seed, "holdout"), num_train)
    return np.sort(np.asarray(order)[: num_held_out(config.reward, num_train)])


def follow_epochs(
    run: Run, stage: str, num_epochs: int, batched: bool, progress: terminal.StageProgress
) -> Callable[[int, dict[str, float]], None]:
    """The function that a training calls after each epoch: writes scalars and moves the bar.

    Args:
      run: Run.
      stage: its name in metrics.jsonl.
      num_epochs: of the training.
      batched: whether an epoch has batches; otherwise every fiftieth is written, and the last.
      progress: the bar.
    """

    def on_epoch(epoch: int, means: dict[str, float]) -> None:
        waiting = means.pop("waiting", None)
        if batched or epoch % _EPOCHS_PER_LINE == 0 or epoch == num_epochs - 1:
            run.workdir.metrics.write(stage, epoch, **means)
        shown = [f"{name} {value:.4f}" for name, value in means.items()]
        if waiting is not None:
            shown.append(f"waiting for rows {waiting:.0%} of the time")
        progress.update(epoch + 1, ", ".join(shown))

    return on_epoch
