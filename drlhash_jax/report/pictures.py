"""The figures of a report that show codes or photographs: runs on one dataset in, files and captions out.

A function returns None where there is nothing to draw, and adds a note where a reader would miss it.
"""

from pathlib import Path

import numpy as np

from drlhash_jax import figures
from drlhash_jax.errors import UserError
from drlhash_jax.figures import Retrieval
from drlhash_jax.report.measures import relevance
from drlhash_jax.report.panels import Figure, Say
from drlhash_jax.report.records import Record, Runs
from drlhash_jax.report.tables import selector_title

_GOOD, _BAD, _TOP = 3, 2, 5
_MOST_QUERIES = 1000
_TSNE_ROWS, _TSNE_CLASSES, _TSNE_LEAST = 1000, 10, 20
_ROBUSTNESS_IMAGES = 128


def _chosen(record: Record) -> tuple[np.ndarray, str]:
    """The longest choice of the main selector as places in the pool, all of them without any; and what it is."""
    run = record.run
    if not run.lengths:
        return np.arange(record.pool_bits), f"all {record.pool_bits} bits"
    bits, selector = run.lengths[-1], run.main_selector
    return np.array(run.orders[bits, selector][0]), f"{bits} bits by {selector_title(selector)}"


def _class_name(record: Record, number: int) -> str:
    classes = record.data.dataset.classes
    return classes[number] if classes else f"class {number}"


def _classes_of(record: Record, row: int) -> str:
    """Names of a row's classes, two at most."""
    label = record.data.dataset.labels[row]
    numbers = np.flatnonzero(label).tolist() if np.ndim(label) else [int(label)]
    return ", ".join(_class_name(record, n) for n in numbers[:2]) + (" ..." if len(numbers) > 2 else "")


def _is_images(record: Record) -> bool:
    inputs = record.data.dataset.inputs
    return inputs is not None and inputs.ndim == 4


def _examples(record: Record, order: np.ndarray) -> list[Retrieval]:
    """Good and bad examples among the first queries; none if no query has anything to find."""
    query_labels, database_labels = record.labels
    relevant = relevance(query_labels[:_MOST_QUERIES], database_labels)
    num_counted, top = int(relevant.any(axis=1).sum()), min(_TOP, relevant.shape[1])
    good = min(_GOOD, num_counted)
    bad = min(_BAD, num_counted - good)
    query, database = record.codes["query"][:_MOST_QUERIES, order], record.codes["database"][:, order]
    inputs, paths, examples = record.data.dataset.inputs, record.data.dataset.paths, []
    for each in figures.choose_examples(query, database, relevant, good, bad, top):
        rows = [record.data.rows["query"][each.query], *record.data.rows["database"][each.found]]
        images = [np.asarray(inputs[row]) for row in rows]
        title = f"{'good' if each.good else 'bad'}\n{_classes_of(record, rows[0])[:24]}"
        names = [paths[row] if paths else int(row) for row in rows]
        hits, distances = relevant[each.query, each.found].tolist(), each.distances.tolist()
        examples.append(Retrieval(title, images[0], images[1:], hits, distances, names, each.equally_near))
    return examples


def draw_retrievals(folder: Path, runs: Runs) -> Figure | None:
    """Good and bad examples of what is found, where the data are images."""
    record = runs.labelled[0]
    if not _is_images(record):
        return None
    order, what = _chosen(record)
    examples = _examples(record, order)
    if not examples:
        return None
    name = f"retrievals-{runs.slug}"
    queries = min(_MOST_QUERIES, len(record.codes["query"]))
    caption = (
        f"Thesis Fig. 4.4. The {len(examples[0].found)} rows found first for the queries with the most and with the "
        f"fewest relevant rows among them, out of the first {queries} queries of {record.run.path} ({what}). Rows at "
        "equal distance come in database order; on the right is how many more are as near as the last one shown, so "
        "that another order would show others. Green and a tick: shares a label with the query. These are the "
        "extremes, not the average."
    )
    files = figures.plot_retrievals(folder / name, examples)
    return Figure(name, str(runs.group), caption, files, photographs=True)


