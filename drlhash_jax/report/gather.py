"""From directories of runs to everything that a page shows: tables, figures with captions, and what is missing."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.report.code_maps import plot_bit_correlation, plot_tsne
from drlhash_jax.report.curves import (
    Level,
    Series,
    plot_learning,
    plot_map_bits,
    plot_precision_at_n,
    plot_precision_radius2,
    plot_precision_recall,
    plot_robustness,
)
from drlhash_jax.report.measures import (
    HEALTH_FIELDS,
    CodeCurves,
    code_curves,
    code_health,
    mean_curves,
    mean_scalars,
    rank_grid,
    relevance,
)
from drlhash_jax.report.photos import Retrieval, choose_examples, plot_retrievals
from drlhash_jax.report.tables import SELECTOR_TITLES, Group, Table, group_of, label_of, panels_of, result_tables
from drlhash_jax.report.workdirs import Coded, Record, find_runs, load_coded, load_pool, load_trained, read_record
from drlhash_jax.types import UserError

# Stored mAP has six digits, and float32 sums differ a little from machine to machine.
_MAP_TOLERANCE = 1e-4
_GOOD, _BAD, _TOP = 3, 2, 5
_MOST_QUERIES = 1000
_TSNE_ROWS, _TSNE_CLASSES = 1000, 10
_ROBUSTNESS_IMAGES = 128

Say = Callable[[str], None]


class Figure(NamedTuple):
    """A figure on the page.

    Attributes:
      name: of its files, without ending.
      title: above it.
      caption: below it: what it shows, and how the numbers are defined.
      png: path of the image.
      photographs: whether it shows any.
    """

    name: str
    title: str
    caption: str
    png: Path
    photographs: bool = False


class Health(NamedTuple):
    """Code health before and after selection on one dataset.

    Attributes:
      dataset: its name.
      runs: that were averaged.
      rows: what the codes are, and the means over runs of `HEALTH_FIELDS`, in their order.
    """

    dataset: str
    runs: int
    rows: list[tuple[str, list[float]]]


class Findings(NamedTuple):
    """What runs gave.

    Attributes:
      records: the runs.
      tables: of mAP, then of precision within radius 2.
      figures: heading -> figures.
      health: one a dataset.
      notes: what could not be shown, and why.
    """

    records: list[Record]
    tables: list[Table]
    figures: dict[str, list[Figure]]
    health: list[Health]
    notes: list[str]


class _Runs(NamedTuple):
    """Runs on one dataset.

    Attributes:
      group: dataset, protocol and cut-off of all of them.
      slug: the dataset's name as part of a file's.
      records: the runs.
      coded: codes and labels of those whose data could be loaded.
    """

    group: Group
    slug: str
    records: list[Record]
    coded: list[tuple[Record, Coded]]

    @property
    def example(self) -> tuple[Record, Coded]:
        """The run that examples are taken from."""
        return self.coded[0]


def read_records(folders: Sequence[str]) -> list[Record]:
    """Finds and reads runs, and refuses what no report holds together.

    Args:
      folders: see `find_runs`.

    Returns:
      The runs, by dataset in order of appearance.

    Raises:
      UserError: as in `find_runs` and `read_run`, a run of several datasets, or runs on one dataset whose protocols or
        cut-offs differ.
    """
    groups: dict[str, tuple[Group, list[Record]]] = {}
    for record in map(read_record, find_runs(folders)):
        own = {group_of(row) for row in record.run.rows}
        if len(own) != 1:
            raise UserError(f"{record.path} holds {len(own)} combinations of dataset, protocol and cut-off, not one")
        group = own.pop()
        first, members = groups.setdefault(group.dataset, (group, []))
        if first != group:
            raise UserError(
                f"{members[0].path} is of {first} and {record.path} of {group}: no report compares both; "
                "make one of each"
            )
        members.append(record)
    return [record for _, members in groups.values() for record in members]


def _slugs(names: Sequence[str]) -> list[str]:
    """Names as parts of file names, all different."""
    found: list[str] = []
    for name in names:
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60] or "data"
        while slug in found:
            slug += "-"
        found.append(slug)
    return found


def _over(runs: Sequence[object]) -> str:
    return "one run" if len(runs) == 1 else f"the mean over {len(runs)} runs"


def _main_selector(record: Record) -> str | None:
    """PPO, or the first selector that the run has; None without any."""
    selectors = [selector for _, selector in record.orders]
    return "ppo" if "ppo" in selectors else next(iter(selectors), None)


def _lengths(record: Record) -> list[int]:
    """Lengths that the main selector chose, shortest first."""
    return sorted(bits for bits, selector in record.orders if selector == _main_selector(record))


def _title(selector: str) -> str:
    return SELECTOR_TITLES.get(selector, selector)


def _collect(records: Sequence[Record], notes: list[str]) -> list[_Runs]:
    """Runs by dataset, with codes and labels where the data can be loaded; where not, a note."""
    by_group: dict[Group, list[Record]] = {}
    for record in records:
        by_group.setdefault(group_of(record.run.rows[0]), []).append(record)
    found = []
    for (group, members), slug in zip(by_group.items(), _slugs([group.dataset for group in by_group])):
        coded = []
        for record in members:
            try:
                coded.append((record, load_coded(record)))
            except UserError as error:
                notes.append(f"{record.path}: no figure that needs labels or images. {error}")
        found.append(_Runs(group, slug, members, coded))
    return found


def _codes_of_rows(record: Record, coded: Coded) -> Iterator[tuple[dict, list[tuple[np.ndarray, np.ndarray]]]]:
    """Result rows with their codes, a (query, database) pair a draw; rows whose codes are not stored are left out."""
    for row in record.run.rows:
        if row["selector"] != "none":
            orders = record.orders.get((row["bits"], row["selector"]), [])
            yield row, [(coded.query[:, order], coded.database[:, order]) for order in orders]
        elif row["bits"] == row["pool_bits"] == coded.query.shape[1]:
            yield row, [(coded.query, coded.database)]
        elif trained := load_trained(record.path, row["bits"]):
            yield row, [trained]


def _curves_of(
    runs: _Runs, ranks: Sequence[int], notes: list[str], say: Say
) -> dict[tuple[int, str], list[CodeCurves]]:
    """(bits, label) -> curves of each run, draws averaged. A run whose data give other numbers is left out."""
    encoders = {row["encoder"] for record in runs.records for row in record.run.rows}
    top_k = None if runs.group.map_at == "all" else int(runs.group.map_at)
    found: dict[tuple[int, str], list[CodeCurves]] = {}
    for record, coded in list(runs.coded):
        say(f"curves of {record.path}")
        labels = coded.query_labels, coded.database_labels
        for row, codes in _codes_of_rows(record, coded):
            if not codes:
                continue
            curves = mean_curves([code_curves(*pair, *labels, ranks, top_k) for pair in codes])
            if row["map"] is None or abs(curves.map - row["map"]) > _MAP_TOLERANCE:
                notes.append(
                    f"{record.path}: no figure that needs labels or images. Its data give mAP {curves.map:.6f} where "
                    f"the run found {row['map']}: they have changed since, or the codes have"
                )
                runs.coded.remove((record, coded))
                break
            found.setdefault((row["bits"], label_of(row, encoders)), []).append(curves)
    return found


def _panels(
    curves: dict[tuple[int, str], list[CodeCurves]], pool_bits: int, series: Callable[[CodeCurves], Series]
) -> dict[str, dict[str, Series]]:
    """A panel a length, the whole pool for comparison in each."""
    pool = [(f"all {bits} bits", curve) for (bits, _), curve in curves.items() if bits == pool_bits]
    panels: dict[str, dict[str, Series]] = {}
    for bits in sorted({bits for bits, _ in curves}):
        if bits == pool_bits and len({bits for bits, _ in curves}) > 1:
            continue
        own = [(label, curve) for (length, label), curve in curves.items() if length == bits]
        named = own + pool[:1] if bits != pool_bits else own
        panels[f"{bits} bits"] = {label: series(mean_curves(curve)) for label, curve in named}
    return panels


def _curve_figures(folder: Path, runs: _Runs, notes: list[str], say: Say) -> dict[str, list[Figure]]:
    """Precision against recall, and precision at n."""
    if not runs.coded:
        return {}
    ranks = rank_grid(min(len(coded.database) for _, coded in runs.coded))
    curves = _curves_of(runs, ranks, notes, say)
    if not runs.coded:
        return {}
    pool_bits = max(bits for bits, _ in curves)
    over = f"{runs.group}; means over the queries with anything to find, then {_over(runs.coded)}."
    draw = lambda plot, name, series: plot(folder / f"{name}-{runs.slug}", _panels(curves, pool_bits, series))[1]
    recall = draw(plot_precision_recall, "precision_recall", lambda each: Series(each.recall, each.precision))
    at = draw(plot_precision_at_n, "precision_at_n", lambda each: Series(ranks, each.precision_at))
    return {
        "Precision and recall": [
            Figure(
                f"precision_recall-{runs.slug}",
                str(runs.group),
                "Thesis Fig. 4.1. One point for every Hamming radius 0 .. K: mean precision and mean recall within it; "
                f"a ball that holds no row has precision 0, so curves may start low. {over}",
                recall,
            )
        ],
        "Precision among the first rows": [
            Figure(
                f"precision_at_n-{runs.slug}",
                str(runs.group),
                "Thesis Fig. 4.3. P@N: share of relevant rows among the first n, its expectation over random order of "
                f"equal distances. {over}",
                at,
            )
        ],
    }


def _pool_levels(tables: Sequence[Table], records: Sequence[Record]) -> dict[str, dict[str, Level]]:
    """What all bits of the pool give, as horizontal lines of the panels."""
    levels: dict[str, dict[str, Level]] = {}
    for record in records:
        encoders = {row["encoder"] for other in records for row in other.run.rows}
        for row in record.run.rows:
            if row["selector"] != "none" or row["bits"] != row["pool_bits"]:
                continue
            group = group_of(row)
            for table in tables:
                for method in table.methods:
                    cell = table.cells.get((method, group, row["bits"]))
                    if method.name in {label_of(row, []), label_of(row, encoders)} and cell and cell.mean is not None:
                        levels.setdefault(str(group), {})[f"all {row['bits']} bits"] = Level(cell.mean, cell.sd)
    return levels


def _summary_figures(folder: Path, findings: Findings) -> dict[str, list[Figure]]:
    """What result rows alone give: mAP and precision within radius 2 against the number of bits."""
    figures = {}
    seeds = "Error bars: standard deviation (n - 1) over seeds, where there are several."
    by_value = {
        value: [table for table in findings.tables if table.value == value] for value in ("map", "precision_radius2")
    }
    panels = {title: named for title, named in panels_of(by_value["map"]).items() if named}
    if panels:
        levels = _pool_levels(by_value["map"], findings.records)
        png = plot_map_bits(folder / "map_bits", panels, {title: levels[title] for title in panels if title in levels})[
            1
        ]
        caption = (
            "Mean over queries of average precision, its exact expectation over random order of equal distances. "
            f"The dashed line is what all bits of the pool give. {seeds} Random: the mean of its draws."
        )
        figures["mAP against code length"] = [Figure("map_bits", "Every way to get the bits", caption, png)]
    panels = {title: named for title, named in panels_of(by_value["precision_radius2"]).items() if named}
    if panels:
        png = plot_precision_radius2(folder / "precision_radius2", panels)[1]
        caption = (
            "Thesis Fig. 4.2. P@H<=2: mean precision within Hamming distance 2, an empty ball counting 0: it falls "
            f"for long codes, whose balls are empty. {seeds}"
        )
        figures["Precision within radius 2"] = [Figure("precision_radius2", "By code length", caption, png)]
    return figures


def _class_names(coded: Coded, row: int) -> str:
    """Names of a row's classes, two at most."""
    label = coded.dataset.labels[row]
    numbers = np.flatnonzero(label) if np.ndim(label) else np.array([label])
    named = [coded.dataset.classes[n] if coded.dataset.classes else f"class {n}" for n in numbers[:2].tolist()]
    return ", ".join(named) + (" ..." if len(numbers) > 2 else "")


