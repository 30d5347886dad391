"""``report``: finished runs as tables, figures and one page.

    python -m drlhash_jax.main report --runs=DIR[,DIR...] --out=OUT [--robustness]

OUT gets report.html, which holds everything; tables as Markdown, LaTeX and CSV; figures as PDF, PNG and CSV. Figures
that need labels or images read the data of the runs again; where those are gone or were changed, the page says so.
"""

import sys

from absl import flags

from drlhash_jax.errors import UserError

_RUNS = flags.DEFINE_list(
    "runs", [], "Directories of finished runs, or folders of such directories, separated by commas."
)
_OUT = flags.DEFINE_string("out", None, "Directory of the report; an earlier report in it is replaced.")
_ROBUSTNESS = flags.DEFINE_bool("robustness", False, "Also attack the images of runs on colour images; takes minutes.")


def run() -> None:
    """Writes the report, and prints what could not be shown and where the report is."""
    if not _RUNS.value or not _OUT.value:
        raise UserError("report needs --runs=DIR[,DIR...] and --out=DIR")
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax.report import write_report

    say = lambda text: print(text, file=sys.stderr)
    written, notes = write_report(_RUNS.value, _OUT.value, _ROBUSTNESS.value, say)
    for note in notes:
        say(f"missing: {note}")
    print("written:", *(f"  {path}{'/' if path.is_dir() else ''}" for path in written), sep="\n")
