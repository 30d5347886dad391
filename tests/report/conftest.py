"""Fixtures of the reports."""

import pytest
from made_up_runs import HOSTILE, make_photos, make_run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """The list of the pictures."""
    return make_photos(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory, pictures):
    """A folder with two seeds of a run."""
    folder = tmp_path_factory.mktemp("runs") / HOSTILE
    for seed in (0, 1):
        make_run(folder / f"seed {seed} {HOSTILE}", pictures, seed)
    return folder


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory, two_runs):
    """The report of the two runs, and what it misses."""
    from drlhash_jax.report import write_report

    out = tmp_path_factory.mktemp("report") / "out"
    _, notes = write_report([str(two_runs)], out)
    return out, notes


@pytest.fixture
def bare_run(tmp_path, two_runs):
    """A run of which its result rows alone are left, and where they come from."""
    folder = tmp_path / "bare run"
    folder.mkdir()
    for name in ("config.json", "run.json", "metrics.json"):
        (folder / name).write_bytes((sorted(two_runs.iterdir())[0] / name).read_bytes())
    return folder
