"""Settings of every test: ranks are never promoted by accident, and the benchmark files are found once."""

import atexit
import gc
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

# What one test compiled is there for the others and for the commands that they start: most of a short run is
# compilation. JAX reads this when it is imported; the processes of pytest-xdist inherit it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="compiled_")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.05",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

# Two thirds of the time would go into compiling programs that run once: LLVM optimises none of them. What is compared
# is compiled alike. `XLA_FLAGS= python -m pytest` compiles as users do.
# Without the emitters of fused loops a third of what is left is saved; XLA ends the process on a flag that it does not
# know, so they are switched off where they are known to be.
_flags = ["--xla_backend_optimization_level=0"]
if importlib.metadata.version("jaxlib").startswith(("0.8.", "0.9.", "0.10.")):
    _flags.append("--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("XLA_FLAGS", " ".join(_flags))

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = Path(os.environ.get("DRLHASH_DATA", "../shared/data"))


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=5, help="how often test_interruption.py kills a run")
    parser.addoption("--exhaustive", action="store_true", help="also run what other tests show on fewer cases")


def pytest_collection_modifyitems(config, items):
    left_out = (
        [] if config.getoption("--exhaustive") else [each for each in items if each.get_closest_marker("exhaustive")]
    )
    config.hook.pytest_deselected(items=left_out)
    # Files with long tests come first, so that no process waits for another at the end.
    left_out, long = set(left_out), {each.path for each in items if each.get_closest_marker("slow")}
    items[:] = sorted((each for each in items if each not in left_out), key=lambda each: each.path not in long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Each file is run by one process, so that what its tests share is made once."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Forgets compiled programs before they fill the table of a process's memory mappings, 65,530 on Linux.

    Each takes dozens; a process that finds the table full is killed. The disk has the programs still.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > 15_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the shared benchmark files; the test is skipped where they are absent."""
    if not (DATA / "coco_labels.npz").is_file():
        pytest.skip(f"needs the benchmark files: set DRLHASH_DATA to their folder ({DATA} has none)")
    return DATA
