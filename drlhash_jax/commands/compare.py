"""``compare``: methods and rivals on equal terms, searched with one budget, in one table and one page.

    python -m drlhash_jax.main compare --config=configs/compare_digits.py --workdir=OUT [--jobs=N]

Every method is trained with the encoder, budget, splits and seeds of the configuration, after its settings were
searched on held-out training rows. The same command again goes on where it was stopped, method by method.
"""

import sys

from absl import flags
from ml_collections import config_flags

from drlhash_jax.commands.config_files import complete_config
from drlhash_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    help_string="Configuration of the comparison: a file, or the name of one that comes with the package. "
    "--config.FIELD=VALUE overrides a field, e.g. --config.compare.seeds=0.",
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the comparison.")
_JOBS = flags.DEFINE_integer("jobs", 1, "Methods that run at a time, each in a process of its own.", lower_bound=1)


def complete_arguments(argv: list[str]) -> list[str]:
    """The arguments with the path of the configuration's file; from here on the fields in them are known."""
    return complete_config(argv, "compare_digits")


def run() -> None:
    """Compares, and prints the paths of what was written."""
    if not _WORKDIR.value:
        raise UserError("compare needs --workdir=DIR")
    # Imported here: --help is answered without waiting for it.
    from drlhash_jax import terminal
    from drlhash_jax.comparison import compare

    say = lambda text: print(text, file=sys.stderr, flush=True)
    with terminal.StopSignals() as signals:
        paths = compare(
            _CONFIG.value, _WORKDIR.value, jobs=_JOBS.value, say=say, stop_requested=lambda: signals.received
        )
    print("written:", *(f"  {path}" for path in paths), sep="\n")
