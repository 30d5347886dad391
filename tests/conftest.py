"""Settings of every test: ranks are never promoted by accident, and the benchmark files are found once."""

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

DATA = Path(os.environ.get("DRLHASH_DATA", "../shared/data"))


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=8, help="how often test_interruption.py kills a run")


@pytest.fixture
def shared_data():
    """Folder of the shared benchmark files; the test is skipped where they are absent."""
    if not (DATA / "coco_labels.npz").is_file():
        pytest.skip(f"needs the benchmark files: set DRLHASH_DATA to their folder ({DATA} has none)")
    return DATA
