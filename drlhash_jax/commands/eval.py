r"""``eval``: every retrieval number of finished codes, without training anything.

    python -m drlhash_jax.main eval --workdir=RUN
    python -m drlhash_jax.main eval --query_codes=Q --database_codes=D --query_labels=QL --database_labels=DL \
      --workdir=OUT

The first measures a finished run again, its pool and all its selections, and writes RUN/eval.json. The second takes
codes of any software and writes OUT/metrics.json. Files are FILE.npy, FILE.npz:KEY or FILE.safetensors:KEY.
"""

from pathlib import Path

from absl import flags

from drlhash_jax.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the finished run, or of metrics.json for other codes.")
_QUERY_CODES = flags.DEFINE_string("query_codes", None, "Codes of the queries: {0,1}, {-1,1}, bool or packed.")
_QUERY_LOGITS = flags.DEFINE_string("query_logits", None, "In place of query_codes: real outputs, ranked as such too.")
_DATABASE_CODES = flags.DEFINE_string("database_codes", None, "Codes of the database.")
_QUERY_LABELS = flags.DEFINE_string("query_labels", None, "Labels of the queries: integers [N] or multi-hot [N, C].")
_DATABASE_LABELS = flags.DEFINE_string("database_labels", None, "Labels of the database.")
_CODES = flags.DEFINE_enum(
    "codes",
    "auto",
    ["auto", "bits", "signs", "packed", "logits"],
    "What files of codes hold: bits {0,1}, signs {-1,1}, eight bits per byte (packed), or logits (queries only).",
)
_BITS = flags.DEFINE_integer("bits", None, "Number of bits of a packed code.", lower_bound=1)
_BIT_ORDER = flags.DEFINE_enum(
    "bit_order", None, ["msb", "lsb"], "Where a packed byte has its first bit; msb by default."
)
_TOP_K = flags.DEFINE_integer(
    "top_k",
    None,
    "Ranks that count in mAP; 0 for all. By default the run's own, or all for other codes.",
    lower_bound=0,
)
_RANKS = flags.DEFINE_list(
    "ranks", None, "Ranks N of precision, recall and NDCG; by default 1,10,100,1000, as far as the database reaches."
)
_REPRODUCE = flags.DEFINE_list("reproduce", [], "Names of other repositories' conventions, or all.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the bootstrap interval.", lower_bound=0)


def _ranks() -> tuple[int, ...] | None:
    if _RANKS.value is None:
        return None
    try:
        return tuple(dict.fromkeys(int(rank) for rank in _RANKS.value))
    except ValueError as error:
        raise UserError(f"--ranks={','.join(_RANKS.value)}: give numbers, as in --ranks=1,10,100") from error


def _check_addresses() -> bool:
    """Whether files of codes are given.

    Raises:
      UserError: some of the files are missing, or a flag says how to read files where there are none.
    """
    needed = [_DATABASE_CODES, _QUERY_LABELS, _DATABASE_LABELS]
    queries = [flag for flag in (_QUERY_CODES, _QUERY_LOGITS) if flag.value]
    if not queries and not any(flag.value for flag in needed):
        about = [flag.name for flag in (_CODES, _BITS, _BIT_ORDER) if flag.present]
        if about:
            raise UserError(f"--{about[0]} says how files are read: it goes with --query_codes and --database_codes")
        return False
    missing = [f"--{flag.name}" for flag in needed if not flag.value]
    if not queries:
        missing = ["--query_codes (or --query_logits)", *missing]
    if missing:
        raise UserError(f"files of codes and labels go together: {', '.join(missing)} missing")
    if len(queries) == 2:
        raise UserError("--query_codes and --query_logits: give one; the codes of logits are their signs")
    return True


def _print_inputs(facts: dict[str, dict]) -> None:
    """What was found in the files, before it is counted on."""
    for flag, each in facts.items():
        order = f", {each['bit_order']} first" if "bit_order" in each else ""
        kind = f" x {each['bits']} bits, read as {each['kind']}{order}" if "kind" in each else ""
        print(f"--{flag}={each['file']}: {each['rows']} rows{kind}", flush=True)


def run() -> None:
    """Evaluates, prints the tables and the path of what was written."""
    if not _WORKDIR.value:
        raise UserError("eval needs --workdir: the directory of a run, or the one to write metrics.json into")
    from_files = _check_addresses()
    # Imported here: flags are answered without waiting for the array libraries to load.
    from drlhash_jax import evaluation, terminal

    options = evaluation.Options(_TOP_K.value or None, _ranks(), tuple(_REPRODUCE.value), _SEED.value)
    workdir = Path(_WORKDIR.value)
    with terminal.StopSignals() as signals:
        stop = {"stop_requested": lambda: signals.received}
        if not from_files:
            content = evaluation.evaluate_run(workdir, options, all_ranks=_TOP_K.value == 0, **stop)
            tables = terminal.run_evaluation_tables(content["results"])
        else:
            addresses = (_QUERY_CODES, _QUERY_LOGITS, _DATABASE_CODES, _QUERY_LABELS, _DATABASE_LABELS)
            files = evaluation.CodeFiles(
                *(flag.value or "" for flag in addresses), _CODES.value, _BITS.value, _BIT_ORDER.value
            )
            content = evaluation.evaluate_files(files, workdir, options, _print_inputs, **stop)
            tables = terminal.evaluation_tables(content)
    for table in tables:
        terminal.print_table(table)
    print("written:", workdir / ("metrics.json" if from_files else "eval.json"))
