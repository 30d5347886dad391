"""The figures of a report that are made of lines and points: runs on one dataset in, files and captions out.

A function returns None, or no figures, where there is nothing to draw, and adds a note where a reader would miss it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax import figures
from drlhash_jax.figures import FigureFiles, Level, Point, Series
from drlhash_jax.report.measures import CodeCurves, code_curves, mean_curves, mean_scalars, rank_grid
from drlhash_jax.report.records import POOL, Record, Runs
from drlhash_jax.report.tables import SELECTOR_TITLES, Table, panels_of, selector_title
from drlhash_jax.runs.finished import REWARDS, read_learning_curves, read_run_codes

# Stored mAP has six digits, and float32 sums differ a little from machine to machine.
_MAP_TOLERANCE = 1e-4
_PARTS = "Where there are more than five curves, they are drawn in parts on the same axes."

Say = Callable[[str], None]


class Figure(NamedTuple):
    """A figure on the page.

    Attributes:
      name: of its files, without ending.
      title: above it.
      caption: below it: what it shows, and how the numbers are defined.
      files: on disk.
      photographs: whether it shows any.
    """

    name: str
    title: str
    caption: str
    files: FigureFiles
    photographs: bool = False


def over(runs: Sequence[object]) -> str:
    """How many runs a mean is over."""
    return "one run" if len(runs) == 1 else f"mean over {len(runs)} runs"


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n - 1); None for a single value."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _pool_levels(runs: Runs) -> dict[str, Level]:
    """mAP of all bits of the pool, where there is one kind of pool and bits were chosen from it."""
    values = [record.run.pool["map"] for record in runs.records]
    if not runs.alike or None in values or not any(record.run.orders for record in runs.records):
        return {}
    return {runs.pool_names[0]: Level(float(np.mean(values)), spread(values))}


def _summary_panels(every: Sequence[Runs], tables: Sequence[Table], value: str) -> dict[str, dict[str, Series]]:
    """A panel for each dataset, names as figures have them, in their order."""
    drawn = panels_of([table for table in tables if table.value == value])
    panels = {}
    for runs in every:
        labels = {runs.name_of(row): runs.label_of(row) for row in runs.rows}
        found = drawn.get(str(runs.group), {})
        names = [name for name in runs.sorted_names(runs.rows) if labels[name] in found]
        if names:
            panels[str(runs.group)] = {name: found[labels[name]] for name in names}
    return panels


def draw_summaries(folder: Path, every: Sequence[Runs], tables: Sequence[Table]) -> dict[str, list[Figure]]:
    """What result rows alone give: mAP and precision within radius 2 against the number of bits.

    Args:
      folder: of the files.
      every: the runs, dataset by dataset.
      tables: of both values.

    Returns:
      Heading -> figures.
    """
    seeds = f"Error bars: standard deviation (n - 1) over seeds, where there are several. {_PARTS}"
    first = [runs.sorted_names(runs.rows)[0] for runs in every]
    drawn = {}
    if by_bits := _summary_panels(every, tables, "map"):
        levels = {str(runs.group): _pool_levels(runs) for runs in every if str(runs.group) in by_bits}
        files = figures.plot_map_bits(folder / "map_bits", by_bits, levels, first)
        caption = (
            "Mean over queries of average precision, its exact expectation over random order of equal distances. "
            f"{seeds} The horizontal line, with its band over seeds, is what all bits of the pool give. Random: mean "
            "of its draws; the band around it is one standard deviation over draws."
        )
        drawn["mAP against code length"] = [Figure("map_bits", "Every way to get the bits", caption, files)]
    if by_bits := _summary_panels(every, tables, "precision_radius2"):
        files = figures.plot_precision_radius2(folder / "precision_radius2", by_bits, first)
        caption = (
            "Thesis Fig. 4.2. P@H<=2: mean precision within Hamming distance 2, an empty ball counting 0: it falls "
            f"where codes are so long that balls are empty. {seeds}"
        )
        drawn["Precision within radius 2"] = [Figure("precision_radius2", "By code length", caption, files)]
    return drawn


class _Measured(NamedTuple):
    """A result row, and the curves of its codes."""

    row: dict
    curves: CodeCurves


def _codes_of(record: Record, row: dict) -> list[tuple[np.ndarray, np.ndarray]] | None:
    """Codes of queries and database of a result row, one pair for each draw; None where they are not stored."""
    query, database = record.codes["query"], record.codes["database"]
    if row["role"] == "pool":
        return [(query, database)]
    if row["role"] == "selected":
        orders = record.run.orders.get((row["bits"], row["selector"]))
        return orders and [(query[:, order], database[:, order]) for order in orders]
    parts = [read_run_codes(record.run, f"direct_{row['bits']:03d}_{part}") for part in ("query", "database")]
    return None if any(part is None for part in parts) else [tuple(parts)]


def _measure(record: Record, runs: Runs, ranks: Sequence[int], notes: list[str]) -> list[_Measured] | None:
    """Curves of a run's rows, draws averaged; None where its data give other numbers than the run found."""
    top_k = None if runs.group.map_at == "all" else int(runs.group.map_at)
    found, path = [], record.run.path
    for row in record.run.rows:
        codes = _codes_of(record, row)
        if codes is None:
            notes.append(f"{path}: no curves of {row['bits']} bits, {runs.name_of(row)}; it stored no codes of them")
            continue
        curves = mean_curves([code_curves(*pair, *record.labels, ranks, top_k) for pair in codes])
        if row["map"] is not None and abs(curves.map - row["map"]) > _MAP_TOLERANCE:
            notes.append(
                f"{path}: no figure that needs labels or images. With its data {row['bits']} bits, "
                f"{runs.name_of(row)}, have mAP {curves.map:.6f}, and the run found {row['map']}: data or codes have "
                "changed since"
            )
            return None
        found.append(_Measured(row, curves))
    return found


