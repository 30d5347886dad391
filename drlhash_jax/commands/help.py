"""The text of ``--help``: the list of commands, or one command with its flags."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from drlhash_jax.commands import COMMANDS

_WIDTH = 100
_HELP_FLAGS = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def asks_for_help(argv: Sequence[str]) -> bool:
    """Whether one of the arguments asks for help."""
    return any(argument in _HELP_FLAGS for argument in argv[1:])


def _program(path: str) -> str:
    """How to call the program that was started as `path`."""
    return "drlhash" if Path(path).stem == "drlhash" else "python -m drlhash_jax.main"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns of text, the second one wrapped; names that are too long stand on a line of their own."""
    width = min(max(len(name) for name, _ in rows), _WIDTH // 3) + 4
    indent = " " * width
    lines = []
    for name, text in rows:
        start = f"  {name}".ljust(width)
        if len(start) > width:
            lines.append(start)
            start = indent
        # Words such as --config.FIELD=VALUE stay whole.
        lines.append(
            textwrap.fill(text, _WIDTH, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False)
        )
    return "\n".join(lines)


def overview(path: str) -> str:
    """The commands, one line each.

    Args:
      path: what the program was started as.
    """
    program = _program(path)
    commands = _table([(name, command.summary) for name, command in COMMANDS.items()])
    return (
        f"usage: {program} [COMMAND] [--FLAG=VALUE ...]\n\n"
        f"commands:\n{commands}\n\n"
        f"flags of a command, with an example:\n  {program} COMMAND --help"
    )


def _describe(flag: flags.Flag) -> tuple[str, str]:
    """A flag's name with the form of its value, and its meaning with its default."""
    kind, meaning = flag.flag_type(), " ".join(flag.help.split())
    if kind == "bool":
        name = f"--[no]{flag.name}"
    elif isinstance(flag, flags.EnumFlag):
        name = f"--{flag.name}={'|'.join(flag.parser.enum_values)}"
        # Absl has put the values before it.
        meaning = meaning.partition(">: ")[2]
    else:
        form = "N" if kind == "int" else "A,B,..." if "list" in kind else "VALUE"
        name = f"--{flag.name}={form}"
    default = "" if flag.default in (None, "", []) else f" Default: {flag.default_as_str.strip(chr(39))}."
    return name, meaning + default


def command_help(path: str, command: str, key_flags: Sequence[flags.Flag]) -> str:
    """One command: what it does, an example, and its flags.

    Args:
      path: what the program was started as.
      command: a key of `COMMANDS`.
      key_flags: the flags that its module defines.
    """
    program, facts = _program(path), COMMANDS[command]
    ordered = sorted(key_flags, key=lambda flag: flag.name)
    return (
        f"usage: {program} {command} [--FLAG=VALUE ...]\n\n"
        f"{facts.summary}\n\n"
        f"example:\n  {program} {command} {facts.example}\n\n"
        f"flags:\n{_table([_describe(flag) for flag in ordered])}"
    )
