"""The figures of a report: runs on one dataset in, files and captions out.

A function returns None where there is nothing to draw, and adds a note where a reader would miss it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drlhash_jax.errors import UserError
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
from drlhash_jax.report.measures import CodeCurves, code_curves, mean_curves, mean_scalars, rank_grid, relevance
from drlhash_jax.report.photos import Retrieval, choose_examples, plot_retrievals
from drlhash_jax.report.tables import Group, Table, label_of, panels_of, selector_title
from drlhash_jax.report.workdirs import CURVES, Coded, Record, load_trained

# Stored mAP has six digits, and float32 sums differ a little from machine to machine.
_MAP_TOLERANCE = 1e-4
_GOOD, _BAD, _TOP = 3, 2, 5
_MOST_QUERIES = 1000
_TSNE_ROWS, _TSNE_CLASSES, _TSNE_LEAST = 1000, 10, 20
_ROBUSTNESS_IMAGES = 128
_POOL = "all bits of the pool"

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


class Runs(NamedTuple):
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
    def rows(self) -> list[dict]:
        """Result rows of all runs."""
        return [row for record in self.records for row in record.run.rows]

    def name_of(self, row: dict) -> str:
        """A result row's name in figures: the selector alone, where all else is the same for all rows."""
        pools = {record.pool_bits for record in self.records}
        same = len(pools) == 1 and len({(each["method"], each["encoder"]) for each in self.rows}) == 1
        return selector_title(row["selector"]) if same else self.label_of(row)

    def label_of(self, row: dict) -> str:
        """A result row's name in tables."""
        return label_of(row, {each["encoder"] for each in self.rows})


def over(runs: Sequence[object]) -> str:
    """How many runs a mean is over."""
    return "one run" if len(runs) == 1 else f"mean over {len(runs)} runs"


def _chosen(record: Record, pool: int) -> tuple[np.ndarray, str]:
    """The longest choice of the main selector as places in the pool, all of them without any; and what it is."""
    if not record.lengths:
        return np.arange(pool), f"all {pool} bits"
    bits, selector = record.lengths[-1], record.main_selector
    return np.array(record.orders[bits, selector][0]), f"{bits} bits by {selector_title(selector)}"


def _pool_levels(runs: Runs) -> dict[str, Level]:
    """mAP of all bits of the pool, where the runs have one size of pool."""
    pools = {record.pool_bits for record in runs.records}
    values = [row["map"] for row in runs.rows if row["selector"] == "none" and {row["bits"]} == pools]
    if not values or None in values:
        return {}
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {_POOL: Level(float(np.mean(values)), sd)}


def draw_summaries(folder: Path, every: Sequence[Runs], tables: Sequence[Table]) -> dict[str, list[Figure]]:
    """What result rows alone give: mAP and precision within radius 2 against the number of bits.

    Args:
      folder: of the files.
      every: the runs, dataset by dataset.
      tables: of both values.

    Returns:
      Heading -> figures.
    """
    names = {str(runs.group): {runs.label_of(row): runs.name_of(row) for row in runs.rows} for runs in every}
    seeds = "Error bars: standard deviation (n - 1) over seeds, where there are several."

    def panels(value: str) -> dict[str, dict[str, Series]]:
        found = panels_of([table for table in tables if table.value == value])
        return {
            title: {names[title][label]: series for label, series in named.items()}
            for title, named in found.items()
            if named
        }

    figures = {}
    if by_bits := panels("map"):
        levels = {str(runs.group): _pool_levels(runs) for runs in every if str(runs.group) in by_bits}
        png = plot_map_bits(folder / "map_bits", by_bits, levels)[1]
        caption = (
            "Mean over queries of average precision, its exact expectation over random order of equal distances. "
            f"{seeds} The horizontal line, with its band, is what all bits of the pool give. Random: mean of its draws."
        )
        figures["mAP against code length"] = [Figure("map_bits", "Every way to get the bits", caption, png)]
    if by_bits := panels("precision_radius2"):
        png = plot_precision_radius2(folder / "precision_radius2", by_bits)[1]
        caption = (
            "Thesis Fig. 4.2. P@H<=2: mean precision within Hamming distance 2, an empty ball counting 0: it falls "
            f"where codes are so long that balls are empty. {seeds}"
        )
        figures["Precision within radius 2"] = [Figure("precision_radius2", "By code length", caption, png)]
    return figures


def _codes_of_rows(record: Record, coded: Coded) -> Iterator[tuple[dict, list[tuple[np.ndarray, np.ndarray]]]]:
    """Result rows with their codes, a (query, database) pair a draw; rows whose codes are not stored are left out."""
    for row in record.run.rows:
        if row["selector"] != "none":
            if orders := record.orders.get((row["bits"], row["selector"])):
                yield row, [(coded.query[:, order], coded.database[:, order]) for order in orders]
        elif row["bits"] == coded.query.shape[1]:
            yield row, [(coded.query, coded.database)]
        elif trained := load_trained(record.path, row["bits"]):
            yield row, [trained]


