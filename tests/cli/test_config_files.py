"""Configuration files that cannot be loaded, and flags that name no field: one line each."""

from pathlib import Path

import pytest
from commands import ROOT, run_command
from ml_collections import ConfigDict

from drlhash_jax.commands import config_files, train
from drlhash_jax.errors import UserError

GOOD = (
    "from ml_collections import ConfigDict\n"
    "def get_config(size='3'):\n    return ConfigDict({'pool_bits': int(size), 'data': {'path': ''}, 'on': True})\n"
)

# Text of a configuration file, and words of the answer.
BROKEN = {
    "raises": ("\n\ndef get_config():\n    return 1 / 0\n", ["line 4: ZeroDivisionError: division by zero"]),
    "raises without words": ("raise RuntimeError\n", ["line 1: RuntimeError"]),
    "raises inside a library": ("import json\njson.loads('{')\n", ["line 2: JSONDecodeError"]),
    "imports what is missing": ("import no_such_module\n", ["line 1: ModuleNotFoundError", "no_such_module"]),
    "is no Python": ("def get_config(:\n", ["line 1: SyntaxError: invalid syntax"]),
    "lacks get_config": ("x = 1\n", ["has no function get_config"]),
    "get_config is no function": ("get_config = 3\n", ["has no function get_config"]),
    "returns a dict": ("def get_config():\n    return {}\n", ["get_config returns dict, not a ConfigDict"]),
    "returns nothing": ("def get_config():\n    pass\n", ["get_config returns NoneType"]),
    "exits": ("import sys\nsys.exit(3)\n", ["line 2: SystemExit: 3"]),
    "opens what is missing": ("open('/no/such/file')\n", ["line 1: FileNotFoundError", "/no/such/file"]),
    "needs an argument": ("def get_config(path):\n    return 1\n", ["TypeError", "'path'"]),
}


@pytest.mark.parametrize("text, words", [pytest.param(*case, id=name) for name, case in BROKEN.items()])
def test_broken_files_are_one_line(text, words, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UserError) as caught:
        config_files.load_config(str(tmp_path / "mine.py"))
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_one_line_on_the_command_line(tmp_path):
    (tmp_path / "mine.py").write_text(BROKEN["raises"][0])
    done = run_command(f"--config={tmp_path / 'mine.py'}")
    assert done.returncode == 1
    assert done.stderr == f"drlhash_jax: flag --config={tmp_path / 'mine.py'}: {BROKEN['raises'][1][0]}\n"


def test_a_message_for_people_passes_as_it_is(tmp_path):
    (tmp_path / "mine.py").write_text("from drlhash_jax.errors import UserError\nraise UserError('no photos here')\n")
    with pytest.raises(UserError, match="^no photos here$"):
        config_files.load_config(str(tmp_path / "mine.py"))


def test_an_argument_goes_to_get_config(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    assert config_files.load_config(str(tmp_path / "mine.py")).pool_bits == 3
    assert config_files.load_config(f"{tmp_path / 'mine.py'}:7").pool_bits == 7


def test_parser_locks_the_configuration(tmp_path):
    (tmp_path / "mine.py").write_text(GOOD)
    config = config_files.ConfigParser(["pool_bits", "data.path"]).parse(str(tmp_path / "mine.py"))
    with pytest.raises(AttributeError):
        config.pool_bitz = 3


FIELDS = {
    "pool_bit": r"no field pool_bit \(did you mean pool_bits\?\)",
    "data.pth": r"no field data.pth \(did you mean path\?\)",
    "data.zzz": "no field data.zzz; the fields are path",
    "dat.path": r"no section dat \(did you mean data\?\)",
    "mapping.num_epochs": "no section mapping; the sections are data, encoder",
    "encoder.options.hidden": "no field encoder.options.hidden; there are no fields in it",
    "encoder.optins.hidden": r"no section encoder.optins \(did you mean options\?\)",
    "pool_bits.x": "no section pool_bits",
}


@pytest.mark.parametrize("field, message", FIELDS.items())
def test_unknown_fields_get_the_nearest_name(field, message):
    config = ConfigDict({"pool_bits": 3, "data": {"path": ""}, "encoder": {"options": {}}})
    with pytest.raises(UserError, match=f"^there is {message}"):
        config_files.check_field(config, field)


def test_known_fields_pass():
    config = ConfigDict({"pool_bits": 3, "data": {"path": ""}, "encoder": {"options": {}}})
    for field in ("pool_bits", "data", "data.path", "encoder.options"):
        config_files.check_field(config, field)


def test_overridden_fields():
    argv = ["main", "--config=a.py", "--config.x=1", "-config.y.z", "3", "--noconfig.on", "--workdir=--config.w"]
    assert config_files.overridden_fields(argv) == ["x", "y.z", "on"]


def test_files_are_found(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(GOOD)
    assert config_files.find_config(str(mine)) == str(mine)
    assert config_files.find_config(f"{mine}:a:b") == f"{mine}:a:b"
    assert Path(config_files.find_config("digits")).samefile(ROOT / "configs/digits.py")
    assert config_files.find_config("smoke:x").endswith("configs/smoke.py:x")
    with pytest.raises(
        UserError, match=r"configs/digit.py: no such file \(did you mean digits\?\); there are ablate_cifar10"
    ):
        config_files.find_config("configs/digit.py")


def test_default_workdir_tells_runs_apart():
    assert train.default_workdir("configs/digits.py", {}) == "runs/digits"
    names = {
        train.default_workdir("a/own_images.py:photos", {}),
        train.default_workdir("a/own_images.py:others", {}),
        train.default_workdir("a/own_images.py:photos", {"seed": 1}),
        train.default_workdir("a/own_images.py", {"seed": 1}),
    }
    assert len(names) == 4 and all(name.startswith("runs/own_images-") for name in names)