def _is_images(coded: Coded) -> bool:
    return coded.dataset.inputs is not None and coded.dataset.inputs.ndim == 4


def _retrievals(folder: Path, runs: _Runs) -> Figure | None:
    record, coded = runs.example
    if not _is_images(coded):
        return None
    selector, lengths = _main_selector(record), _lengths(record)
    order = record.orders[lengths[-1], selector][0] if lengths else slice(None)
    what = f"{lengths[-1]} bits by {_title(selector)}" if lengths else f"all {coded.query.shape[1]} bits"
    relevant = relevance(coded.query_labels[:_MOST_QUERIES], coded.database_labels)
    num_counted, top = int(relevant.any(axis=1).sum()), min(_TOP, relevant.shape[1])
    good = min(_GOOD, num_counted)
    bad = min(_BAD, num_counted - good)
    if not good:
        return None
    query, database = coded.query[:_MOST_QUERIES, order], coded.database[:, order]
    inputs, examples = coded.dataset.inputs, []
    for at, found, distances, is_good in choose_examples(query, database, relevant, good, bad, top):
        rows = [coded.rows["query"][at], *coded.rows["database"][found]]
        names = [coded.dataset.paths[row] if coded.dataset.paths else int(row) for row in rows]
        title = f"{'good' if is_good else 'bad'}\n{_class_names(coded, rows[0])[:24]}"
        images = [np.asarray(inputs[row]) for row in rows]
        hits = relevant[at, found].tolist()
        examples.append(Retrieval(title, images[0], images[1:], hits, distances.tolist(), names))
    caption = (
        f"Thesis Fig. 4.4. The {top} rows found first for the queries with the most and with the fewest relevant rows "
        f"among them, out of the first {len(query)} queries of {record.path} ({what}); rows at equal distance in "
        "database order. Green and a tick: shares a label with the query. The extremes, not the average."
    )
    png = plot_retrievals(folder / f"retrievals-{runs.slug}", examples)[1]
    return Figure(f"retrievals-{runs.slug}", str(runs.group), caption, png, photographs=True)


