"""Commands of the program, each in a process of its own, forked from one that has imported everything already."""

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from drlhash_jax import main

ROOT = Path(__file__).parents[1]
# The short run of all whose test is not about its settings: the first that takes it compiles for the others.
SHORT_RUN = (
    *("--config=configs/smoke.py", "--config.bits=4", "--config.train_direct=False", "--config.selectors=ppo,greedy"),
    *("--config.training.num_epochs=8", "--config.ppo.num_updates=11", "--config.target_codes.num_epochs=300"),
)
# Imports take seconds, and most commands of the tests end sooner. No backend of JAX starts before the fork.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["drlhash_jax.pipeline", "drlhash_jax.config", "drlhash_jax.report", "drlhash_jax.comparison.work"]
)


def _refuse(*arguments):
    raise OSError("the test allows no network")


def _run(arguments, cwd, environment, devices, files, without):
    """Body of the process: what stands before the program's own first line."""
    for number, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(ROOT / "drlhash_jax/main.py"), *arguments]
    for name in without:
        sys.modules[name] = None
    # Nothing that a test runs needs anything from elsewhere.
    socket.socket.connect = _refuse
    if devices is not None:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices)
    main.run()


def run_command(*arguments, cwd=ROOT, devices=None, without=(), kill_when=None):
    """``python -m drlhash_jax.main ARGUMENTS``; its exit code and what it printed.

    `devices` of the CPU stand in for JAX_NUM_CPU_DEVICES, which JAX has read by then. Modules named by `without` seem
    not to be installed. It is killed when the function `kill_when` returns, if it has not ended by then. Commands that
    get another signal are started by hand.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        for file in files:
            file.touch()
        process = _SERVER.Process(target=_run, args=(arguments, cwd, dict(os.environ), devices, files, without))
        process.start()
        if kill_when:
            kill_when()
            process.kill()
        process.join()
        texts = [file.read_text() for file in files]
    return subprocess.CompletedProcess(arguments, process.exitcode, *texts)


def run_well(*arguments, **options):
    """What a command that ends well prints; see `run_command`."""
    done = run_command(*arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout
