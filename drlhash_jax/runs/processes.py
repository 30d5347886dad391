"""What processes that share a run say to each other: process 0 alone reads and writes, the others hear of it."""

import io
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays


def is_first_process() -> bool:
    """Whether this is process 0, which alone reads, writes and prints."""
    return jax.process_index() == 0


def from_first_process(arrays: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    """Process 0's arrays, or its None, in every process; the others' argument is ignored."""
    if jax.process_count() == 1:
        return arrays
    stream = io.BytesIO()
    if arrays is not None and is_first_process():
        np.savez(stream, **arrays)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(stream.tell())))
    if size == 0:
        return None
    packed = np.frombuffer(stream.getvalue() or bytes(size), np.uint8)
    return read_arrays(io.BytesIO(np.asarray(multihost_utils.broadcast_one_to_all(packed)).tobytes()))


def in_first_process(function: Callable[[], Any]) -> Any:
    """What a function returns in process 0, and None elsewhere; its `UserError` is raised in every process."""
    result, message = None, ""
    if is_first_process():
        try:
            result = function()
        except UserError as error:
            message = str(error)
    message = from_first_process({"message": np.array(message)})["message"].item()
    if message:
        raise UserError(message)
    return result


def any_process(*flags: bool) -> tuple[bool, ...]:
    """Whether each flag is set in any process; the same answers in all."""
    if jax.process_count() == 1:
        return flags
    return tuple(multihost_utils.process_allgather(np.array(flags)).any(axis=0).tolist())