def _reward_levels(runs: _Runs, bits: int) -> dict[str, Level]:
    """Rewards that the other ways reach at a length, over all runs."""
    rewards: dict[str, list[float]] = {}
    for record in runs.records:
        for row in record.selection.get("selections", []):
            if row["bits"] == bits:
                rewards.setdefault(row["selector"], []).extend(each for each in row["rewards"] if each is not None)
    levels = {}
    if rewards.get("greedy"):
        levels["greedy"] = Level(float(np.mean(rewards["greedy"])))
    if len(rewards.get("random", [])) > 1:
        levels["random ± sd"] = Level(float(np.mean(rewards["random"])), float(np.std(rewards["random"], ddof=1)))
    if rewards.get("best_of_random"):
        levels["best of N random"] = Level(float(np.mean(rewards["best_of_random"])))
    all_bits = [record.selection["reward"]["all_bits"] for record in runs.records if record.selection]
    return levels | {"all bits": Level(float(np.mean(all_bits)))}


def _learning(folder: Path, runs: _Runs, notes: list[str]) -> Figure | None:
    panels, levels = {}, {}
    learned = [record for record in runs.records if (record.curves and record.selection)]
    for record in runs.records:
        if record not in learned and ("ppo" in {selector for _, selector in record.orders}):
            notes.append(f"{record.path}: no learning curves; its metrics.jsonl has no stage selection_*_ppo")
    for bits in sorted({bits for record in learned for bits in record.curves}):
        having = [record for record in learned if bits in record.curves]
        scalars = [record.curves[bits] for record in having]
        spent = {
            row["map_evaluations"]
            for record in having
            for row in record.selection["selections"]
            if (row["bits"], row["selector"]) == (bits, "ppo")
        }
        mean, mode, best = (mean_scalars(scalars, name) for name in ("mean_reward", "mode_reward", "best_reward"))
        # Every update costs as many rewards as the others: its episodes and the most probable one.
        x = (np.arange(len(mean)) + 1) * (max(spent, default=len(mean)) / len(scalars[0]["mean_reward"]))
        title = f"{bits} of {having[0].selection['pool_bits']} bits"
        panels[title] = {
            "mean of the episodes": Series(x, mean),
            "most probable subset": Series(x, mode),
            "best so far": Series(x, best),
        }
        levels[title] = _reward_levels(runs, bits)
    if not panels:
        return None
    png = plot_learning(folder / f"learning-{runs.slug}", panels, levels)[1]
    caption = (
        "What PPO's subsets earn while it learns, against the number of rewards computed so far; horizontal lines are "
        "what the others reach on the same reward, the band is ± one standard deviation of random subsets. A reward is "
        "the mAP of a subset of bits on a sample of the training rows, one part asking the other: it is not the mAP "
        f"that the tables report. {_over(learned).capitalize()}."
    )
    return Figure(f"learning-{runs.slug}", str(runs.group), caption, png)