def _curves(runs: Runs, ranks: Sequence[int], notes: list[str], say: Say) -> dict[tuple[int, str], list[CodeCurves]]:
    """(bits, name) -> curves of each run, draws averaged. A run whose data give other numbers is dropped from coded."""
    top_k = None if runs.group.map_at == "all" else int(runs.group.map_at)
    found: dict[tuple[int, str], list[CodeCurves]] = {}
    for record, coded in list(runs.coded):
        say(f"curves of {record.path}")
        labels, own = (coded.query_labels, coded.database_labels), {}
        for row, codes in _codes_of_rows(record, coded):
            curves = mean_curves([code_curves(*pair, *labels, ranks, top_k) for pair in codes])
            if row["map"] is not None and abs(curves.map - row["map"]) > _MAP_TOLERANCE:
                notes.append(
                    f"{record.path}: no figure that needs labels or images. With its data {row['bits']} bits, "
                    f"{runs.name_of(row)}, have mAP {curves.map:.6f}, and the run found {row['map']}: data or codes "
                    "have changed since"
                )
                runs.coded.remove((record, coded))
                break
            own[row["bits"], runs.name_of(row)] = curves
        else:
            for key, curves in own.items():
                found.setdefault(key, []).append(curves)
    return found


def _panels(
    curves: dict[tuple[int, str], list[CodeCurves]], pool_bits: int, series: Callable[[CodeCurves], Series]
) -> dict[str, dict[str, Series]]:
    """A panel a length, with the whole pool for comparison; names in one order everywhere, so in one colour."""
    lengths = sorted({bits for bits, _ in curves})
    names = list(dict.fromkeys(name for _, name in curves))
    shorter = [bits for bits in lengths if bits != pool_bits]
    panels: dict[str, dict[str, Series]] = {}
    for bits in shorter or lengths:
        named = {name: series(mean_curves(curves[bits, name])) for name in names if (bits, name) in curves}
        pool = next((each for (length, _), each in curves.items() if length == pool_bits), None)
        if shorter and pool:
            named[_POOL] = series(mean_curves(pool))
        panels[f"{bits} bits"] = named
    return panels


def draw_curves(folder: Path, runs: Runs, notes: list[str], say: Say) -> dict[str, list[Figure]]:
    """Precision against recall, and precision among the first n rows. Runs whose data have changed leave `coded`.

    Args:
      folder: of the files.
      runs: on one dataset.
      notes: what could not be shown is added here.
      say: told what is going on.

    Returns:
      Heading -> figures.
    """
    if not runs.coded:
        return {}
    ranks = rank_grid(min(len(coded.database) for _, coded in runs.coded))
    curves = _curves(runs, ranks, notes, say)
    if not curves:
        return {}
    pool_bits = max(record.pool_bits for record in runs.records)
    means = f"Means over the queries that have anything to find; {over(runs.coded)}."

    def figure(plot: Callable, name: str, series: Callable[[CodeCurves], Series], text: str) -> list[Figure]:
        name = f"{name}-{runs.slug}"
        png = plot(folder / name, _panels(curves, pool_bits, series))[1]
        return [Figure(name, str(runs.group), f"{text} {means}", png)]

    return {
        "Precision and recall": figure(
            plot_precision_recall,
            "precision_recall",
            lambda each: Series(each.recall, each.precision),
            "Thesis Fig. 4.1. One point for every Hamming radius 0 .. K: precision and recall within it. A ball that "
            "holds no row has precision 0, so that curves may begin low.",
        ),
        "Precision among the first rows": figure(
            plot_precision_at_n,
            "precision_at_n",
            lambda each: Series(ranks, each.precision_at),
            "Thesis Fig. 4.3. P@N: share of relevant rows among the first n, its expectation over random order of "
            "equal distances.",
        ),
    }


def _class_name(coded: Coded, number: int) -> str:
    return coded.dataset.classes[number] if coded.dataset.classes else f"class {number}"


def _classes_of(coded: Coded, row: int) -> str:
    """Names of a row's classes, two at most."""
    label = coded.dataset.labels[row]
    numbers = np.flatnonzero(label).tolist() if np.ndim(label) else [int(label)]
    return ", ".join(_class_name(coded, n) for n in numbers[:2]) + (" ..." if len(numbers) > 2 else "")


def _is_images(coded: Coded) -> bool:
    return coded.dataset.inputs is not None and coded.dataset.inputs.ndim == 4


