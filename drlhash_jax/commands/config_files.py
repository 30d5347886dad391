"""Configuration files of the command line: finding them, loading them, and checking the fields that flags override."""

import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from absl import flags
from ml_collections import ConfigDict

from drlhash_jax.errors import UserError
from drlhash_jax.settings import near

# In a checkout the configurations stand beside the package, in a wheel inside it.
_FOLDERS = (Path(__file__).parents[2] / "configs", Path(__file__).parents[1] / "configs")
# --config.FIELD=VALUE, or --noconfig.FIELD for a field that is true or false.
_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")


def find_config(address: str) -> str:
    """A configuration given as a path, or as the name of one that comes with the package.

    Args:
      address: FILE, or FILE:ARGUMENT for a file whose get_config takes an argument.

    Returns:
      The same address with the path of a file that exists.

    Raises:
      UserError: there is no such file; the message lists the configurations of the package.
    """
    path, colon, argument = address.partition(":")
    if Path(path).is_file():
        return address
    shipped = {file.stem: file for folder in _FOLDERS for file in sorted(folder.glob("*.py"))}
    shipped.pop("__init__", None)
    name = Path(path).stem
    if name in shipped:
        return f"{shipped[name]}{colon}{argument}"
    hint = near(name, list(shipped))
    raise UserError(f"--config={path}: no such file{hint}; there are {', '.join(sorted(shipped))}")


def _place_of(error: BaseException, path: str) -> str:
    """Kind, text and line of an error that a configuration file raised."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == path else lines[-1] if lines else None
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    where = f"line {line}: " if line else ""
    return f"{where}{type(error).__name__}{': ' if text else ''}{text}"


def _import_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("drlhash_config", path)
    if spec is None:
        raise UserError("not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def load_config(address: str) -> ConfigDict:
    """What the get_config of a configuration file returns.

    Args:
      address: FILE, or FILE:ARGUMENT.

    Raises:
      UserError: the file raises an error, has no get_config, or returns something else than a ConfigDict. The message
        does not name the file.
    """
    path, _, argument = address.partition(":")
    try:
        module = _import_file(path)
        get_config = getattr(module, "get_config", None)
        if not callable(get_config):
            raise UserError("has no function get_config, which must return the configuration")
        config = get_config(*([argument] if argument else []))
    except UserError:
        raise
    # A configuration is a program: it may raise anything, or exit.
    except (Exception, SystemExit) as error:
        raise UserError(_place_of(error, path)) from error
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UserError(f"get_config returns {kind}, not a ConfigDict; start from drlhash_jax.config.default_config()")
    return config


def overridden_fields(argv: Sequence[str]) -> list[str]:
    """The fields that arguments set, e.g. "data.path" of --config.data.path=x."""
    return [match[1] for match in map(_OVERRIDE.match, argv) if match]


def _known(kind: str, names: Sequence[str]) -> str:
    return f"; the {kind}s are {', '.join(sorted(names))}" if names else f"; there are no {kind}s in it"


def check_field(config: ConfigDict, field: str) -> None:
    """Refuses a field that a configuration does not have.

    Args:
      config: the configuration.
      field: its name with its sections', e.g. "data.path".

    Raises:
      UserError: names the field, and the known ones most like it.
    """
    section, within = config, ""
    *names, last = field.split(".")
    for name in names:
        if not isinstance(section.get(name), ConfigDict):
            sections = [key for key, value in section.items() if isinstance(value, ConfigDict)]
            known = near(name, sections) or _known("section", sections)
            raise UserError(f"there is no section {within}{name}{known}")
        section, within = section[name], f"{within}{name}."
    if last not in section:
        known = near(last, list(section)) or _known("field", list(section))
        raise UserError(f"there is no field {within}{last}{known}")


class ConfigParser(flags.ArgumentParser):
    """Parser of the flag --config. That of ml_collections answers errors of a file with a traceback, or later."""

    def __init__(self, fields: Sequence[str]):
        """A parser that wants the configuration to have these fields."""
        self._fields = fields

    def parse(self, argument: str) -> ConfigDict:
        """The locked configuration of FILE or FILE:ARGUMENT; raises UserError as `load_config` and `check_field`."""
        config = load_config(argument)
        for field in self._fields:
            check_field(config, field)
        config.lock()
        return config

    def flag_type(self) -> str:
        """What absl calls the value."""
        return "config object"


def _find_in(argv: list[str], default: str) -> list[str]:
    """The arguments with the configuration's path resolved, the default configuration first."""
    for place, argument in enumerate(argv):
        for prefix in ("--config=", "-config="):
            if argument.startswith(prefix):
                return [*argv[:place], f"--config={find_config(argument.removeprefix(prefix))}", *argv[place + 1 :]]
        if argument in ("--config", "-config") and place + 1 < len(argv):
            return [*argv[:place], f"--config={find_config(argv[place + 1])}", *argv[place + 2 :]]
    return [argv[0], f"--config={find_config(default)}", *argv[1:]]


def complete_config(argv: list[str], default: str) -> list[str]:
    """Makes the fields of the configuration that arguments name known, so that they can be parsed.

    Args:
      argv: the program, then its arguments; the flag --config is defined.
      default: name of the configuration that is taken where none is given.

    Returns:
      The arguments with the path of the configuration's file.

    Raises:
      UserError: there is no such file.
    """
    flags.FLAGS["config"].parser = ConfigParser(overridden_fields(argv))
    return _find_in(argv, default)
