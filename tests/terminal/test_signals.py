"""The first signal is a request, the second is obeyed at once."""

import signal
import subprocess
import sys
import time

import pytest

from drlhash_jax.terminal import StopSignals

# One compiled program that runs for minutes: Python's own handlers would wait for it.
STUCK = """
import jax
from drlhash_jax.terminal.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    jax.jit(lambda x: jax.lax.fori_loop(0, 10**12, lambda _, x: x * 0.5 + 1.0, x))(1.0).block_until_ready()
"""
PATIENT = """
import time
from drlhash_jax.terminal.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    while not signals.received:
        time.sleep(0.01)
print(signals.received, flush=True)
"""


def start(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_the_first_is_a_request(number):
    process = start(PATIENT)
    process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and out == f"{number.name}\n"
    assert errors.count("\n") == 1 and f"{number.name}: stopping after this step" in errors


def test_the_second_leaves_in_the_middle_of_a_program():
    process = start(STUCK)
    process.send_signal(signal.SIGTERM)
    assert "stopping" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT and "leaving at once" in errors


def test_other_handlers_are_left_alone():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    calls = []
    previous = signal.signal(signal.SIGUSR2, lambda *_: calls.append(1))
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGUSR2)
        time.sleep(0.1)
        assert calls == [1] and signals.received is None
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert signals.received == "SIGTERM"
    signal.signal(signal.SIGUSR2, previous)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
