"""The launch recipes: the notebook runs, the scripts are sound, the SLURM job goes back into the queue in time."""

import os
import signal
import subprocess
import time
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("DRLHASH_INSTALLED", "1")
    monkeypatch.setenv("DRLHASH_CONFIG", "smoke")
    monkeypatch.setenv("DRLHASH_WORKDIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "launch/colab.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    printed = "".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in outputs)
    assert "mAP@all on digits" in printed and "best reward" in printed
    assert (tmp_path / "run/metrics.json").exists()
    assert (tmp_path / "run_report/report.html").exists()
    assert sum("image/png" in out.get("data", {}) for out in outputs) >= 4


@pytest.mark.parametrize("script", ["local_multiprocess.sh", "slurm.sbatch", "tpu_vm.sh"])
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
