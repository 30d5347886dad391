"""Finds the command that is asked for, parses its flags, runs it, and turns what went wrong into one line."""

import importlib
import logging as python_logging
import sys
from types import ModuleType

from absl import app, flags, logging

from drlhash_jax.commands import COMMANDS
from drlhash_jax.commands.help import asks_for_help, command_help, overview
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.settings import near


def split_command(argv: list[str]) -> tuple[str, list[str]]:
    """The name of the command, and the arguments without it.

    Args:
      argv: the program, then its arguments.

    Raises:
      UserError: there is no such command.
    """
    if len(argv) < 2 or argv[1].startswith("-"):
        return "train", argv
    if argv[1] not in COMMANDS:
        hint = near(argv[1], list(COMMANDS))
        raise UserError(f"unexpected argument {argv[1]}{hint}: the commands are {', '.join(COMMANDS)}")
    return argv[1], [argv[0], *argv[2:]]


def _complain(error: Exception | str) -> None:
    """Ends the program with one line instead of a traceback."""
    print(f"drlhash_jax: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"drlhash_jax.commands.{command}")


def _answer_help(argv: list[str]) -> None:
    """Prints the help that is asked for and ends the program: of all commands, or of the one that is named."""
    if argv[1].startswith("-"):
        print(overview(argv[0]))
    else:
        command, _ = split_command(argv)
        print(command_help(argv[0], command, flags.FLAGS.get_key_flags_for_module(_module(command))))
    sys.exit(0)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags of the command that is asked for; returns the program's name and the command's."""
    # Absl would make it INFO, where libraries report every file that they write.
    flags.FLAGS["verbosity"].value = logging.WARNING
    flags.FLAGS["verbosity"].using_default_value = False
    try:
        if asks_for_help(argv):
            _answer_help(argv)
        command, argv = split_command(argv)
        module = _module(command)
        flags.adopt_module_key_flags(module, flags.FLAGS)
        left_over = flags.FLAGS(getattr(module, "complete_arguments", lambda argv: argv)(argv))[1:]
        if left_over:
            raise UserError(f"unexpected argument {left_over[0]}: {command} takes flags only")
        return [argv[0], command]
    # Beside absl's own errors, those of ml_collections about a value that does not fit its field.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _complain(error)


def _main(argv: list[str]) -> None:
    """Runs one command; argv holds the program's name and the command's."""
    # That a machine has no TPU is not worth a line. JAX is not loaded by this.
    python_logging.getLogger("jax._src.xla_bridge").setLevel(python_logging.WARNING)
    try:
        _module(argv[1]).run()
    except UserError as error:
        _complain(error)
    except FloatingPointError as error:
        logging.error("%s", error)
        sys.exit(2)
    except RunStoppedError as stop:
        print(f"drlhash_jax: {stop}", file=sys.stderr)
        # EX_TEMPFAIL: schedulers take it for "run it again".
        sys.exit(75)


def dispatch() -> None:
    """Runs the command that the program's arguments name, and exits with its code."""
    app.run(_main, flags_parser=_parse_flags)
