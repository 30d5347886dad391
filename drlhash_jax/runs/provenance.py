"""What a result depends on beside its configuration and its inputs: versions, revision, machine."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from drlhash_jax import __version__

_RECORDED_PACKAGES = ("jax", "jaxlib", "flax", "optax", "distrax", "numpy", "scikit-learn")


def _git_revision() -> str | None:
    """Revision of the checkout that the package runs from; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _versions() -> dict[str, str | None]:
    found = {"python": platform.python_version(), "drlhash_jax": __version__}
    for package in _RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def describe_session() -> dict:
    """One entry of ``sessions`` in run.json: who computes from now on, as JSON values."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "git_revision": _git_revision(),
        "versions": _versions(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "processes": jax.process_count(),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
    }