def _correlation(folder: Path, runs: _Runs) -> Figure | None:
    for record in runs.records:
        try:
            codes = load_pool(record.path, "database")
        except UserError:
            continue
        selector = _main_selector(record)
        panels = {f"all {codes.shape[1]} bits": codes}
        for bits in _lengths(record):
            panels[f"{bits} bits by {_title(selector)}"] = codes[:, np.sort(record.orders[bits, selector][0])]
        png = plot_bit_correlation(folder / f"correlation-{runs.slug}", panels)[1]
        caption = (
            "Absolute correlation (phi coefficient) of every pair of bits over the database, before and after "
            "selection; 0 is independent, 1 repeats or negates another bit. Mean: over pairs of different bits. "
            f"Chosen bits are in the pool's order. {record.path}."
        )
        return Figure(f"correlation-{runs.slug}", str(runs.group), caption, png)
    return None


def _tsne_rows(coded: Coded) -> tuple[np.ndarray, np.ndarray]:
    """Places in the database and classes of the rows to draw: rows of exactly one class, of the most frequent ones."""
    labels = coded.database_labels
    if labels.ndim == 2:
        single = np.flatnonzero((labels != 0).sum(axis=1) == 1)
        classes = np.argmax(labels[single], axis=1)
    else:
        single = np.flatnonzero(labels >= 0)
        classes = labels[single]
    frequent = np.argsort(-np.bincount(classes), kind="stable")[:_TSNE_CLASSES] if len(classes) else []
    kept = np.isin(classes, frequent)
    places, classes = single[kept], classes[kept]
    drawn = np.sort(np.random.default_rng(0).permutation(len(places))[:_TSNE_ROWS])
    return places[drawn], classes[drawn]


