"""Command line: ``python -m drlhash_jax.main [COMMAND] [--FLAG=VALUE ...]``, or ``drlhash``; no command means train.

    python -m drlhash_jax.main --config=configs/NAME.py --workdir=DIR [--config.FIELD=VALUE]

Exit codes: 0 done; 1 the input is wrong; 2 the run failed; 75 stopped by SIGTERM, SIGINT or SIGUSR1, and the same
command goes on from what was saved. A second signal ends a run at once.
"""

import os
import signal
import sys
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def _leave(number: int, frame: FrameType | None) -> None:
    """Ends the program with one line; `terminal.StopSignals` takes the place of this handler during a run."""
    # Not print: the signal may have come in the middle of one.
    os.write(sys.stderr.fileno(), f"drlhash_jax: {signal.Signals(number).name}: stopped\n".encode())
    # EX_TEMPFAIL: schedulers take it for "run it again".
    os._exit(75)


def run() -> None:
    """Entry point of the console."""
    for number in _SIGNALS:
        signal.signal(number, _leave)
    # Imported after that: a signal during an import would end in a traceback.
    from drlhash_jax.commands.dispatch import dispatch

    dispatch()


if __name__ == "__main__":
    run()