def draw_correlation(folder: Path, runs: Runs) -> Figure | None:
    """Correlation of bits before and after selection."""
    record = next((record for record in runs.records if len(record.codes.get("database", ())) > 1), None)
    if record is None:
        return None
    pool, run = record.codes["database"], record.run
    panels = {f"all {record.pool_bits} bits": pool}
    for bits in run.lengths:
        order = np.sort(run.orders[bits, run.main_selector][0])
        panels[f"{bits} bits by {selector_title(run.main_selector)}"] = pool[:, order]
    name = f"correlation-{runs.slug}"
    files = figures.plot_bit_correlation(folder / name, panels)
    caption = (
        "Absolute correlation (phi coefficient) of every pair of bits over the database, before and after selection: 0 "
        "is independent, 1 repeats or negates another bit. Mean: over pairs of different bits. Chosen bits are in the "
        f"pool's order. {run.path}."
    )
    return Figure(name, str(runs.group), caption, files)


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
    record = runs.labelled[0]
    labels = record.labels[1]
    places, classes = _tsne_rows(labels)
    if len(places) < _TSNE_LEAST:
        notes.append(
            f"{runs.group.dataset}: codes are not drawn in the plane; {len(places)} rows of the database have exactly "
            f"one label and one of the frequent ones, and {_TSNE_LEAST} are needed"
        )
        return None
    order, what = _chosen(record)
    numbers, drawn = np.unique(classes, return_inverse=True)
    names = [_class_name(record, number) for number in numbers.tolist()]
    name = f"tsne-{runs.slug}"
    files = figures.plot_tsne(folder / name, record.codes["database"][places][:, order], drawn, names)
    several = "that have exactly one label, one " if labels.ndim == 2 else ""
    caption = (
        f"Codes of {len(places)} rows of the database in the plane by t-SNE ({what}): rows {several}of the "
        f"{len(names)} most frequent classes, drawn at random. Neighbourhoods have a meaning; distances between "
        f"clusters and their sizes have none. {record.run.path}."
    )
    return Figure(name, str(runs.group), caption, files)


def _distinct_images(record: Record) -> np.ndarray:
    """The first query images that differ from all before, uint8 ``[n, H, W, 3]``."""
    images: dict[bytes, np.ndarray] = {}
    for row in record.data.rows["query"][: 2 * _ROBUSTNESS_IMAGES]:
        image = np.asarray(record.data.dataset.inputs[row])
        images.setdefault(image.tobytes(), image)
    return np.stack(list(images.values())[:_ROBUSTNESS_IMAGES])


def draw_robustness(folder: Path, runs: Runs, notes: list[str], say: Say) -> Figure | None:
    """Copies found under attack, where the data are colour images."""
    # Imported here: only this figure needs the networks.
    from drlhash_jax import robustness

    record = runs.labelled[0]
    run = record.run
    if not _is_images(record) or record.data.dataset.inputs.shape[3] != 3:
        notes.append(f"{runs.group.dataset}: no robustness curves; its data are not colour images")
        return None
    say(f"attacks on images of {runs.group.dataset}")
    images = _distinct_images(record)
    try:
        hashers = {f"all {record.pool_bits} bits": robustness.model_hasher(run.path / "model")}
        if run.lengths:
            hashers[_chosen(record)[1]] = robustness.model_hasher(
                run.path / "model", run.lengths[-1], run.main_selector
            )
        hashers |= {"pHash": robustness.perceptual_hasher("phash"), "dHash": robustness.perceptual_hasher("dhash")}
        rows = robustness.measure_robustness(images, hashers)
    except UserError as error:
        notes.append(f"{runs.group.dataset}: no robustness curves. {error}")
        return None
    name = f"robustness-{runs.slug}"
    files = figures.plot_robustness(folder / name, rows)
    caption = (
        f"Share of attacked copies of {len(images)} query images that are found at the largest threshold which takes "
        f"at most {rows[0]['max_false_positive_rate']:.0%} of the pairs of different images for copies; none is "
        "found where more of the pairs than that have equal codes. pHash and dHash are those of the package ImageHash "
        "and need no training. "
        f"{run.path}."
    )
    return Figure(name, str(runs.group), caption, files)
