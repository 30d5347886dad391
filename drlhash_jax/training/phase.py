"""What a training loop and a hashing method agree on: rows, batches, states and phases.

The loop owns batching, devices, saved states, progress and the check for finite numbers; a phase owns its mathematics.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import struct

from drlhash_jax.encoders import InputSpec, prepare_inputs
from drlhash_jax.types import Array


class FrozenCodes(NamedTuple):
    """Codes of a database that must stay as they are while others are learnt beside them.

    Attributes:
      rows: int32 ``[f]``, which training rows have them; each once.
      codes: uint8 ``[f, K]``.
    """

    rows: np.ndarray
    codes: np.ndarray


class Start(NamedTuple):
    """What a phase begins with.

    Attributes:
      inputs: ``[n, ...]`` as stored, in memory or read when sliced; None where only labels are known.
      labels: int32 ``[n]`` from 0 to C - 1 and -1 for none, or uint8 multi-hot ``[n, C]``.
      subset: int32 ``[m]``, numbers of the rows to train on.
      num_classes: C.
      spec: normalisation of the inputs; None where there are none.
      before: what the phase before this one handed on, see `Phase.finish`; None for the first.
      pretrained: layer -> parameters that an encoder starts from; empty for a random start.
      num_shards: number of devices that share the work.
      frozen: codes that some rows have already, for methods that learn codes of rows; None for none.
    """

    inputs: Any
    labels: np.ndarray
    subset: np.ndarray
    num_classes: int
    spec: InputSpec | None
    before: Mapping[str, Any] | None
    pretrained: Mapping[str, Any]
    num_shards: int
    frozen: FrozenCodes | None = None

    def prepared(self, rows: np.ndarray) -> Array:
        """Normalised inputs float32 ``[r, ...]`` of some rows."""
        return prepare_inputs(np.asarray(self.inputs[rows]), self.spec)


class Batch(NamedTuple):
    """Rows of one step: this device's share of a batch, or all rows to train on for a phase without batches.

    Attributes:
      inputs: float32 ``[B, ...]``, what the network sees; None in a phase that needs none.
      labels: float32 ``[B, C]`` multi-hot.
      rows: int32 ``[B]``, their numbers among all training rows.
      weights: float32 ``[B]``, 0 marking padding.
      key: PRNG key of the step, the same on all devices; what is random in a row folds in the row's number, so that it
        does not depend on the number of devices. None where nothing is random.
    """

    inputs: Array | None
    labels: Array
    rows: Array
    weights: Array
    key: Array | None = None


@struct.dataclass
class State:
    """Everything that a training step changes.

    Attributes:
      step: int32 scalar, steps done; counted by the loop.
      params: pytree of parameters.
      opt_state: pytree of the optimiser.
      extra: any pytree: centres, buffers, codes, a second network.
    """

    step: Array
    params: Any
    opt_state: Any = None
    extra: Any = None


def shuffle_rows(key: Array, epoch: Array, subset: Array, labels: Array) -> Array:
    """All rows in a random order of the epoch: int32 ``[m]``."""
    order_key, *_ = epoch_keys(key, epoch)
    return jax.random.permutation(order_key, subset)


def epoch_keys(key: Array, epoch: Array) -> Array:
    """Keys of an epoch: of the order of its rows, of its steps, and of the views of its images."""
    return jax.random.split(jax.random.fold_in(key, epoch), 3)


def hand_on_params(state: State) -> dict[str, Any]:
    """The parameters alone."""
    return {"params": state.params}


class Phase(NamedTuple):
    """One training, as pure functions.

    Attributes:
      name: of its stage in a run.
      num_epochs: 0 where `init` does all.
      batch_size: rows per step on all devices together; 0 for all rows in every step, which is then an epoch.
      init: (key, Start) -> State.
      step: (State, Batch, key, *, num_steps, axis_name) -> (State, {metric: float32 scalar}); num_steps is the static
        number of steps of the whole phase, where schedules end, and axis_name the devices' axis or None.
      metrics: names of the metrics that a step returns.
      end_epoch: (State, epoch, key, *, axis_name) -> State after the last step of an epoch; None for nothing.
      choose_rows: (key, Start) -> int ``[r]``, the rows that steps see, if not all to train on; NumPy's. The key is
        that of `init`.
      sample_rows: (key, epoch, subset int32 ``[m]``, labels of all n rows as in `Start`) -> int32 ``[r]``, the rows of
        an epoch; r does not change. It does not see the state: rows that are read from a file are read ahead.
      finish: (State) -> nested dictionary of arrays that the next phase, and in the end the model, are made from. The
        last phase's has "params", and "codes" uint8 ``[n, K]`` if training learnt the codes of its rows itself.
      needs_inputs: whether the phase looks at the inputs at all.
      max_shift: pixels off the centre of the random views of images that steps see; negative for none.
    """

    name: str
    num_epochs: int
    batch_size: int
    init: Callable[[Array, Start], State]
    step: Callable[..., tuple[State, dict[str, Array]]] | None = None
    metrics: tuple[str, ...] = ("loss",)
    end_epoch: Callable[..., State] | None = None
    choose_rows: Callable[[Array, Start], np.ndarray] = lambda key, start: start.subset
    sample_rows: Callable[[Array, Array, Array, Array], Array] = shuffle_rows
    finish: Callable[[State], dict[str, Any]] = hand_on_params
    needs_inputs: bool = True
    max_shift: int = -1

    @property
    def traced(self) -> "Phase":
        """What steps are compiled from, and nothing else: phases that are equal in it share their programs."""
        return self._replace(name="", num_epochs=0, init=None, choose_rows=None, finish=None)
