"""``train``: a run of a configuration, from labels to retrieval numbers.

Re-running a command with the same workdir resumes it, or finishes at once.

A run uses all devices that JAX finds. Several processes, on one machine or many, join it with the same command; under
SLURM, Open MPI and on TPU slices they find each other, elsewhere they are told by --coordinator, --num_processes and
--process_id.
"""

import difflib
import hashlib
import json
import logging as python_logging
import os
from collections.abc import Mapping
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from drlhash_jax.errors import UserError

# In a checkout the configurations stand beside the package, in a wheel inside it.
_CONFIG_FOLDERS = (Path(__file__).parents[2] / "configs", Path(__file__).parents[1] / "configs")

_CONFIG = config_flags.DEFINE_config_file("config", lock_config=True, help_string="Configuration file of the run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; runs/NAME-OF-THE-CONFIG by default.")
_DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Whether this is one process of several that share the run; auto looks at the environment.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where the environment does not tell.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes, with --coordinator.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, with --coordinator.", lower_bound=0)


def _find_config(path: str) -> str:
    """A configuration file given as a path, or as the name of one that comes with the package."""
    if Path(path).is_file():
        return path
    shipped = {file.stem: file for folder in _CONFIG_FOLDERS for file in sorted(folder.glob("*.py"))}
    shipped.pop("__init__", None)
    name = Path(path).stem
    if name in shipped:
        return str(shipped[name])
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f" (did you mean configs/{near[0]}.py?)" if near else ""
    raise UserError(f"--config={path}: no such file{hint}; there are {', '.join(sorted(shipped))}")


def complete_arguments(argv: list[str]) -> list[str]:
    """The arguments with the configuration's path resolved, the default configuration first."""
    for place, argument in enumerate(argv):
        for prefix in ("--config=", "-config="):
            if argument.startswith(prefix):
                return [*argv[:place], f"--config={_find_config(argument.removeprefix(prefix))}", *argv[place + 1 :]]
        if argument in ("--config", "-config") and place + 1 < len(argv):
            return [*argv[:place], f"--config={_find_config(argv[place + 1])}", *argv[place + 2 :]]
    return [argv[0], f"--config={_find_config('digits')}", *argv[1:]]


def _default_workdir() -> str:
    """runs/NAME, with a digest of the overrides behind it where there are any."""
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    if not overrides:
        return f"runs/{name}"
    text = json.dumps(overrides, sort_keys=True, default=str)
    return f"runs/{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started this process together with others."""
    # Of SLURM's variables the ones that srun sets: a batch script that runs Python itself is one process of one.
    if "SLURM_STEP_NODELIST" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return True
    return int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 or "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def _join_processes() -> None:
    """Joins the other processes of the run; must come before anything asks JAX for devices."""
    told = {
        "coordinator_address": _COORDINATOR.value,
        "num_processes": _NUM_PROCESSES.value,
        "process_id": _PROCESS_ID.value,
    }
    given = [value is not None for value in told.values()]
    if any(given) and not all(given):
        raise UserError("--coordinator, --num_processes and --process_id: give all three or none")
    if all(given) and told["process_id"] >= told["num_processes"]:
        raise UserError(f"--process_id={told['process_id']}: must be below --num_processes={told['num_processes']}")
    if _DISTRIBUTED.value == "off" or not (_DISTRIBUTED.value == "on" or all(given) or _one_of_several(os.environ)):
        return
    import jax

    try:
        jax.distributed.initialize(**told)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"--distributed={_DISTRIBUTED.value}: {' '.join(str(error).split())}") from error


def run() -> None:
    """Trains, prints the table of results and the paths of what was written."""
    # Not worth a line on machines without a TPU.
    python_logging.getLogger("jax._src.xla_bridge").setLevel(python_logging.WARNING)
    _join_processes()
    # Imported here: flags are answered without waiting for the array libraries to load.
    import jax

    from drlhash_jax import terminal
    from drlhash_jax.pipeline import train_and_evaluate

    workdir = _WORKDIR.value or _default_workdir()
    config = _CONFIG.value
    # A flag gives several words as one.
    config.selectors = tuple(",".join(config.selectors).split(","))
    with terminal.StopSignals() as signals:
        rows = train_and_evaluate(config, workdir, lambda: signals.received)
    if jax.process_index() != 0:
        return
    if rows:
        terminal.print_table(terminal.results_table(rows))
    written = sorted(path for path in Path(workdir).iterdir() if not path.name.startswith("."))
    print("written:", *(f"  {path}{'/' if path.is_dir() else ''}" for path in written), sep="\n")
