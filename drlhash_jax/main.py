"""Command line: ``python -m drlhash_jax.main [COMMAND] [--FLAG=VALUE ...]``; without a word the command is train.

    python -m drlhash_jax.main --config=configs/NAME.py --workdir=DIR [--config.FIELD=VALUE]

Exit codes: 0 done, 1 the input is wrong, 2 the run failed, 75 stopped by SIGTERM, SIGINT or SIGUSR1 after saving; a
second signal ends it at once.
"""

import difflib
import importlib
import sys
from types import ModuleType

from absl import app, flags, logging

from drlhash_jax.commands import COMMANDS
from drlhash_jax.errors import RunStoppedError, UserError


def _split_command(argv: list[str]) -> tuple[str, list[str]]:
    """The command's word and the arguments without it."""
    if len(argv) < 2 or argv[1].startswith("-"):
        return "train", argv
    if argv[1] not in COMMANDS:
        near = difflib.get_close_matches(argv[1], COMMANDS, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise UserError(f"unexpected argument {argv[1]}{hint}: the commands are {', '.join(COMMANDS)}")
    return argv[1], [argv[0], *argv[2:]]


def _complain(error: Exception | str) -> None:
    """Ends the program with one line instead of a traceback."""
    print(f"drlhash_jax: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags of the command that is asked for; returns the program's name and the command's."""
    # Absl would make it INFO, where libraries report every file that they write.
    flags.FLAGS["verbosity"].value = logging.WARNING
    flags.FLAGS["verbosity"].using_default_value = False
    try:
        command, argv = _split_command(argv)
        module = importlib.import_module(f"drlhash_jax.commands.{command}")
        flags.adopt_module_key_flags(module, flags.FLAGS)
        left_over = flags.FLAGS(getattr(module, "complete_arguments", lambda argv: argv)(argv))[1:]
        if left_over:
            raise UserError(f"unexpected argument {left_over[0]}: {command} takes flags only")
        return [argv[0], command]
    except (flags.Error, UserError, AttributeError, KeyError, TypeError, ValueError, SyntaxError, OSError) as error:
        # ml_collections reports an unknown field as an AttributeError around a KeyError around the message.
        inner = error.args[0] if error.args else error
        _complain(f"no such config field: {inner.args[0]}" if isinstance(inner, KeyError) else error)


def main(argv: list[str]) -> None:
    """Runs one command."""
    command: ModuleType = importlib.import_module(f"drlhash_jax.commands.{argv[1]}")
    try:
        command.run()
    except UserError as error:
        _complain(error)
    except FloatingPointError as error:
        logging.error("%s", error)
        sys.exit(2)
    except RunStoppedError as stop:
        print(f"drlhash_jax: {stop}", file=sys.stderr)
        # EX_TEMPFAIL: what schedulers take for "run it again".
        sys.exit(75)


def run() -> None:
    """Entry point of the console."""
    app.run(main, flags_parser=_parse_flags)


if __name__ == "__main__":
    run()
