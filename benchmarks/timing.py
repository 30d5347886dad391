"""Timing shared by the benchmarks: compile time apart, medians of runs that take turns on a busy machine."""

import os
import platform
import time
from collections.abc import Callable

import jax
import numpy as np


def describe_machine() -> str:
    """Processor, cores and device, for the first line of every benchmark."""
    devices = ", ".join(f"{device.platform}: {device.device_kind}" for device in jax.devices())
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs; jax {jax.__version__} on {devices}"


def first_call(function: Callable[[], object]) -> float:
    """Seconds of the first call, which compiles."""
    started = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - started


def interleaved(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each function over rounds in which they take turns."""
    seconds = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name].append(first_call(function))
    return {name: float(np.median(values)) for name, values in seconds.items()}
