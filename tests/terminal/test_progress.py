"""What is said of a stage under way, on a terminal and elsewhere."""

import io
import sys
import time

import pytest

from drlhash_jax.terminal import StageProgress, progress, run_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def put_terminal(monkeypatch):
    """A terminal in place of standard error; for the body of a test, since pytest sets its own before."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return stream


@pytest.fixture
def lines(capsys):
    """Function that gives the lines written to standard error so far."""
    return lambda: capsys.readouterr().err.splitlines()


def test_a_stage_ends_with_its_time(lines):
    with StageProgress("encoder", 30, place=(3, 23)) as shown:
        shown.update(30, "loss 0.5")
    (line,) = lines()
    assert line.startswith("3/23 encoder: done in 0.") and line.endswith(" s, loss 0.5")


def test_a_stage_that_compiles_long_says_so(lines, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BEFORE_COMPILING", 0.01)
    with StageProgress("encoder", 30) as shown:
        time.sleep(0.2)
        assert lines() == ["encoder: compiling"]
        shown.update(1)
    assert len(lines()) == 1


def test_a_stage_that_compiles_shortly_does_not(lines, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BEFORE_COMPILING", 0.1)
    with StageProgress("encoder", 30) as shown:
        shown.update(1)
        time.sleep(0.2)
    with pytest.raises(KeyError), StageProgress("encoder", 30):
        raise KeyError
    time.sleep(0.2)
    assert [line.split(" in ")[0] for line in lines()] == ["encoder: done"]


def test_a_line_every_few_seconds(lines, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.05)
    with StageProgress("encoder", 3) as shown:
        for done in range(1, 4):
            time.sleep(0.06)
            shown.update(done, f"loss {done}")
    assert lines()[:-1] == ["encoder: 1 of 3 loss 1", "encoder: 2 of 3 loss 2", "encoder: 3 of 3 loss 3"]


@pytest.mark.parametrize("on_terminal", [True, False])
def test_another_process_is_silent(on_terminal, lines, monkeypatch):
    terminal = put_terminal(monkeypatch) if on_terminal else io.StringIO()
    with StageProgress("encoder", 30, shown=False) as shown:
        shown.update(30, "loss 0.5")
    assert lines() == [] and terminal.getvalue() == ""


def test_a_terminal_shows_a_bar_that_compiles_first(monkeypatch):
    terminal = put_terminal(monkeypatch)
    with StageProgress("encoder [64]", 30, place=(1, 2)) as shown:
        time.sleep(0.2)
        before = terminal.getvalue()
        shown.update(12, "loss [b]0.5")
    assert "compiling" in before and "1/2 encoder [64]" in before and "0/30" in before
    last = terminal.getvalue().removeprefix(before)
    assert "loss [b]0.5" in last and "30/30" in last and "compiling" not in last.splitlines()[-1]


@pytest.mark.parametrize(
    ("finished", "said"),
    [
        ((), "run in runs/digits: 3 stages"),
        (("codes", "encoder"), "run in runs/digits goes on: 2 of 3 stages are finished, next selection"),
        (
            ("codes", "encoder", "selection", "old"),
            "run in runs/digits: all 3 stages are finished, nothing is computed",
        ),
    ],
)
def test_where_a_run_is(finished, said):
    assert run_line("runs/digits", ["codes", "encoder", "selection"], finished).startswith(said)
