"""What somebody should know about an installation where something does not work: findings, a line each.

Nothing here loads JAX. What JAX itself would say is asked of a child process with a time limit: it takes seconds, and a
driver that hangs must not take the answer along.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from drlhash_jax import __version__, bundles
from drlhash_jax.data.benchmarks import DATA_VARIABLE, benchmark_faults, data_folder
from drlhash_jax.errors import UserError

OK, NOTE, PROBLEM = "ok", "note", "problem"
_PACKAGE = "drlhash-jax"
# What needs each extra; which packages it holds is in the metadata of the installation alone.
PURPOSES = {
    "cuda": "NVIDIA GPUs",
    "tpu": "TPUs",
    "pretrained": "encoders that start from ImageNet weights",
    "report": "explore, report, compare, ablate: pages and figures",
    "parquet": "export --format=parquet",
    "seal": "seal, verify --sealed",
    "video": "video",
    "rivals": "FAISS, for large searches and the rivals of compare",
    "engines": "the README's lines for search engines",
    "ray": "launch/ray_encode.py",
    "parity": "tests against torch",
    "test": "tests",
}
_CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_RUNS = "runs"
_LITTLE_ROOM = 2 * 2**30
_SECONDS = 120.0
# By default JAX would take most of a GPU's memory, which somebody may be using.
_CHILD_ENVIRONMENT = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
_DEVICES = "import jax; found = jax.devices(); print(len(found), found[0].platform, '-', found[0].device_kind)"
_MODEL = """
import sys
from drlhash_jax import bundles, serving
from drlhash_jax.errors import UserError
try:
    if sys.argv[2]:
        served = serving.models.open_model_of(bundles.open_bundle(sys.argv[2]), sys.argv[1])
    else:
        served = serving.load(sys.argv[1])
    print(f"{served.num_bits} bits, reads {served.model.spec.kind} {list(served.model.input_shape)}")
except UserError as error:
    sys.exit(" ".join(str(error).split()))
"""


class Finding(NamedTuple):
    """One line.

    Attributes:
      level: OK, NOTE for what somebody may want to know, or PROBLEM.
      text: what was found and, where it is not in order, what to do.
    """

    level: str
    text: str


def _unmet(requirement: Requirement, seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    """What is missing or of the wrong version for a requirement, and for what it requires in its turn."""
    if (key := (requirement.name.lower(), frozenset(requirement.extras))) in seen:
        return
    seen.add(key)
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        yield requirement.name
        return
    if not requirement.specifier.contains(found.version, prereleases=True):
        yield f"{requirement.name} {found.version}, not {requirement.specifier}"
    for each in map(Requirement, found.requires or ()):
        if each.marker is None or any(each.marker.evaluate({"extra": name}) for name in ("", *requirement.extras)):
            yield from _unmet(each, seen)


def _python_findings() -> Iterator[Finding]:
    place = Path(__file__).parent
    running = f"drlhash_jax {__version__} in {place}, Python {platform.python_version()} on {platform.platform()}"
    try:
        installed = metadata.distribution(_PACKAGE)
    except metadata.PackageNotFoundError:
        yield Finding(PROBLEM, f"{running}: not installed, so its packages are not known; pip install {place.parent}")
        return
    wanted = Requirement(f"python{installed.metadata['Requires-Python'] or ''}").specifier
    if platform.python_version() not in wanted:
        yield Finding(PROBLEM, f"{running}: it needs Python {wanted}; make an environment with one")
    else:
        yield Finding(OK, running)
    extras = installed.metadata.get_all("Provides-Extra") or []
    if installed.version != __version__ or PURPOSES.keys() - set(extras):
        yield Finding(NOTE, f"what is installed is older than what runs here; pip install again from {place.parent}")
    seen: set = set()
    if faults := list(_unmet(Requirement(_PACKAGE), seen)):
        yield Finding(PROBLEM, f"packages missing or unfit: {'; '.join(faults)}; pip install --upgrade {_PACKAGE}")
    versions = [
        f"{name} {metadata.version(name)}"
        for name in ("jax", "jaxlib", "flax", "numpy", "pillow")
        if (name, frozenset()) in seen and name not in faults
    ]
    yield Finding(OK, f"{len(seen)} packages of the base install, {', '.join(versions)}")
    for extra in extras:
        purpose = PURPOSES.get(extra, "")
        if faults := list(_unmet(Requirement(f"{_PACKAGE}[{extra}]"), seen)):
            hint = f"pip install '{_PACKAGE}[{extra}]' if you need it"
            yield Finding(NOTE, f"[{extra}], {purpose}: not here ({'; '.join(faults)}); {hint}")
        else:
            yield Finding(OK, f"[{extra}], {purpose}")


def _data_findings() -> Iterator[Finding]:
    folder = data_folder()
    if not folder.is_dir():
        level = PROBLEM if DATA_VARIABLE in os.environ else NOTE
        yield Finding(level, f"{folder}: no such folder; set {DATA_VARIABLE} if you have the benchmark files")
        return
    faults = benchmark_faults(folder)
    if complete := [name for name, fault in faults.items() if not fault]:
        yield Finding(OK, f"{folder} has {', '.join(complete)}")
    for name, fault in faults.items():
        if fault:
            yield Finding(PROBLEM if "damaged" in fault else NOTE, f"data.source={name}: {fault}")


def _place_findings(what: str, folder: Path) -> Finding:
    """Whether files can be made in a folder, or where it would be made, and whether the disk has room."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(2**20))
    except OSError as error:
        return Finding(PROBLEM, f"{what} {folder} cannot be written ({there}: {error.strerror}); give another")
    free = shutil.disk_usage(there).free
    text = f"{what} {folder} can be written, {free / 2**30:.1f} GiB are free"
    return Finding(OK, text) if free >= _LITTLE_ROOM else Finding(NOTE, f"{text}: runs keep states; make room")


