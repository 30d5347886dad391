"""``doctor``: every kind of finding, where it is in order and where it is not; JAX is asked in a child alone."""

import os
import subprocess
import sys

import numpy as np
import pytest
from commands import ROOT, run_command
from small_models import save_model

from drlhash_jax import bundles, doctor
from drlhash_jax.data.benchmarks import benchmark_faults

SHORT = "import sys; print('asked', *sys.argv[1:])"


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty folder to be in, a package made up for the purpose, and children that end at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(doctor, "_PACKAGE", "made-up")
    monkeypatch.setattr(doctor, "_DEVICES", SHORT)
    monkeypatch.setattr(doctor, "_MODEL", SHORT)
    monkeypatch.setenv("DRLHASH_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return tmp_path


def install(folder, *lines):
    (folder / "site/made_up-0.1.0.dist-info").mkdir(parents=True)
    head = ["Metadata-Version: 2.4", "Name: made-up", f"Version: {doctor.__version__}"]
    (folder / "site/made_up-0.1.0.dist-info/METADATA").write_text("\n".join([*head, *lines]) + "\n")


def test_what_is_in_order(alone, monkeypatch):
    extras = [f"Provides-Extra: {name}" for name in doctor.PURPOSES]
    install(alone, "Requires-Python: >=3.11", "Requires-Dist: numpy>=2.0", *extras)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(alone / "new/cache"))
    monkeypatch.setattr(doctor, "_LITTLE_ROOM", 0)
    (alone / "data").mkdir()
    for name in ("coco_labels", "coco_mini_images"):
        np.savez(alone / f"data/{name}.npz", labels=np.zeros(3))
    bundles.create_bundle("x.drlh", 8)
    found = list(doctor.examine("x.drlh", "model"))
    assert {finding.level for finding in found if "not found" not in finding.text} == {"ok"}
    texts = [finding.text for finding in found]
    assert f"2 packages of the base install, numpy {np.__version__}" in texts
    assert f"{alone}/data has coco_mini, coco_labels" in texts
    assert sum("not found" in text for text in texts) == 4
    assert texts[-3:] == [
        "x.drlh opens, 0 rows of 8 bits; `verify` reads every byte",
        "JAX finds: asked",
        "the model model: asked model x.drlh",
    ]
    assert not (alone / "new").exists() and not (alone / "runs").exists()


def test_what_is_not_in_order(alone, monkeypatch):
    install(
        alone,
        *("Requires-Python: >=3.99", "Requires-Dist: numpy<1", "Provides-Extra: seal"),
        'Requires-Dist: no-such-thing; extra == "seal"',
    )
    (alone / "runs").touch()
    monkeypatch.setattr(doctor, "_DEVICES", "import sys; sys.exit('no driver')")
    monkeypatch.setattr(doctor, "_MODEL", "import time; time.sleep(60)")
    found = list(doctor.examine("nothing.drlh", "slow", seconds=3))
    problems = [finding.text for finding in found if finding.level == doctor.PROBLEM]
    wanted = [
        *("it needs Python >=3.99", f"numpy {np.__version__}, not <1", f"{alone}/data: no such folder"),
        *("runs: runs cannot be written", "nothing.drlh is not a bundle", "JAX finds: no driver"),
        "the model slow: no answer in 3 seconds",
    ]
    assert len(problems) == len(wanted)
    assert all(words in text for words, text in zip(wanted, problems)), problems
    notes = [finding.text for finding in found if finding.level == doctor.NOTE]
    assert "what is installed is older" in notes[0]
    assert notes[1] == (
        "[seal], seal, verify --sealed: not here (no-such-thing); pip install 'made-up[seal]' if you need it"
    )
    assert notes[2].startswith("JAX_COMPILATION_CACHE_DIR is not set")


def test_what_is_not_installed(alone):
    assert ("problem", True) in {(each.level, "not installed" in each.text) for each in doctor.examine()}


def test_files_that_were_cut_short_are_known(tmp_path):
    np.savez(tmp_path / "coco_labels.npz", labels=np.zeros(999))
    assert benchmark_faults(tmp_path)["coco_labels"] == ""
    os.truncate(tmp_path / "coco_labels.npz", 4_000)
    assert benchmark_faults(tmp_path)["coco_labels"].endswith("is damaged, fetch it again")


def test_extras_have_a_purpose():
    text = (ROOT / "setup.py").read_text().partition("extras_require={")[2]
    assert all(f'"{name}": [' in text for name in doctor.PURPOSES) and text.count('": [') == len(doctor.PURPOSES)


def test_the_command_asks_jax_and_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(tmp_path / "nowhere"))
    save_model(tmp_path / "model")
    done = run_command("doctor", "--model=model", cwd=tmp_path)
    *_, jax_line, model_line = done.stdout.splitlines()
    assert jax_line.startswith("ok:      JAX finds: "), done
    assert model_line == "ok:      the model model: 6 bits, reads features [8]"
    assert done.returncode == 1 and f"problem: {tmp_path}/nowhere: no such folder" in done.stdout
    assert done.stderr == "drlhash_jax: 1 problem(s) found: see the lines above\n"


@pytest.mark.exhaustive
def test_models_that_do_not_open(tmp_path):
    (tmp_path / "broken").mkdir()
    save_model(tmp_path / "model")
    bundles.create_bundle(tmp_path / "x.drlh", 6, model={"sha256": "0" * 64})
    for arguments, words in (
        (("--model=broken",), "broken has no model.json"),
        (("--model=model", "--bundle=x.drlh"), "--model=model is not the model of x.drlh"),
    ):
        done = run_command("doctor", *arguments, cwd=tmp_path)
        assert done.returncode == 1 and words in done.stdout.splitlines()[-1], done


def test_jax_is_not_loaded():
    program = (
        "import sys\nfrom drlhash_jax import doctor\ndoctor._DEVICES = ''\nlist(doctor.examine())\n"
        "print(*[name for name in ('jax', 'flax', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.split() == [], done
