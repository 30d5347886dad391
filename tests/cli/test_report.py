"""The command report from the command line."""

import pytest
from commands import SHORT_RUN, run_command


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], ["--runs=DIR", "--out=DIR"]),
        (["--runs=nowhere", "--out=OUT"], ["nowhere is not there"]),
        (["--rums=x"], ["rums", "runs"]),
        (["left"], ["unexpected argument left"]),
    ],
)
def test_mistakes_get_one_line(arguments, words, tmp_path):
    done = run_command("report", *(argument.replace("OUT", str(tmp_path / "out")) for argument in arguments))
    lines = [line for line in done.stderr.splitlines() if line.startswith("drlhash_jax: ")]
    assert done.returncode == 1 and len(lines) == 1 and all(word in lines[0] for word in words), done.stderr
    assert "Traceback" not in done.stderr and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_becomes_a_report(tmp_path):
    assert run_command(*SHORT_RUN, f"--workdir={tmp_path / 'runs/a'}").returncode == 0
    done = run_command("report", f"--runs={tmp_path / 'runs'}", f"--out={tmp_path / 'out'}")
    assert done.returncode == 0 and "missing:" not in done.stderr, done.stderr
    figures = {path.stem for path in (tmp_path / "out/figures").glob("*.csv")}
    names = ("precision_recall", "precision_at_n", "retrievals", "learning", "reward_map", "correlation", "tsne")
    assert figures == {"map_bits", "precision_radius2"} | {f"{name}-digits" for name in names}
    assert f"{tmp_path / 'out/report.html'}" in done.stdout
