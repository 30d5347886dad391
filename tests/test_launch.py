"""The launch recipes: the notebook runs twice, the scripts are sound, a SLURM job goes back into the queue in time."""

import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
INSTALL = runpy.run_path(str(ROOT / "launch/install_missing.py"))


def run_notebook(left_out=""):
    """Runs the notebook where it lies, but for the cells that hold a text; returns its outputs and what it printed."""
    notebook = nbformat.read(ROOT / "launch/colab.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    if left_out:
        notebook.cells = [cell for cell in notebook.cells if left_out not in cell.source]
    resources = {"metadata": {"path": str(ROOT / "launch")}}
    nbclient.NotebookClient(notebook, timeout=600, resources=resources).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return outputs, "".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in outputs)


SHORT = f"""
import sys
sys.path.insert(0, {str(ROOT / "configs")!r})
import smoke

def get_config():
    config = smoke.get_config()
    config.bits, config.selectors, config.train_direct = (4,), ("ppo", "greedy"), False
    # As in commands.SHORT_RUN.
    config.training.num_epochs, config.ppo.num_updates, config.target_codes.num_epochs = 8, 11, 300
    return config
"""


@pytest.mark.slow
def test_notebook_twice(tmp_path, monkeypatch):
    config = tmp_path / "short.py"
    config.write_text(SHORT)
    monkeypatch.setenv("DRLHASH_CONFIG", str(config))
    # What stands for a mounted drive.
    monkeypatch.setenv("DRLHASH_DRIVE", str(tmp_path))
    outputs, printed = run_notebook()
    assert f"code: {ROOT}\n" in printed and "nothing to install" in printed
    assert "mAP@all on digits" in printed and "best reward" in printed
    run = tmp_path / "drlhash/notebook"
    assert (tmp_path / "drlhash/notebook_report/report.html").exists()
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 4
    before = (run / "metrics.json").read_bytes()
    assert "mAP@all on digits" in run_notebook(left_out="REPORT")[1]
    assert (run / "metrics.json").read_bytes() == before


def test_notebook_without_a_clone_says_what_to_set(tmp_path):
    cell = nbformat.read(ROOT / "launch/colab.ipynb", as_version=4).cells[2].source
    program = f"import os, subprocess, sys\nfrom pathlib import Path\nREPOSITORY = ''\n{cell}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "set REPOSITORY in the cell above" in done.stderr


def test_notebook_clones_once(tmp_path):
    cell = nbformat.read(ROOT / "launch/colab.ipynb", as_version=4).cells[2].source
    origin = tmp_path / "origin"
    (origin / "drlhash_jax").mkdir(parents=True)
    (origin / "drlhash_jax/main.py").touch()
    git(origin, "init", "-q")
    git(origin, "add", ".")
    git(origin, "commit", "-qm", "All")
    program = f"import os, subprocess, sys\nfrom pathlib import Path\nREPOSITORY = 'file://{origin}'\n{cell}"
    (tmp_path / "home").mkdir()
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path / "home")},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"code: {tmp_path / 'home/drlhash_jax_clone'}\n"


def test_only_what_is_missing_is_installed():
    versions = {"jax": "0.10.2", "Pillow": "11.0", "rich": "15.0", "new": "2.0.dev1"}
    requirements = ["jax>=0.8.2", "Pillow>=12.0", "rich>=13,<14", "absent", "new>=1.9"]
    missing = INSTALL["find_missing"](requirements, versions.get)
    assert missing == ["Pillow>=12.0", "rich>=13,<14", "absent"]
    frozen = ["jax==0.10.2", "pillow==11.0", "rich==15.0", "-e git+https://host/x", "y @ file:///y"]
    assert INSTALL["keep_others"](frozen, missing) == ["jax==0.10.2"]


def test_requirements_are_those_of_setup():
    requirements = INSTALL["read_requirements"](["report"])
    assert {"absl-py>=2.1", "jinja2>=3.1"} <= set(requirements)
    assert not any(each.startswith("pytest") for each in requirements)


def git(folder, *arguments):
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