def _tsne(folder: Path, runs: _Runs, notes: list[str]) -> Figure | None:
    record, coded = runs.example
    places, classes = _tsne_rows(coded)
    if len(places) < 4:
        notes.append(f"{runs.group.dataset}: no t-SNE; {len(places)} rows of its database have exactly one label")
        return None
    selector, lengths = _main_selector(record), _lengths(record)
    order = np.array(record.orders[lengths[-1], selector][0]) if lengths else np.arange(coded.database.shape[1])
    what = f"{lengths[-1]} bits by {_title(selector)}" if lengths else f"all {coded.database.shape[1]} bits"
    numbers, labels = np.unique(classes, return_inverse=True)
    names = [coded.dataset.classes[n] if coded.dataset.classes else f"class {n}" for n in numbers.tolist()]
    png = plot_tsne(folder / f"tsne-{runs.slug}", coded.database[places][:, order], labels, names)[1]
    several = "with exactly one label, " if coded.database_labels.ndim == 2 else ""
    caption = (
        f"Codes of {len(places)} rows of the database in the plane by t-SNE ({what}): rows {several}of the "
        f"{len(names)} most frequent classes, drawn at random. Neighbours are meant; distances between clusters and "
        f"their sizes mean nothing. {record.path}."
    )
    return Figure(f"tsne-{runs.slug}", str(runs.group), caption, png)


def _health(runs: _Runs) -> Health | None:
    labels = {str(record.path): coded.database_labels for record, coded in runs.coded}
    measured: dict[str, list[dict[str, float]]] = {}
    count = 0
    for record in runs.records:
        try:
            codes = load_pool(record.path, "database")
        except UserError:
            continue
        count += 1
        of_rows = labels.get(str(record.path))
        measured.setdefault(f"all {codes.shape[1]} bits", []).append(code_health(codes, of_rows))
        for (bits, selector), orders in sorted(record.orders.items(), key=lambda each: each[0][0]):
            if selector in ("greedy", "random", _main_selector(record)):
                name = f"{bits} bits, {_title(selector)}"
                measured.setdefault(name, []).append(code_health(codes[:, orders[0]], of_rows))
    rows = [
        (name, [float(np.mean([each[field] for each in values])) for field in HEALTH_FIELDS])
        for name, values in measured.items()
    ]
    return Health(runs.group.dataset, count, rows) if rows else None


