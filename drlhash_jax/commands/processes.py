"""Several processes that share a run: whether there are others, which devices are this one's, and waiting for them."""

import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

from drlhash_jax.errors import UserError

_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# JAX ends the process with a stack trace when its own limit is over, so that limit must never come first.
_MARGIN_SECONDS = 3_600


class Told(NamedTuple):
    """What flags say about the processes; all three or none.

    Attributes:
      coordinator: HOST:PORT of process 0.
      num_processes: number of processes.
      process_id: number of this one, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


class Place(NamedTuple):
    """This process among those that a launcher started on the same machine.

    Attributes:
      number: of this process, from 0.
      count: of the processes.
    """

    number: int
    count: int


def one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether a launcher started this process together with others."""
    # Of SLURM's variables the ones that srun sets: a batch script that runs Python itself is one process of one.
    if "SLURM_STEP_NODELIST" in environment and int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return True
    return int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1 or "," in environment.get("TPU_WORKER_HOSTNAMES", "")


def _place(environment: Mapping[str, str]) -> Place | None:
    """The place that SLURM or Open MPI gave to this process; None if neither did."""
    if "OMPI_COMM_WORLD_LOCAL_RANK" in environment and "OMPI_COMM_WORLD_LOCAL_SIZE" in environment:
        return Place(int(environment["OMPI_COMM_WORLD_LOCAL_RANK"]), int(environment["OMPI_COMM_WORLD_LOCAL_SIZE"]))
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "")
    # Numbers of tasks by node: "2,1", or "4(x2)" for 4 on each of two nodes.
    if "SLURM_LOCALID" not in environment or not re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", tasks):
        return None
    groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", tasks)
    counts = [int(count) for count, times in groups for _ in range(int(times or 1))]
    node = int(environment.get("SLURM_NODEID", 0))
    return Place(int(environment["SLURM_LOCALID"]), counts[node]) if node < len(counts) else None


def local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Numbers of the GPUs that this process takes, among those that it can see.

    JAX's own choice is the number of the process on its machine. That is wrong where the launcher shows each process
    its own GPU alone, as SLURM does by --gpus-per-task=1: there every process's GPU has the number 0.

    Args:
      environment: variables of SLURM or Open MPI, and CUDA_VISIBLE_DEVICES, ROCR_VISIBLE_DEVICES or
        HIP_VISIBLE_DEVICES.

    Returns:
      [0] if one GPU is visible; an equal share if several are visible to several processes of the machine; None, which
      leaves the choice to JAX, if the environment does not tell, or the GPUs cannot be shared equally.
    """
    listed = next((environment[name] for name in _VISIBLE if name in environment), "")
    visible = [each.strip() for each in listed.split(",")]
    place = _place(environment)
    # "-1" and "NoDevFiles" are how launchers write that there is none.
    if place is None or visible[0] in ("", "-1", "NoDevFiles"):
        return None
    if len(visible) == 1:
        return [0]
    share, rest = divmod(len(visible), place.count)
    if rest or not share:
        return None
    return list(range(place.number * share, (place.number + 1) * share))


def _awaited(told: Told, environment: Mapping[str, str]) -> str:
    """What a process waits for, for people."""
    coordinator, count, number = told
    if coordinator is None:
        number = environment.get("SLURM_PROCID", environment.get("OMPI_COMM_WORLD_RANK"))
        count = environment.get("SLURM_STEP_NUM_TASKS", environment.get("OMPI_COMM_WORLD_SIZE"))
        nodes = environment.get("SLURM_STEP_NODELIST", environment.get("TPU_WORKER_HOSTNAMES"))
        who = f"process {number} of {count}" if number and count else "this process"
        return f"{who} waits for the other processes{f' on {nodes}' if nodes else ''}"
    if number == 0:
        return f"process 0 of {count} waits at {coordinator} for the other processes"
    return f"process {number} of {count} waits for process 0 at {coordinator}"


def call_patiently(call: Callable[[], None], awaited: str, interval: float, limit: float) -> None:
    """Waits for a call that may take long, and says so.

    The call has a thread of its own, since signals are heard by the main thread alone, and only between two
    instructions of Python.

    Args:
      call: function without arguments.
      awaited: what is waited for.
      interval: seconds until that is printed.
      limit: seconds until it is given up.

    Raises:
      UserError: the call has not returned when the limit is over.
      Exception: what the call raised.
    """
    failures: list[Exception] = []
    returned = threading.Event()

    def target() -> None:
        try:
            call()
        except Exception as error:
            failures.append(error)
        finally:
            returned.set()

    threading.Thread(target=target, daemon=True).start()
    if not returned.wait(interval):
        print(f"drlhash_jax: {awaited}", file=sys.stderr, flush=True)
        if not returned.wait(limit - interval):
            raise UserError(f"{awaited}: given up after {limit:g} seconds; start all processes within that time")
    if failures:
        raise failures[0]


def _check(told: Told) -> None:
    given = [value is not None for value in told]
    if any(given) and not all(given):
        raise UserError("--coordinator, --num_processes and --process_id: give all three or none")
    if not all(given):
        return
    if told.process_id >= told.num_processes:
        raise UserError(f"--process_id={told.process_id}: must be below --num_processes={told.num_processes}")
    if not re.fullmatch(r".+:\d{1,5}", told.coordinator):
        raise UserError(f"--coordinator={told.coordinator}: give HOST:PORT, as in 10.0.0.1:12355")


def join_processes(
    told: Told, distributed: str, environment: Mapping[str, str], interval: float = 10.0, limit: float = 300.0
) -> None:
    """Joins the other processes of the run, if there are any; must come before anything asks JAX for devices.

    Args:
      told: what flags say.
      distributed: "on", "off", or "auto" to join if flags or the environment tell of others.
      environment: os.environ.
      interval: seconds of waiting after which it is said what is waited for.
      limit: seconds of waiting after which it is given up.

    Raises:
      UserError: flags contradict each other, or the others are not found.
    """
    _check(told)
    if distributed == "off" or not (distributed == "on" or told.coordinator or one_of_several(environment)):
        return
    import jax

    initialize = lambda: jax.distributed.initialize(
        *told, local_device_ids=local_devices(environment), initialization_timeout=int(limit) + _MARGIN_SECONDS
    )
    try:
        call_patiently(initialize, _awaited(told, environment), interval, limit)
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UserError(f"--distributed={distributed}: {error}") from error
