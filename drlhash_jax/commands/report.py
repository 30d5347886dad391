"""``report``: finished runs as tables, figures and one page.

    python -m drlhash_jax.main report --runs=DIR[,DIR...] --out=OUT [--robustness]

OUT gets report.html, which holds everything; tables as Markdown, LaTeX and CSV; figures as PDF, PNG and CSV. Data of
the runs are read again for figures that need labels or images; where they are not to be had, the page says so.
"""

import sys

from absl import flags

from drlhash_jax.errors import UserError

_RUNS = flags.DEFINE_list("runs", [], "Directories of runs, or folders of them, with commas between.")
_OUT = flags.DEFINE_string("out", None, "Directory of the report; an earlier report in it is replaced.")
_ROBUSTNESS = flags.DEFINE_bool("robustness", False, "Attack the images of runs on colour images, for minutes.")


def run() -> None:
    """Writes the report, and says what could not be shown."""
    if not _RUNS.value or not _OUT.value:
        raise UserError("report needs --runs=DIR[,DIR...] and --out=DIR")
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax.report import write_report

    say = lambda text: print(text, file=sys.stderr)
    written, notes = write_report(_RUNS.value, _OUT.value, _ROBUSTNESS.value, say)
    for note in notes:
        say(f"missing: {note}")
    print("written:", *(f"  {path}{'/' if path.is_dir() else ''}" for path in written), sep="\n")