# gcloud with one host, whose home is the folder HOST: "scp" copies, "ssh" runs the command there.
GCLOUD = """#!/bin/bash
shift 3
echo "$*" >> "$HOST.calls"
verb=$1
shift
if [ "$verb" = scp ]; then
  [ "$1" != --recurse ] || shift
  exec cp -r "${1/#tpu:/$HOST/}" "${2/#tpu:/$HOST/}"
fi
cd "$HOST"
for argument in "$@"; do
  case "$argument" in --command=*) exec bash -c "${argument#--command=}" ;; esac
done
"""
# What the program does on the host: it writes a result, and ends with a code.
PROGRAM = """#!/bin/bash
mkdir -p "runs/a b"
echo "$DRLHASH_DATA" "$@" > "runs/a b/ran"
exit "$CODE"
"""
# Python on the host: "-m venv" makes an environment whose pip does nothing, and whose python is the program.
PYTHON = """#!/bin/bash
mkdir -p .venv/bin
cp "$(type -P true)" .venv/bin/pip
cp "$(dirname "$0")/program" .venv/bin/python
"""


@pytest.mark.parametrize("code", [0, 75])
@pytest.mark.parametrize("given", ["--workdir=runs/a b", "--workdir runs/a b", ""])
def test_tpu_script_sends_tracked_files_and_brings_results_back(code, given, tmp_path):
    checkout, host, commands = (tmp_path / name for name in ("checkout", "host", "commands"))
    for folder in (checkout / "launch", host, commands):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "launch/tpu_vm.sh", checkout / "launch")
    (checkout / "code.py").write_text("old\n")
    git(checkout, "init", "-q")
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "All")
    (checkout / "code.py").write_text("new\n")
    (checkout / "large.bin").write_text("not tracked\n")
    for name, text in (("gcloud", GCLOUD), ("program", PROGRAM), ("python3", PYTHON)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    environment = {"PATH": f"{commands}:{os.environ['PATH']}", "HOST": str(host), "CODE": str(code)}
    environment |= {"TPU": "tpu", "ZONE": "z", "DRLHASH_DATA": "/my data"}
    arguments = given.split(" ", 1) if given.startswith("--workdir ") else [given] if given else []
    done = subprocess.run(
        ["bash", str(checkout / "launch/tpu_vm.sh"), "--config=x y", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert (host / "drlhash_jax/code.py").read_text() == "new\n"
    assert not (host / "drlhash_jax/large.bin").exists()
    result = (checkout / "runs/a b/ran").read_text()
    assert result.startswith("/my data -m drlhash_jax.main --distributed=on --config=x y")
    calls = Path(f"{host}.calls").read_text()
    assert calls.startswith("scp ") and calls.count("--zone=z\n") == 3
    # Nothing of the checkout has changed but for the results.
    status = subprocess.run(["git", "status", "--short"], cwd=checkout, capture_output=True, text=True).stdout
    assert status.splitlines() == [" M code.py", "?? large.bin", "?? runs/"]


@pytest.mark.parametrize("script", ["encode_array.sbatch", "local_multiprocess.sh", "slurm.sbatch", "tpu_vm.sh"])
def test_scripts_parse(script):
    subprocess.run(["bash", "-n", str(ROOT / "launch" / script)], check=True)


@pytest.mark.parametrize(("code", "requeued"), [(75, True), (0, False), (1, False)])
def test_slurm_job_is_requeued_when_its_step_was_saved(code, requeued, tmp_path):
    # Stand-ins for SLURM's commands: the step ends with a code when it is told to stop, requeueing leaves a note.
    step = f"trap 'exit {code}' USR1\necho > started\nfor _ in $(seq 600); do sleep 0.1; done"
    for name, text in (("srun", step), ("scontrol", 'echo "$@" > requeued')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    job = subprocess.Popen(["bash", str(ROOT / "launch/slurm.sbatch")], cwd=tmp_path, env=environment)
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(timeout=30) == code
    assert (tmp_path / "requeued").exists() == requeued
    if requeued:
        assert (tmp_path / "requeued").read_text() == "requeue 7\n"
