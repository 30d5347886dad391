"""Help of the program and of every command, and what is answered before any work begins."""

import importlib.util
import os
import signal
import subprocess
import sys
import time

import pytest
from absl import flags
from commands import ROOT, run_command

from drlhash_jax import commands
from drlhash_jax.commands import help as help_text
from drlhash_jax.commands.dispatch import split_command
from drlhash_jax.errors import UserError


def test_help_lists_the_commands():
    done = run_command("--help")
    assert done.returncode == 0, done.stderr
    width = max(map(len, commands.COMMANDS)) + 2
    for name, command in commands.COMMANDS.items():
        assert f"  {name.ljust(width)}{command.summary}\n" in done.stdout
    assert "COMMAND --help" in done.stdout


OWN_FLAGS = {
    "train": ("--coordinator=", "--distributed=auto|on|off"),
    "compare": ("--jobs=N",),
    "eval": ("--query_codes=", "--codes=auto|bits|signs|packed|logits", "--top_k=N"),
    "report": ("--runs=A,B,...", "--[no]robustness"),
    "fit": ("--method=",),
    "grow": ("--old_labels=",),
    "explore": ("--limit=",),
    "video": ("--fps=", "--find="),
    "encode": ("--shard=", "--role=query|database"),
    "query": ("--rerank=N", "--code="),
    "export": ("--format=npy|faiss|parquet|pgvector",),
}


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_help_of_a_command_is_about_it_alone(command):
    # A wrong flag beside it changes nothing.
    done = run_command(command, "--no_such_flag", "--help")
    assert done.returncode == 0, done.stderr
    for name, own in OWN_FLAGS.items():
        assert all((flag in done.stdout) == (name == command) for flag in own), done.stdout
    assert done.stdout.count(f"main {command} {commands.COMMANDS[command].example}\n") == 1


@pytest.mark.parametrize("command", commands.COMMANDS)
def test_examples_name_flags_that_exist(command):
    program = (
        f"from absl import flags\nimport drlhash_jax.commands.{command} as module\n"
        "print(*[flag.name for flag in flags.FLAGS.get_key_flags_for_module(module)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    known = done.stdout.split()
    for argument in commands.COMMANDS[command].example.split():
        assert argument.startswith("--") and argument[2:].partition("=")[0].partition(".")[0] in known


def test_every_command_has_a_module_and_a_summary_of_one_line():
    for name, command in commands.COMMANDS.items():
        assert importlib.util.find_spec(f"drlhash_jax.commands.{name}") is not None
        assert command.summary.endswith(".") and len(command.summary) < 90


def test_help_names_the_console_script_where_it_was_called():
    assert "usage: drlhash [COMMAND]" in help_text.overview("/usr/local/bin/drlhash")
    assert "usage: python -m drlhash_jax.main [COMMAND]" in help_text.overview("/src/drlhash_jax/main.py")


def test_long_words_of_help_keep_their_column():
    values = flags.FlagValues()
    flags.DEFINE_enum("kind", "one", ["one", "a" * 40], "What it is.", flag_values=values)
    flags.DEFINE_string("path", None, " ".join(["word"] * 40), flag_values=values)
    text = help_text.command_help("drlhash", "train", [values["kind"], values["path"]])
    lines = text.partition("flags:\n")[2].splitlines()
    assert lines[0] == f"  --kind=one|{'a' * 40}" and lines[1].strip() == "What it is. Default: one."
    assert all(line.index("word") == lines[2].index("word") for line in lines[2:])


def test_no_word_means_train():
    assert split_command(["main"]) == ("train", ["main"])
    assert split_command(["main", "--config=x"]) == ("train", ["main", "--config=x"])
    assert split_command(["main", "eval", "--workdir=x"]) == ("eval", ["main", "--workdir=x"])
    with pytest.raises(
        UserError, match=r"trian \(did you mean train\?\): the commands are train, eval, compare, ablate, report"
    ):
        split_command(["main", "trian"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_modules_load_is_one_line(number, tmp_path):
    # The configuration tells that it is being loaded; then it loads for a long time.
    config = tmp_path / "slow.py"
    config.write_text(f"import pathlib, time\npathlib.Path({str(tmp_path / 'started')!r}).touch()\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "drlhash_jax.main", f"--config={config}"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (75, f"drlhash_jax: {number.name}: stopped\n")


@pytest.mark.parametrize("command", ["eval", "report"])
def test_flags_are_answered_without_array_libraries(command):
    program = (
        f"import sys, drlhash_jax.commands.dispatch, drlhash_jax.commands.{command}\n"
        "print(*[name for name in ('jax', 'numpy', 'ml_collections') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.split() == []


def test_signals_are_heard_before_anything_large_is_imported():
    program = "import sys, drlhash_jax.main\nprint(*[name for name in ('absl', 'numpy', 'jax') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert done.returncode == 0 and done.stdout.split() == []
