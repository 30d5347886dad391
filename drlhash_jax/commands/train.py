"""``train``: a run of a configuration, from labels to retrieval numbers.

Re-running a command with the same workdir resumes it, or finishes at once.

A run uses all devices that JAX finds. Several processes, on one machine or many, join it with the same command; under
SLURM, Open MPI and on TPU slices they find each other, elsewhere they are told by --coordinator, --num_processes and
--process_id.
"""

import hashlib
import json
import os
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from drlhash_jax.commands.config_files import complete_config
from drlhash_jax.commands.processes import Told, join_processes

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Configuration: a file, FILE:ARGUMENT for one that takes an argument, or the name of one that comes "
    "with the package. Default: digits. --config.FIELD=VALUE overrides a field; RUN/config.json lists all.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run. Default: runs/NAME-OF-THE-CONFIGURATION.")
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Whether this is one process of several that share the run; auto looks at the environment.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where the environment does not tell.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes, with --coordinator.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, with --coordinator.", lower_bound=0)


def complete_arguments(argv: list[str]) -> list[str]:
    """The arguments with the path of the configuration's file; from here on the fields in them are known."""
    return complete_config(argv, "digits")


def default_workdir(address: str, overrides: dict) -> str:
    """runs/NAME of a configuration, with a digest of its argument and of the overrides where there are any.

    Args:
      address: FILE or FILE:ARGUMENT.
      overrides: field -> value.
    """
    path, _, argument = address.partition(":")
    name = Path(path).stem
    if not overrides and not argument:
        return f"runs/{name}"
    text = json.dumps(overrides, sort_keys=True, default=str) + argument
    return f"runs/{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run() -> None:
    """Trains, prints the table of results and the paths of what was written."""
    # Before anything asks JAX for devices; its modules are already loaded, since a configuration imports them.
    join_processes(Told(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value), _DISTRIBUTED.value, os.environ)
    # Imported here: --help is answered without waiting for it.
    import jax

    from drlhash_jax import terminal
    from drlhash_jax.bit_selection import SELECTORS
    from drlhash_jax.pipeline import train_and_evaluate

    flag = flags.FLAGS["config"]
    address, overrides = config_flags.get_config_filename(flag), config_flags.get_override_values(flag)
    workdir = _WORKDIR.value or default_workdir(address, overrides)
    config = _CONFIG.value
    if "selectors" in config:
        # A flag gives several words as one.
        config.selectors = tuple(",".join(config.selectors).split(","))
    with terminal.StopSignals() as signals:
        rows = train_and_evaluate(config, workdir, stop_requested=lambda: signals.received)
    if jax.process_index() != 0:
        return
    if rows:
        terminal.print_table(terminal.results_table(rows, SELECTORS))
        print(*terminal.legend_lines(rows, SELECTORS), *terminal.difference_lines(rows, SELECTORS), sep="\n")
    written = sorted(path for path in Path(workdir).iterdir() if not path.name.startswith("."))
    print("written:", *(f"  {path}{'/' if path.is_dir() else ''}" for path in written), sep="\n")
    if rows:
        print(*terminal.next_step_lines(workdir), sep="\n")
