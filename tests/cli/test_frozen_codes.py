"""A run keeps codes that exist: in its database, when it is resumed, and only where it can."""

import numpy as np
import pytest
from commands import run_command

from drlhash_jax.codes import load_codes

DIHN = ("--config=configs/smoke.py", "--config.method=dihn", "--config.last_stage=encoder")


@pytest.mark.slow
def test_codes_that_exist_stay_bit_for_bit(tmp_path):
    path, rng = tmp_path / "old.npz", np.random.default_rng(0)
    rows = rng.permutation(1797)[:600]
    codes = rng.integers(0, 2, (600, 16), dtype=np.uint8)
    np.savez(path, rows=rows, codes=codes)
    arguments = (*DIHN, f"--config.data.frozen_codes={path}", f"--workdir={tmp_path / 'run'}")
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    split = np.load(tmp_path / "run/split.npz")
    database = load_codes(tmp_path / "run/codes/database.npy", 16)
    _, places, which = np.intersect1d(split["database"], rows, return_indices=True)
    assert len(places) > 100 and len(np.intersect1d(split["train"], rows)) > 20
    np.testing.assert_array_equal(database[places], codes[which])
    others = np.setdiff1d(np.arange(len(database)), places)
    assert len(np.unique(database[others], axis=0)) > 1

    np.savez(path, rows=rows, codes=1 - codes)
    changed = run_command(*arguments)
    assert changed.returncode == 1 and "frozen_codes" in changed.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("--config.method=csq",), "method=csq cannot keep codes that exist; use one of adsh, dihn"),
        (("--config.last_stage=selection",), "set train_direct=False"),
        ((), "no such file"),
    ],
)
def test_a_run_that_cannot_keep_codes_is_refused(changes, message, tmp_path):
    codes = f"--config.data.frozen_codes={tmp_path / 'absent.npz'}"
    done = run_command(*DIHN, *changes, codes, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1 and message in done.stderr and not (tmp_path / "run").exists()