def _cache_finding() -> Finding:
    if folder := os.environ.get(_CACHE_VARIABLE):
        return _place_findings(f"{_CACHE_VARIABLE}:", Path(folder))
    return Finding(NOTE, f"{_CACHE_VARIABLE} is not set: every command compiles anew; name a folder for programs")


def _bundle_finding(path: str) -> Finding:
    try:
        bundle = bundles.open_bundle(path)
    except UserError as error:
        return Finding(PROBLEM, str(error))
    return Finding(OK, f"{path} opens, {len(bundle.codes)} rows of {bundle.num_bits} bits; `verify` reads every byte")


def _start(program: str, *arguments: str) -> subprocess.Popen:
    """A child that runs a program of Python's."""
    environment = os.environ | _CHILD_ENVIRONMENT
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", program, *arguments], env=environment, **pipes)


def _answers(what: str, child: subprocess.Popen, seconds: float) -> Iterator[Finding]:
    """What a child found, within a time limit."""
    try:
        answer, remarks = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        yield Finding(PROBLEM, f"{what}: no answer in {seconds:g} seconds; JAX_PLATFORMS=cpu leaves accelerators out")
        return
    lines = remarks.strip().splitlines()
    if child.returncode:
        yield Finding(PROBLEM, f"{what}: {lines[-1] if lines else f'ended with code {child.returncode}'}")
        return
    yield Finding(OK, f"{what}: {answer.strip()}")
    # "... but a CUDA-enabled jaxlib is not installed", for example.
    yield from (Finding(NOTE, line.partition("xla_bridge:")[2]) for line in lines if "xla_bridge:" in line)


def examine(bundle: str | None = None, model: str | None = None, seconds: float = _SECONDS) -> Iterator[Finding]:
    """Looks at the installation, the data, the places that are written to, and what JAX finds.

    Args:
      bundle: also a bundle; None for none.
      model: also a saved model or a finished run, with the bundle whether it is its model; None for none.
      seconds: limit of each thing that needs JAX.

    Yields:
      Findings, those that need JAX last.
    """
    with contextlib.ExitStack() as stack:
        children = {"JAX finds": _start(_DEVICES)}
        if model is not None:
            children[f"the model {model}"] = _start(_MODEL, model, bundle or "")
        for child in children.values():
            stack.enter_context(child)
            stack.callback(child.kill)
        yield from _python_findings()
        yield from _data_findings()
        yield _place_findings("runs:", Path(_RUNS))
        yield _cache_finding()
        if bundle is not None:
            yield _bundle_finding(bundle)
        for what, child in children.items():
            yield from _answers(what, child, seconds)
