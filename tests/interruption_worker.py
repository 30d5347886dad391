"""Runs the command line again and again in forked children, killing each at a chosen moment; see test_interruption.py.

Reads lines "STAGE DELAY ARGUMENTS..." as JSON from standard input: the child is killed DELAY seconds after it begins to
compute STAGE. Answers with the child's exit status. Forking saves importing everything for each child; JAX starts no
threads before a child asks it for devices.
"""

import json
import os
import signal
import sys
import threading

import sklearn.datasets  # noqa: F401

from drlhash_jax import main, pipeline, runs  # noqa: F401


def kill_after(stage, delay):
    """Makes this process kill itself `delay` seconds after it begins to compute a stage."""
    begin = runs.Workdir.stage

    def timed(workdir, name, compute):
        def compute_and_die(checkpoint):
            if name == stage:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return compute(checkpoint)

        return begin(workdir, name, compute_and_die)

    runs.Workdir.stage = timed


def child(stage, delay, arguments):
    """One run of the command line; does not return."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    kill_after(stage, delay)
    sys.argv = ["drlhash_jax.main", *arguments]
    code = 1
    try:
        main.run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        # Not sys.exit: a timer may still be waiting.
        os._exit(code)


def answer():
    """The loop."""
    for line in sys.stdin:
        stage, delay, arguments = json.loads(line)
        process = os.fork()
        if process == 0:
            child(stage, delay, arguments)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    answer()
