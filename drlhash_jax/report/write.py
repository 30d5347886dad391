"""A whole report on disk: all of its files, or none of them."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from drlhash_jax.errors import UserError
from drlhash_jax.figures import check_matplotlib, write_csv
from drlhash_jax.pages import make_environment
from drlhash_jax.report.gather import Findings, gather
from drlhash_jax.report.measures import HEALTH_FIELDS
from drlhash_jax.report.page import render_page
from drlhash_jax.report.table_files import save_tables
from drlhash_jax.report.tables import published_tables

PAGE = "report.html"
_FIGURES = "figures"


def _check_out(out: Path) -> None:
    """Refuses a file, and a folder of other things."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file: give a directory")
    if out.is_dir() and any(out.iterdir()) and not (out / PAGE).is_file():
        raise UserError(f"--out={out} holds other files and no report: give an empty or new directory")


def _check_extra() -> None:
    """Asks for the packages of the extra before minutes are spent."""
    make_environment()
    check_matplotlib()


def _move(finished: Path, out: Path) -> list[Path]:
    """Moves a finished report to where it belongs, in place of an earlier one."""
    out.mkdir(exist_ok=True)
    shutil.rmtree(out / _FIGURES, ignore_errors=True)
    moved = []
    for path in sorted(finished.iterdir()):
        path.replace(out / path.name)
        moved.append(out / path.name)
    return moved


def _write_health(path: Path, findings: Findings) -> None:
    rows = [(health.dataset, health.runs, *row[:1], *row[1]) for health in findings.health for row in health.rows]
    write_csv(path, ("dataset", "runs", "codes", *HEALTH_FIELDS), rows)


def write_report(
    folders: Sequence[str], out: Path, robustness: bool = False, say: Callable[[str], None] = lambda text: None
) -> tuple[list[Path], list[str]]:
    """Gathers runs into ``report.html``, ``tables.*``, ``code_health.csv`` and ``figures/``.

    Args:
      folders: directories of runs, or folders of them.
      out: directory of the report; created if needed. An earlier report in it is replaced.
      robustness: whether runs on colour images are attacked, which takes minutes.
      say: told what is going on.

    Returns:
      Paths of what was written; and what could not be shown, and why.

    Raises:
      UserError: nothing to report on, a damaged run, runs that no report holds together, a place that cannot be
        written, or a package that is not installed; nothing was written then.
    """
    out = Path(out)
    _check_out(out)
    _check_extra()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error.strerror}") from error
    with folder:
        finished = Path(folder.name)
        findings = gather(folders, finished / _FIGURES, robustness, say)
        published = published_tables()
        paths = save_tables(finished / "tables", findings.tables, published)
        _write_health(finished / "code_health.csv", findings)
        names = [*(path.name for path in paths), "code_health.csv", f"{_FIGURES}/"]
        (finished / PAGE).write_bytes(render_page(findings, published, names))
        return _move(finished, out), findings.notes