class Curves(NamedTuple):
    """Curves of the runs on one dataset.

    Attributes:
      runs: the runs, without the data of those whose data have changed.
      ranks: of precision among the first rows.
      measured: the rows of all runs that could be measured.
    """

    runs: Runs
    ranks: tuple[int, ...]
    measured: list[_Measured]


def measure_curves(runs: Runs, notes: list[str], say: Say) -> Curves:
    """Measures the codes of every result row, where the labels are known.

    Args:
      runs: on one dataset.
      notes: what could not be measured is added here.
      say: told what is going on.

    Returns:
      Curves.
    """
    if not runs.labelled:
        return Curves(runs, (), [])
    ranks = rank_grid(min(len(record.codes["database"]) for record in runs.labelled))
    records, measured = [], []
    for record in runs.records:
        own = None
        if record.data is not None:
            say(f"curves of {record.run.path}")
            own = _measure(record, runs, ranks, notes)
        records.append(record if own is not None else record._replace(data=None))
        measured += own or []
    return Curves(runs._replace(records=records), ranks, measured)


def curve_panels(curves: Curves, series: Callable[[CodeCurves], Series]) -> dict[str, dict[str, Series]]:
    """A panel for each length, with the whole pools for comparison; names in one order everywhere, so in one colour."""
    runs = curves.runs
    pools = [each for each in curves.measured if each.row["role"] == "pool"]
    others = [each for each in curves.measured if each.row["role"] != "pool"]
    names = runs.sorted_names([each.row for each in others or pools])
    panels: dict[str, dict[str, Series]] = {}
    for bits in sorted({each.row["bits"] for each in others or pools}):
        named: dict[str, list[CodeCurves]] = {name: [] for name in names}
        for each in curves.measured:
            if each.row["bits"] == bits and (each.row["role"] != "pool" or not others):
                named[runs.name_of(each.row)].append(each.curves)
            elif others and each.row["role"] == "pool":
                named.setdefault(runs.pool_name(each.row), []).append(each.curves)
        panels[f"{bits} bits"] = {name: series(mean_curves(each)) for name, each in named.items() if each}
    return panels


def draw_curves(folder: Path, curves: Curves) -> dict[str, list[Figure]]:
    """Precision against recall, and precision among the first n rows.

    Args:
      folder: of the files.
      curves: of the runs on one dataset.

    Returns:
      Heading -> figures.
    """
    if not curves.measured:
        return {}
    runs = curves.runs
    means = f"Means over the queries that have anything to find; {over(runs.labelled)}. {_PARTS}"
    pools = runs.pool_names
    # Several methods leave no room for more.
    repeated = [runs.sorted_names(runs.rows)[0], *pools] if runs.alike else pools[:2]

    def figure(plot: Callable, name: str, series: Callable[[CodeCurves], Series], text: str) -> list[Figure]:
        name = f"{name}-{runs.slug}"
        files = plot(folder / name, curve_panels(curves, series), repeated, pools)
        return [Figure(name, str(runs.group), f"{text} {means}", files)]

    return {
        "Precision and recall": figure(
            figures.plot_precision_recall,
            "precision_recall",
            lambda each: Series(each.recall, each.precision),
            "Thesis Fig. 4.1. One point for every Hamming radius 0 .. K: precision and recall within it. A ball that "
            "holds no row has precision 0, so that curves may begin low.",
        ),
        "Precision among the first rows": figure(
            figures.plot_precision_at_n,
            "precision_at_n",
            lambda each: Series(curves.ranks, each.precision_at),
            "Thesis Fig. 4.3. P@N: share of relevant rows among the first n, its expectation over random order of "
            "equal distances.",
        ),
    }


def _rewards(records: Sequence[Record], bits: int, selector: str) -> list[float]:
    """Rewards of a selector at a length, over all runs and draws."""
    rows = [record.run.selected(bits, selector) for record in records]
    return [reward for row in rows if row for reward in row["rewards"]]


