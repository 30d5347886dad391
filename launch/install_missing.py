"""Installs what the package needs and this Python lacks, and leaves every other package as it is.

    python launch/install_missing.py [EXTRA ...]

For notebooks, where a package that is installed again under a running kernel breaks it. Needs no network if nothing is
missing.
"""

import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from unittest import mock

from packaging.requirements import Requirement

SETUP = Path(__file__).parents[1] / "setup.py"


def read_requirements(extras: Iterable[str]) -> list[str]:
    """The requirements in setup.py: those of the base, then those of the extras."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(SETUP))
    given = setup.call_args.kwargs
    return [*given["install_requires"], *(each for extra in extras for each in given["extras_require"][extra])]


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def find_missing(requirements: Iterable[str], version_of: Callable[[str], str | None]) -> list[str]:
    """The requirements that are absent or too old.

    Args:
      requirements: as in setup.py, e.g. "jax>=0.8.2".
      version_of: name of a distribution -> its version, or None.
    """
    return [
        text
        for text in requirements
        if (version := version_of(Requirement(text).name)) is None
        or not Requirement(text).specifier.contains(version, prereleases=True)
    ]


def keep_others(frozen: Iterable[str], missing: Iterable[str]) -> list[str]:
    """Constraints for pip: the lines NAME==VERSION of what is installed, but for what is to be installed."""
    wanted = {Requirement(text).name.lower() for text in missing}
    return [line for line in frozen if "==" in line and line.partition("==")[0].lower() not in wanted]


def main(extras: list[str]) -> int:
    """Installs and says what; returns pip's exit code."""
    missing = find_missing(read_requirements(extras), installed_version)
    if not missing:
        print("nothing to install")
        return 0
    old = [text for text in missing if installed_version(Requirement(text).name)]
    pip = [sys.executable, "-m", "pip"]
    frozen = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout.splitlines()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(keep_others(frozen, missing)))
        constraints.flush()
        code = subprocess.run([*pip, "install", "-q", *missing, "--constraint", constraints.name]).returncode
    if code == 0:
        print("installed:", ", ".join(missing))
        if old:
            print("restart the kernel before you go on: it may have loaded the older", ", ".join(old))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
