"""The closing tables of an evaluation."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

# Radii that fit beside each other; the file has all.
_SHOWN_RADII = 4
_DENOMINATORS = {"min": "min(relevant, R)", "all": "relevant", "retrieved": "relevant among R"}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _table(title: str, columns: dict[str, str]) -> Table:
    """An empty table; columns are name -> justification."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name, justify in columns.items():
        table.add_column(name, justify=justify)
    return table


def _cut(map_at: int | None) -> str:
    return "all" if map_at is None else str(map_at)


def _between(ends: list[float]) -> str:
    return " to ".join(f"{end:.3f}" for end in ends)


def _map_cells(row: dict) -> tuple[str, str, str, str]:
    """mAP, its interval, its bounds over ties, and its value with ties in database order."""
    bounds = _between([row["map_pessimistic"], row["map_optimistic"]])
    return _number(row["map"]), _between(row["map_interval"]), bounds, _number(row["map_stable"])


def _map_table(values: dict) -> Table:
    size = f"{values['n_query']} queries x {values['n_database']} rows, {values['bits']} bits"
    names = ("expected", "95 % interval", "bounds over ties", "stable ties")
    columns = {"divided by": "left"} | dict.fromkeys(names, "right")
    table = _table(f"mAP@{_cut(values['map_at'])}: {size}", columns)
    for denominator, row in values["by_denominator"].items():
        table.add_row(_DENOMINATORS[denominator], *_map_cells(row))
    for denominator, value in values.get("asymmetric", {}).items():
        table.add_row(f"asymmetric, {_DENOMINATORS[denominator]}", "-", "-", "-", _number(value))
    return table


def _rank_table(values: dict) -> Table:
    by_rank = values["by_rank"]
    titles = {"precision": "P@N", "recall": "recall@N", "ndcg": "NDCG@N"}
    table = _table("the first N rows", {"N": "right"} | {titles[name]: "right" for name in titles if name in by_rank})
    for place, rank in enumerate(by_rank["rank"]):
        table.add_row(str(rank), *(_number(by_rank[name][place]) for name in titles if name in by_rank))
    return table


def _radius_table(values: dict) -> Table:
    table = _table("rows within distance r", dict.fromkeys(("r", "P@H<=r", "recall", "empty balls"), "right"))
    curve = values["precision_recall_by_radius"]
    for place, radius in enumerate(curve["radius"][:_SHOWN_RADII]):
        cells = (_number(curve[name][place]) for name in ("precision", "recall", "empty_balls"))
        table.add_row(str(radius), *cells)
    return table


def _convention_table(values: dict) -> Table:
    columns = {"convention": "left", "mAP": "right", "repository": "left"}
    table = _table("what other repositories would print", columns)
    for name, row in values["reproduce"].items():
        table.add_row(name, _number(row["map"]), row["source"].split(",")[0])
    for name, why in values["reproduce_left_out"].items():
        table.add_row(name, "-", why)
    return table


def _health_table(values: dict) -> Table:
    columns = ("codes of", "distinct", "fullest bucket", "bit entropy", "mean |phi|", "constant bits", "collisions")
    table = _table("code health", dict.fromkeys(columns, "right"))
    for name, part in values["code_health"].items():
        rate = part["collisions"]["sharing_rate"]
        shared = "" if rate is None else f", {100 * rate:.1f} % share a label"
        table.add_row(
            *(name, f"{part['distinct_codes']} of {part['rows']}", str(part["largest_bucket"])),
            *(_number(part["bit_entropy"]["mean"]), _number(part["correlation"]["mean_absolute"])),
            *(str(len(part["constant_bits"])), f"{part['collisions']['pairs']}{shared}"),
        )
    return table


def evaluation_tables(values: dict) -> list[Table]:
    """Tables of an evaluation of one set of codes, as in its metrics.json."""
    tables = [_map_table(values), _rank_table(values), _radius_table(values)]
    if "reproduce" in values:
        tables.append(_convention_table(values))
    return [*tables, _health_table(values)]


def run_evaluation_tables(results: list[dict]) -> list[Table]:
    """Tables of the results of eval.json: one row for each set of bits, and the conventions of others on the pool."""
    first = results[0]
    title = f"mAP@{_cut(first['map_at'])} on {first['dataset']}, protocol {first['protocol']}, seed {first['seed']}"
    numbers = ("mAP", "95 % interval", "bounds over ties", "stable", "P@H<=2", "empty", "distinct codes")
    columns = {"bits": "right", "selector": "left"} | dict.fromkeys(numbers, "right")
    table = _table(title, columns)
    for row in results:
        table.add_row(
            *(str(row["bits"]), "all bits" if row["role"] == "pool" else row["selector"]),
            *_map_cells(row),
            *(_number(row[name]) for name in ("precision_radius2", "empty_balls")),
            str(row["code_health"]["database"]["distinct_codes"]),
        )
    return [table, _convention_table(first)] if "reproduce" in first else [table]