def _reward_levels(records: Sequence[Record], bits: int) -> dict[str, Level]:
    """Rewards that greedy and random selection reach at a length."""
    greedy, random = _rewards(records, bits, "greedy"), _rewards(records, bits, "random")
    levels = {"greedy": Level(float(np.mean(greedy)))} if greedy else {}
    if len(random) > 1:
        levels["random ± sd"] = Level(float(np.mean(random)), spread(random))
    return levels


_Learned = list[tuple[Record, dict[str, np.ndarray]]]


def _learned(runs: Runs, notes: list[str]) -> dict[tuple[int, str], _Learned]:
    """Number of bits and title of a panel -> the runs that belong there, with their learning curves."""
    grouped: dict[tuple[int, str], _Learned] = {}
    for record in runs.records:
        curves = read_learning_curves(record.run)
        chosen = {bits: each for bits, each in curves.items() if record.run.selected(bits, "ppo")}
        for bits, each in chosen.items():
            grouped.setdefault((bits, runs.length_title(record, bits)), []).append((record, each))
        if not chosen and any(selector == "ppo" for _, selector in record.run.orders):
            notes.append(f"{record.run.path}: no learning curves; its metrics.jsonl has no stage selection_*_ppo")
    return grouped


def draw_learning(folder: Path, runs: Runs, notes: list[str]) -> Figure | None:
    """Rewards of PPO while it learns, beside those of greedy and random selection."""
    panels, levels = {}, {}
    learned = _learned(runs, notes)
    for (bits, title), having in sorted(learned.items(), key=lambda each: each[0]):
        scalars = [each for _, each in having]
        mean, mode, best = (mean_scalars(scalars, name) for name in REWARDS)
        # Every update costs as many rewards as another: its episodes and the most probable one.
        spent = having[0][0].run.selected(bits, "ppo")["map_evaluations"] / len(scalars[0]["mean_reward"])
        x = spent * (np.arange(len(mean)) + 1)
        lines = {"mean of the episodes": mean, "most probable subset": mode, "best so far": best}
        panels[title] = {name: Series(x, values) for name, values in lines.items()}
        levels[title] = _reward_levels([record for record, _ in having], bits)
    if not panels:
        return None
    name = f"learning-{runs.slug}"
    files = figures.plot_learning(folder / name, panels, levels)
    caption = (
        "What the subsets of PPO earn while it learns, against the number of rewards computed so far. Horizontal lines "
        "are what others reach on the same reward; the band is one standard deviation of random subsets. A reward is "
        "the mAP of a subset of bits on training rows, some of them as queries and others as the database: it is "
        f"not the mAP of the tables. {over(max(learned.values(), key=len)).capitalize()}."
    )
    return Figure(name, str(runs.group), caption, files)


class _Worth(NamedTuple):
    """A selection of one run: its rewards, draw by draw, and its result row."""

    rewards: list[float]
    row: dict


def _point(found: Sequence[_Worth]) -> Point:
    """Means over runs; spreads over runs, of a single one over its draws."""
    rewards, maps = [float(np.mean(each.rewards)) for each in found], [each.row["map"] for each in found]
    if len(found) == 1:
        return Point(rewards[0], maps[0], spread(found[0].rewards), found[0].row.get("map_sd"))
    return Point(float(np.mean(rewards)), float(np.mean(maps)), spread(rewards), spread(maps))


def draw_rewards(folder: Path, runs: Runs) -> Figure | None:
    """What the chosen bits earned when they were chosen, against their mAP on the queries."""
    found: dict[str, dict[str, list[_Worth]]] = {}
    names = [*SELECTOR_TITLES.values(), POOL]
    for record in runs.records:
        pool = record.run.pool
        for row in record.run.rows:
            chosen = record.run.selected(row["bits"], row["selector"])
            if row["role"] != "selected" or chosen is None or row["map"] is None or pool["map"] is None:
                continue
            panel = found.setdefault(runs.length_title(record, row["bits"]), {name: [] for name in names})
            panel.setdefault(selector_title(row["selector"]), []).append(_Worth(chosen["rewards"], row))
            whole = panel[POOL]
            if not any(each.row is pool for each in whole):
                whole.append(_Worth([record.run.selection["reward"]["all_bits"]], pool))
    if not found:
        return None
    panels = {title: {name: _point(each) for name, each in named.items() if each} for title, named in found.items()}
    name = f"reward_map-{runs.slug}"
    kinds = dict.fromkeys(
        str(record.run.selection["reward"].get("codes")) for record in runs.records if record.run.orders
    )
    caption = (
        "Whether the reward leads to better codes. Across: the reward of the chosen bits, which is their mAP on "
        f"training rows (reward.codes: {', '.join(kinds)}). Up: mAP of the same bits on the queries. Where points rise "
        "from left to right, more reward means better codes. Error bars: standard deviation over seeds; with one seed, "
        f"over the draws of random. {over(max((each[POOL] for each in found.values()), key=len)).capitalize()}."
    )
    # Styles are those of the curves of one method.
    styles = runs.sorted_names(runs.rows) if runs.alike else names
    files = figures.plot_reward_map(folder / name, panels, styles, [POOL])
    return Figure(name, str(runs.group), caption, files)
