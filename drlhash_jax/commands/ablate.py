"""``ablate``: what choosing bits is worth, by pool, selector, length and reward, over seeds, in one table and one page.

    python -m drlhash_jax.main ablate --config=configs/ablate_digits.py --workdir=OUT

Differences from greedy selection, from training at that length and from all bits come with intervals over seeds. The
same command again goes on where it was stopped.
"""

import sys

from absl import flags
from ml_collections import config_flags

from drlhash_jax.commands.config_files import complete_config
from drlhash_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Configuration of the ablation: a file, or the name of one that comes with the package. "
    "--config.FIELD=VALUE overrides a field, e.g. --config.ablate.seeds=0,1.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the ablation.")


def complete_arguments(argv: list[str]) -> list[str]:
    """The arguments with the path of the configuration's file; from here on the fields in them are known."""
    return complete_config(argv, "ablate_digits")


def run() -> None:
    """Runs the ablation, and prints the paths of what was written."""
    if not _WORKDIR.value:
        raise UserError("ablate needs --workdir=DIR")
    # Imported here: --help is answered without waiting for it.
    from drlhash_jax import terminal
    from drlhash_jax.ablation import ablate

    say = lambda text: print(text, file=sys.stderr, flush=True)
    with terminal.StopSignals() as signals:
        paths = ablate(_CONFIG.value, _WORKDIR.value, say=say, stop_requested=lambda: signals.received)
    print("written:", *(f"  {path}" for path in paths), sep="\n")