def draw_retrievals(folder: Path, runs: Runs) -> Figure | None:
    """Good and bad examples of what is found, where the data are images."""
    record, coded = runs.coded[0]
    if not _is_images(coded):
        return None
    order, what = _chosen(record, coded.query.shape[1])
    relevant = relevance(coded.query_labels[:_MOST_QUERIES], coded.database_labels)
    num_counted, top = int(relevant.any(axis=1).sum()), min(_TOP, relevant.shape[1])
    good = min(_GOOD, num_counted)
    bad = min(_BAD, num_counted - good)
    if not good:
        return None
    query, database = coded.query[:_MOST_QUERIES, order], coded.database[:, order]
    inputs, paths, examples = coded.dataset.inputs, coded.dataset.paths, []
    for at, found, distances, is_good in choose_examples(query, database, relevant, good, bad, top):
        rows = [coded.rows["query"][at], *coded.rows["database"][found]]
        images = [np.asarray(inputs[row]) for row in rows]
        title = f"{'good' if is_good else 'bad'}\n{_classes_of(coded, rows[0])[:24]}"
        names = [paths[row] if paths else int(row) for row in rows]
        hits = relevant[at, found].tolist()
        examples.append(Retrieval(title, images[0], images[1:], hits, distances.tolist(), names))
    name = f"retrievals-{runs.slug}"
    caption = (
        f"Thesis Fig. 4.4. The {top} rows found first for the queries with the most and with the fewest relevant rows "
        f"among them, out of the first {len(query)} queries of {record.path} ({what}); rows at equal distance in "
        "database order. Green and a tick: shares a label with the query. These are the extremes, not the average."
    )
    png = plot_retrievals(folder / name, examples)[1]
    return Figure(name, str(runs.group), caption, png, photographs=True)


def _reward_levels(records: Sequence[Record], bits: int) -> dict[str, Level]:
    """Rewards that the other ways reach at a length, over all runs and draws."""
    rewards: dict[str, list[float]] = {}
    for record in records:
        for row in record.selection["selections"]:
            if row["bits"] == bits:
                rewards.setdefault(row["selector"], []).extend(row["rewards"])
    levels = {}
    if "greedy" in rewards:
        levels["greedy"] = Level(float(np.mean(rewards["greedy"])))
    if len(rewards.get("random", [])) > 1:
        levels["random ± sd"] = Level(float(np.mean(rewards["random"])), float(np.std(rewards["random"], ddof=1)))
    if "best_of_random" in rewards:
        levels["best of N random"] = Level(float(np.mean(rewards["best_of_random"])))
    pool = [record.selection["reward"]["all_bits"] for record in records]
    return levels | {_POOL: Level(float(np.mean(pool)))}


def draw_learning(folder: Path, runs: Runs, notes: list[str]) -> Figure | None:
    """Rewards of PPO while it learns, beside those of greedy and random selection."""
    panels, levels = {}, {}
    for record in runs.records:
        if not record.curves and any(selector == "ppo" for _, selector in record.orders):
            notes.append(f"{record.path}: no learning curves; its metrics.jsonl has no stage selection_*_ppo")
    learned = [record for record in runs.records if record.curves and record.orders]
    for bits in sorted({bits for record in learned for bits in record.curves}):
        having = [record for record in learned if bits in record.curves and (bits, "ppo") in record.orders]
        if not having:
            continue
        scalars = [record.curves[bits] for record in having]
        mean, mode, best = (mean_scalars(scalars, name) for name in CURVES)
        # Every update costs as many rewards as another: its episodes and the most probable one.
        spent = having[0].evaluations(bits, "ppo") / len(scalars[0]["mean_reward"])
        x = spent * (np.arange(len(mean)) + 1)
        title = f"{bits} of {having[0].pool_bits} bits"
        lines = {"mean of the episodes": mean, "most probable subset": mode, "best so far": best}
        panels[title] = {name: Series(x, values) for name, values in lines.items()}
        levels[title] = _reward_levels(having, bits)
    if not panels:
        return None
    name = f"learning-{runs.slug}"
    png = plot_learning(folder / name, panels, levels)[1]
    caption = (
        "What the subsets of PPO earn while it learns, against the number of rewards computed so far. Horizontal lines "
        "are what others reach on the same reward; the band is one standard deviation of random subsets. A reward is "
        "the mAP of a subset of bits on training rows, some of them asking the others: it is not the mAP of the "
        f"tables. {over(learned).capitalize()}."
    )
    return Figure(name, str(runs.group), caption, png)


