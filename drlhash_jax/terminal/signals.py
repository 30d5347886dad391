"""Signals that ask a run to stop: the first lets it finish its step and save, the second ends it at once."""

import os
import signal
import sys
import threading
from types import TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignals:
    """Context manager under which SIGTERM, SIGINT and SIGUSR1 are requests.

    Python runs signal handlers between its own instructions, so a handler would wait for a compiled program to return.
    A thread reads the signals' numbers from a pipe instead, and the second signal is obeyed in the middle of a step.
    """

    def __init__(self):
        self._received: list[int] = []

    @property
    def received(self) -> str | None:
        """Name of the first signal, or None."""
        return signal.Signals(self._received[0]).name if self._received else None

    def __enter__(self) -> "StopSignals":
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        # The numbers go into the pipe only where Python has a handler; this one leaves them to the thread.
        self._previous_handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        self._previous_pipe = signal.set_wakeup_fd(self._writing)
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        return self

    def _watch(self, reading: int) -> None:
        while numbers := os.read(reading, 1):
            # Signals of others' handlers come through the same pipe.
            if numbers[0] not in _SIGNALS:
                continue
            name = signal.Signals(numbers[0]).name
            if self._received:
                print(f"drlhash_jax: {name} again: leaving at once", file=sys.stderr, flush=True)
                os._exit(128 + numbers[0])
            print(f"drlhash_jax: {name}: stopping after this step; again to leave at once", file=sys.stderr, flush=True)
            # Known only now: the run may end at once, and this thread with it.
            self._received.append(numbers[0])
        os.close(reading)

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._previous_pipe)
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        os.close(self._writing)