def _distinct_images(coded: Coded) -> np.ndarray:
    """The first query images that differ from all before, uint8 ``[n, H, W, 3]``."""
    images: dict[bytes, np.ndarray] = {}
    for row in coded.rows["query"][: 2 * _ROBUSTNESS_IMAGES]:
        image = np.asarray(coded.dataset.inputs[row])
        images.setdefault(image.tobytes(), image)
    return np.stack(list(images.values())[:_ROBUSTNESS_IMAGES])


def _robustness(folder: Path, runs: _Runs, notes: list[str], say: Say) -> Figure | None:
    # Imported here: only this figure needs the networks.
    from drlhash_jax import robustness

    record, coded = runs.example
    if not _is_images(coded) or coded.dataset.inputs.shape[3] != 3:
        notes.append(f"{runs.group.dataset}: no robustness curves; its data are no colour images")
        return None
    say(f"attacks on images of {runs.group.dataset}")
    model, selector, lengths = record.path / "model", _main_selector(record), _lengths(record)
    hashers = {f"all {coded.query.shape[1]} bits": robustness.model_hasher(model)}
    if lengths:
        name = f"{lengths[-1]} bits by {_title(selector)}"
        hashers[name] = robustness.model_hasher(model, lengths[-1], selector)
    hashers |= {"pHash": robustness.perceptual_hasher("phash"), "dHash": robustness.perceptual_hasher("dhash")}
    images = _distinct_images(coded)
    rows = robustness.measure_robustness(images, hashers)
    png = plot_robustness(folder / f"robustness-{runs.slug}", rows)[1]
    caption = (
        f"Share of attacked copies of {len(images)} query images that are found at the largest threshold which takes "
        f"at most {rows[0]['max_false_positive_rate']:.0%} of the pairs of different images for copies. pHash and "
        f"dHash are ImageHash's, which no training made. {record.path}."
    )
    return Figure(f"robustness-{runs.slug}", str(runs.group), caption, png)


_HEADINGS = (
    "mAP against code length",
    "Precision and recall",
    "Precision within radius 2",
    "Precision among the first rows",
    "Good and bad retrievals",
    "PPO learning",
    "Correlation of bits",
    "Codes in the plane",
    "Robustness",
)


def gather(folders: Sequence[str], figures: Path, robustness: bool, say: Say) -> Findings:
    """Reads runs, measures what they stored and draws every figure that can be drawn.

    Args:
      folders: directories of runs, or folders of them.
      figures: where the files of the figures go.
      robustness: whether runs on colour images are attacked, which takes minutes.
      say: told what is going on.

    Returns:
      Findings.

    Raises:
      UserError: there is nothing to report on, or runs that no report holds together.
    """
    records = read_records(folders)
    runs = [record.run for record in records]
    tables = result_tables(runs) + result_tables(runs, "precision_radius2")
    findings = Findings(records, tables, {heading: [] for heading in _HEADINGS}, [], [])
    notes = findings.notes
    drawn = [_summary_figures(figures, findings)]
    say("loading the data of the runs")
    for of_dataset in _collect(records, notes):
        # Drops runs whose data have changed, so it comes first.
        drawn.append(_curve_figures(figures, of_dataset, notes, say))
        say(f"figures of {of_dataset.group.dataset}")
        single = {
            "PPO learning": _learning(figures, of_dataset, notes),
            "Correlation of bits": _correlation(figures, of_dataset),
        }
        if of_dataset.coded:
            single["Good and bad retrievals"] = _retrievals(figures, of_dataset)
            single["Codes in the plane"] = _tsne(figures, of_dataset, notes)
            if robustness:
                single["Robustness"] = _robustness(figures, of_dataset, notes, say)
        drawn.append({heading: [figure] for heading, figure in single.items() if figure})
        health = _health(of_dataset)
        findings.health.extend([health] if health else [])
    for by_heading in drawn:
        for heading, found in by_heading.items():
            findings.figures[heading].extend(found)
    return findings