def draw_correlation(folder: Path, runs: Runs) -> Figure | None:
    """Correlation of bits before and after selection."""
    record = next((record for record in runs.records if record.pool is not None), None)
    if record is None:
        return None
    panels = {f"all {record.pool.shape[1]} bits": record.pool}
    for bits in record.lengths:
        order = np.sort(record.orders[bits, record.main_selector][0])
        panels[f"{bits} bits by {selector_title(record.main_selector)}"] = record.pool[:, order]
    name = f"correlation-{runs.slug}"
    png = plot_bit_correlation(folder / name, panels)[1]
    caption = (
        "Absolute correlation (phi coefficient) of every pair of bits over the database, before and after selection: 0 "
        "is independent, 1 repeats or negates another bit. Mean: over pairs of different bits. Chosen bits are in the "
        f"pool's order. {record.path}."
    )
    return Figure(name, str(runs.group), caption, png)


def _tsne_rows(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in the database and classes of the rows to draw: rows of exactly one class, of the most frequent ones."""
    if labels.ndim == 2:
        single = np.flatnonzero((labels != 0).sum(axis=1) == 1)
        classes = np.argmax(labels[single], axis=1)
    else:
        single = np.flatnonzero(labels >= 0)
        classes = labels[single]
    frequent = np.argsort(-np.bincount(classes), kind="stable")[:_TSNE_CLASSES]
    kept = np.isin(classes, frequent)
    places, classes = single[kept], classes[kept]
    drawn = np.sort(np.random.default_rng(0).permutation(len(places))[:_TSNE_ROWS])
    return places[drawn], classes[drawn]


def draw_tsne(folder: Path, runs: Runs, notes: list[str]) -> Figure | None:
    """Codes in the plane."""
    record, coded = runs.coded[0]
    places, classes = _tsne_rows(coded.database_labels)
    if len(places) < _TSNE_LEAST:
        notes.append(
            f"{runs.group.dataset}: codes are not drawn in the plane; {len(places)} rows of the database have exactly "
            f"one label and one of the frequent ones, and {_TSNE_LEAST} are needed"
        )
        return None
    order, what = _chosen(record, coded.database.shape[1])
    numbers, labels = np.unique(classes, return_inverse=True)
    names = [_class_name(coded, number) for number in numbers.tolist()]
    name = f"tsne-{runs.slug}"
    png = plot_tsne(folder / name, coded.database[places][:, order], labels, names)[1]
    several = "that have exactly one label, one " if coded.database_labels.ndim == 2 else ""
    caption = (
        f"Codes of {len(places)} rows of the database in the plane by t-SNE ({what}): rows {several}of the "
        f"{len(names)} most frequent classes, drawn at random. Neighbours are meant; distances between clusters and "
        f"their sizes mean nothing. {record.path}."
    )
    return Figure(name, str(runs.group), caption, png)


def _distinct_images(coded: Coded) -> np.ndarray:
    """The first query images that differ from all before, uint8 ``[n, H, W, 3]``."""
    images: dict[bytes, np.ndarray] = {}
    for row in coded.rows["query"][: 2 * _ROBUSTNESS_IMAGES]:
        image = np.asarray(coded.dataset.inputs[row])
        images.setdefault(image.tobytes(), image)
    return np.stack(list(images.values())[:_ROBUSTNESS_IMAGES])


def draw_robustness(folder: Path, runs: Runs, notes: list[str], say: Say) -> Figure | None:
    """Copies found under attack, where the data are colour images."""
    # Imported here: only this figure needs the networks.
    from drlhash_jax import robustness

    record, coded = runs.coded[0]
    if not _is_images(coded) or coded.dataset.inputs.shape[3] != 3:
        notes.append(f"{runs.group.dataset}: no robustness curves; its data are not colour images")
        return None
    say(f"attacks on images of {runs.group.dataset}")
    images, bits = _distinct_images(coded), coded.query.shape[1]
    try:
        hashers = {f"all {bits} bits": robustness.model_hasher(record.path / "model")}
        if record.lengths:
            longest = record.lengths[-1], record.main_selector
            hashers[_chosen(record, bits)[1]] = robustness.model_hasher(record.path / "model", *longest)
        hashers |= {"pHash": robustness.perceptual_hasher("phash"), "dHash": robustness.perceptual_hasher("dhash")}
        rows = robustness.measure_robustness(images, hashers)
    except UserError as error:
        notes.append(f"{runs.group.dataset}: no robustness curves. {error}")
        return None
    name = f"robustness-{runs.slug}"
    png = plot_robustness(folder / name, rows)[1]
    caption = (
        f"Share of attacked copies of {len(images)} query images that are found at the largest threshold which takes "
        f"at most {rows[0]['max_false_positive_rate']:.0%} of the pairs of different images for copies; none are "
        "where more of the pairs than that have equal codes. pHash and dHash are ImageHash's, which nobody trained. "
        f"{record.path}."
    )
    return Figure(name, str(runs.group), caption, png)
