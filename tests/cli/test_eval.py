"""The eval command: an exhaustive oracle, hand-made values, every form of input, finished runs, and every mistake."""

import itertools
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from safetensors.numpy import save_file

from drlhash_jax import data
from drlhash_jax.codes import as_labels, load_codes, read_codes, save_codes
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.evaluation import EVALUATION_DEFINITIONS, CodeFiles, Options, Task, evaluate_files, evaluate_run
from drlhash_jax.evaluation.result_rows import measure
from drlhash_jax.evaluation.summary import summarise_health
from drlhash_jax.files import write_arrays, write_json
from drlhash_jax.runs import lock_directory, unlock_directory
from drlhash_jax.runs.lock import LOCK_FILES

NUM_BITS, TOP_K, RANKS = 5, 4, (1, 3, 8)
TIES = {"map": "expected"} | {f"map_{ties}": ties for ties in ("stable", "pessimistic", "optimistic")}
OPTIONS = Options(TOP_K, RANKS, ("all",), seed=3)


def make_data():
    """Five queries and eight rows with ties, a repeated code, a constant bit, and rows without labels."""
    rng = np.random.default_rng(4)
    query, database = rng.integers(0, 2, (5, NUM_BITS)), rng.integers(0, 2, (8, NUM_BITS))
    query_labels, labels = ((rng.random((n, 4)) < 0.45).astype(np.uint8) for n in (5, 8))
    query[:, 4] = database[:, 4] = 1
    database[5] = database[2]
    query_labels[1] = labels[3] = 0
    return query, database, query_labels, labels


def write_data(folder, arrays=None, **changes):
    """Files of the four arrays in one .npz; returns where each is."""
    names = "query", "database", "query_labels", "labels"
    arrays = dict(zip(names, make_data() if arrays is None else arrays, strict=True)) | changes
    np.savez(folder / "in.npz", **arrays)
    where = [f"{folder / 'in.npz'}:{name}" for name in names]
    return CodeFiles(where[0], "", *where[1:])


def rankings(distances):
    """Every order of the database that its distances allow, each as likely as the others."""
    blocks = [np.flatnonzero(distances == d) for d in np.unique(distances)]
    for parts in itertools.product(*(itertools.permutations(block) for block in blocks)):
        yield np.concatenate(parts)


def precision_of(relevant, top_k, denominator):
    cut = relevant[:top_k]
    total = math.fsum(cut[: k + 1].mean() for k in range(len(cut)) if cut[k])
    divisor = {"min": min(relevant.sum(), len(cut)), "all": relevant.sum(), "retrieved": cut.sum()}[denominator]
    return total / max(divisor, 1)


def ndcg_of(gains, rank):
    dcg = lambda values: math.fsum(gain / math.log2(k + 2) for k, gain in enumerate(values[:rank]))
    return dcg(gains) / dcg(sorted(gains, reverse=True))


class Oracle:
    """Each query's rankings, and means over the queries that have something to find."""

    def __init__(self, arrays):
        query, database, query_labels, labels = arrays
        self.gains = query_labels.astype(int) @ labels.T
        self.distances = (query[:, None] != database[None]).sum(axis=2)
        self.counted = np.flatnonzero(self.gains.any(axis=1))
        self.ranked = [[row[order] for order in rankings(d)] for row, d in zip(self.gains, self.distances)]

    def mean(self, value, over=np.mean, queries=None):
        """Mean over queries of a function of ranked gains, over a query's rankings by `over`."""
        queries = self.counted if queries is None else queries
        return np.mean([over([value(gains) for gains in self.ranked[query]]) for query in queries])

    def map(self, denominator, ties, top_k=TOP_K, queries=None):
        # Permutations come in lexicographic order, so that the first is the order of the rows.
        over = {"expected": np.mean, "optimistic": max, "pessimistic": min, "stable": lambda values: values[0]}[ties]
        return self.mean(lambda gains: precision_of(gains > 0, top_k, denominator), over, queries)

    def ball(self, query, radius):
        return self.gains[query][self.distances[query] <= radius] > 0


def test_every_number_equals_the_oracle(tmp_path):
    arrays = make_data()
    got = evaluate_files(write_data(tmp_path, arrays), tmp_path / "out", OPTIONS)
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == got
    oracle = Oracle(arrays)
    about = pytest.approx
    assert got["n_query"] == len(oracle.counted) < 5 and got["n_query_without_relevant"] == 5 - len(oracle.counted)
    assert (got["n_query_unlabelled"], got["n_database_unlabelled"], got["map_at"]) == (1, 1, TOP_K)
    assert list(got["by_denominator"]) == ["min", "all", "retrieved"]
    for denominator, numbers in got["by_denominator"].items():
        for field, ties in TIES.items():
            assert numbers[field] == about(oracle.map(denominator, ties), abs=2e-6), (denominator, ties)
    assert got["by_denominator"]["min"].items() <= got.items()
    by_rank, grid = got["by_rank"], got["precision_recall_by_rank"]
    assert by_rank["rank"] == list(RANKS) and grid["rank"] == [1, 2, 5, 8]
    for where in (by_rank, grid):
        hits = [(lambda gains, n=n: (gains[:n] > 0).sum()) for n in where["rank"]]
        expected = [oracle.mean(found) / n for found, n in zip(hits, where["rank"])]
        assert where["precision"] == about(expected, abs=2e-6)
        assert where["recall"] == about([oracle.mean(lambda g, f=f: f(g) / (g > 0).sum()) for f in hits], abs=2e-6)
    assert by_rank["ndcg"] == about([oracle.mean(lambda g, n=n: ndcg_of(g, n)) for n in RANKS], abs=2e-6)
    curve = got["precision_recall_by_radius"]
    for radius in curve["radius"]:
        balls = [oracle.ball(query, radius) for query in oracle.counted]
        total = [(oracle.gains[query] > 0).sum() for query in oracle.counted]
        precision, recall, empty = (curve[name][radius] for name in ("precision", "recall", "empty_balls"))
        assert precision == about(np.mean([ball.mean() if len(ball) else 0 for ball in balls]), abs=2e-6)
        assert recall == about(np.mean([ball.sum() / n for ball, n in zip(balls, total)]), abs=2e-6)
        assert empty == about(np.mean([len(ball) == 0 for ball in balls]), abs=2e-6)
    assert curve["radius"] == list(range(NUM_BITS + 1))
    assert (got["precision_radius2"], got["empty_balls"]) == (curve["precision"][2], curve["empty_balls"][2])


def test_conventions_equal_the_oracle(tmp_path):
    arrays = make_data()
    got = evaluate_files(write_data(tmp_path, arrays), tmp_path / "out", OPTIONS)
    oracle, everyone = Oracle(arrays), range(5)
    hits = lambda row: oracle.map("retrieved", "stable", top_k=8, queries=[row]) > 0
    expected = {
        "deephash_pytorch": oracle.map("retrieved", "stable", top_k=7, queries=everyone),
        "thulab_deephash": oracle.map("retrieved", "stable", top_k=8, queries=[row for row in everyone if hits(row)]),
        "fire": oracle.map("retrieved", "stable", top_k=8, queries=everyone),
        "adsh": oracle.map("all", "stable", top_k=8, queries=everyone),
        "talr": oracle.map("all", "expected", top_k=8, queries=everyone),
    }
    for name, value in expected.items():
        assert got["reproduce"][name]["map"] == pytest.approx(value, abs=2e-6), name
        assert "/" in got["reproduce"][name]["source"]
    assert got["reproduce_left_out"]["hashnet_5000"] == "top_k=5000: the database has only 8 rows"


def test_code_health_equals_loops():
    _, database, _, labels = make_data()
    got, n = summarise_health(database, labels), len(database)
    equal = [(i, j) for i, j in itertools.combinations(range(n), 2) if (database[i] == database[j]).all()]
    sharing = sum((labels[i] & labels[j]).any() for i, j in equal)
    collisions = {"pairs": len(equal), "sharing": sharing, "not_sharing": len(equal) - sharing}
    assert collisions.items() <= got["collisions"].items() and equal
    assert got["collisions"]["sharing_rate"] == sharing / len(equal)
    codes = [tuple(code) for code in database]
    sizes = [codes.count(code) for code in set(codes)]
    assert got["distinct_codes"] == len(sizes) and got["largest_bucket"] == max(sizes)
    assert got["rows_alone"] == sizes.count(1) == got["buckets"]["1"]
    assert got["buckets"]["2-3"] == sum(size in (2, 3) for size in sizes)
    assert got["code_entropy"] == pytest.approx(-sum(s / n * math.log2(s / n) for s in sizes), abs=1e-6)
    assert got["balance"]["each"] == database.mean(axis=0).tolist() and got["constant_bits"] == [4]
    phi = np.abs(np.corrcoef(database[:, :4].T))[np.triu_indices(4, 1)]
    assert got["correlation"]["mean_absolute"] == pytest.approx(phi.mean(), abs=1e-6)
    assert got["correlation"]["max_absolute"] == pytest.approx(phi.max(), abs=1e-6)


def test_code_health_without_pairs_of_bits_and_without_collisions():
    got = summarise_health(np.array([[0], [1]]), np.array([0, 1]))
    assert got["correlation"] == {
        "mean_absolute": None,
        "max_absolute": None,
        "max_pair": None,
        "identical_pairs": 0,
    }
    assert got["collisions"] == {"pairs": 0, "sharing": 0, "not_sharing": 0, "sharing_rate": None}
    opposite = summarise_health(np.array([[0, 1], [1, 0]]), np.array([0, 1]))["correlation"]
    assert opposite == {"mean_absolute": 1, "max_absolute": 1, "max_pair": [0, 1], "identical_pairs": 1}


def test_golden(tmp_path):
    # A relevant and an irrelevant row tie at distance 0, a relevant one is at 1. Relevant first: (1 + 2/3) / 2 = 5/6;
    # second: (1/2 + 2/3) / 2 = 7/12; their mean is 17/24. With top_k = 1 one hit is found half of the time.
    arrays = np.array([[0]]), np.array([[0], [0], [1]]), np.array([1]), np.array([1, 0, 1])
    files = write_data(tmp_path, arrays)
    numbers = lambda got: {
        denominator: [row[field] for field in TIES] for denominator, row in got["by_denominator"].items()
    }
    six = lambda value: round(value, 6)
    got = numbers(evaluate_files(files, tmp_path / "out", Options()))
    everything = [six(17 / 24), six(5 / 6), six(7 / 12), six(5 / 6)]
    assert got == dict.fromkeys(("min", "all", "retrieved"), everything)
    got = evaluate_files(files, tmp_path / "out", Options(top_k=1))
    one = lambda scale: [0.5 * scale, scale, 0.0, scale]
    assert numbers(got) == {"min": one(1.0), "all": one(0.5), "retrieved": one(1.0)}
    # P@1 = 1/2 and recall@1 = 1/4; the ball of radius 0 holds two rows.
    assert got["by_rank"]["precision"] == [0.5] and got["by_rank"]["recall"] == [0.25]
    assert got["precision_recall_by_radius"]["precision"] == [0.5, six(2 / 3)]
    assert "ndcg" not in got["by_rank"] and got["labels"] == "integer"
    # One query, resampled: always the same mean.
    assert got["map_interval"] == [0.5, 0.5]


def test_interval_holds_the_mean_and_follows_the_seed(tmp_path):
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 2, (40, 6)), rng.integers(0, 2, (9, 6)), rng.integers(0, 3, 40), np.arange(9) % 3
    files = write_data(tmp_path, arrays)
    found = [evaluate_files(files, tmp_path / "out", Options(seed=seed)) for seed in (3, 3, 4)]
    ends = [each["map_interval"] for each in found]
    gains = arrays[2][:, None] == arrays[3]
    distances = (arrays[0][:, None] != arrays[1][None]).sum(axis=2)
    # Ties drawn at random fifty times: the mean is close to the expectation.
    draw = lambda d: np.lexsort((rng.random(9), d))
    values = [np.mean([precision_of(g[draw(d)], 9, "min") for _ in range(50)]) for g, d in zip(gains, distances)]
    draws = rng.choice(values, (5000, 40)).mean(axis=1)
    assert ends[0] == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.015)
    assert ends[0] == ends[1] and ends[0] != ends[2]
    assert ends[0][0] < found[0]["map"] < ends[0][1]
    assert found[2]["bootstrap"] == {"level": 0.95, "resamples": 1000, "seed": 4}


def field_names(value, prefix=""):
    """Dotted names of nested dictionaries."""
    for key, inner in value.items():
        yield f"{prefix}{key}"
        if isinstance(inner, dict):
            yield from field_names(inner, f"{prefix}{key}.")


def test_every_number_has_a_definition(tmp_path):
    got = evaluate_files(write_data(tmp_path), tmp_path / "out", OPTIONS)
    defined = EVALUATION_DEFINITIONS
    assert got["definitions"] == defined
    for name in got.keys() - {"definitions", "inputs", "code_health"}:
        assert name in defined, name
    for name in got["code_health"]["query"].keys() - {"rows"}:
        assert f"code_health.{name}" in defined, name
    for denominator, numbers in got["by_denominator"].items():
        assert f"by_denominator.{denominator}" in defined and numbers.keys() <= defined.keys()


def test_logits_are_ranked_apart(tmp_path):
    arrays = make_data()
    logits = np.random.default_rng(1).integers(1, 9, (5, NUM_BITS)) / 8 * (2 * arrays[0] - 1)
    files = write_data(tmp_path, arrays, logits=logits)
    where = f"{tmp_path / 'in.npz'}:logits"
    got = evaluate_files(files._replace(query_codes="", query_logits=where), tmp_path / "a", OPTIONS)
    plain = evaluate_files(files, tmp_path / "b", OPTIONS)
    assert got["by_denominator"] == plain["by_denominator"] and "asymmetric" not in plain
    assert got["inputs"]["query_logits"]["kind"] == "logits"
    order = [np.argsort(-((2 * arrays[1] - 1) * z).sum(axis=1), kind="stable") for z in logits]
    ranked = [(gains[rows] > 0) for gains, rows in zip(Oracle(arrays).gains, order)]
    for denominator, value in got["asymmetric"].items():
        each = [precision_of(relevant, TOP_K, denominator) for relevant in ranked if relevant.any()]
        assert value == pytest.approx(np.mean(each), abs=2e-6), denominator
    same = evaluate_files(files._replace(query_codes=where, kind="logits"), tmp_path / "a", OPTIONS)
    assert same["asymmetric"] == got["asymmetric"]


FORMS = {
    "bool": lambda x: x.astype(bool),
    "float bits": lambda x: x.astype(np.float16),
    "int8 signs": lambda x: (2 * x - 1).astype(np.int8),
    "float signs": lambda x: (2 * x - 1).astype(np.float64),
    "big-endian": lambda x: (2 * x - 1).astype(">f4"),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_the_same_codes(name):
    codes = make_data()[1]
    np.testing.assert_array_equal(read_codes(FORMS[name](codes), "x").codes, codes)


@pytest.mark.parametrize("num_bits", [1, 7, 8, 9, 16])
@pytest.mark.parametrize("bit_order, numpy_order", [("msb", "big"), ("lsb", "little")])
def test_packed_codes_in_both_orders(num_bits, bit_order, numpy_order):
    codes = np.random.default_rng(0).integers(0, 2, (6, num_bits)).astype(np.uint8)
    packed = np.packbits(codes, axis=1, bitorder=numpy_order)
    got = read_codes(packed, "x", kind="packed", num_bits=num_bits, bit_order=bit_order)
    np.testing.assert_array_equal(got.codes, codes)


def test_zero_logits_are_bit_1_and_ambiguous_codes_are_bits():
    np.testing.assert_array_equal(read_codes(np.array([[0.0, -0.5]]), "x", kind="logits").codes, [[1, 0]])
    for values, kind, code in (([[1, 1]], "bits", [[1, 1]]), ([[-1, -1]], "signs", [[0, 0]])):
        got = read_codes(np.array(values), "x")
        assert got.kind == kind and got.codes.tolist() == code


def test_files_of_every_format_and_our_own_give_the_same_numbers(tmp_path):
    arrays = make_data()
    expected = evaluate_files(write_data(tmp_path, arrays), tmp_path / "out", OPTIONS)
    # Our own are packed, and say so.
    save_codes(tmp_path / "q", arrays[0])
    np.save(tmp_path / "d.npy", 2 * arrays[1] - 1)
    save_file({"y": arrays[2]}, tmp_path / "l.safetensors")
    np.save(tmp_path / "dl.npy", arrays[3].astype(np.float32))
    where = [str(tmp_path / name) for name in ("q.npy", "d.npy", "l.safetensors:y", "dl.npy")]
    files = CodeFiles(where[0], "", *where[1:])
    got = evaluate_files(files, tmp_path / "out", OPTIONS)
    ignored = {"inputs", "seconds"}
    assert {k: v for k, v in got.items() if k not in ignored} == {k: v for k, v in expected.items() if k not in ignored}
    stored = json.loads((tmp_path / "q.json").read_text())
    query = {"file": where[0], "sha256": stored["sha256"], "rows": 5, "bits": 5, "kind": "packed", "bit_order": "msb"}
    assert got["inputs"]["query_codes"] == query
    assert got["inputs"]["database_codes"]["kind"] == "signs"
    # The numbers of bits and the order are known, and the bytes are checked.
    for wrong, word in (({"num_bits": 4}, "--bits=4"), ({"bit_order": "lsb"}, "--bit_order=lsb")):
        with pytest.raises(UserError, match=word):
            evaluate_files(files._replace(**wrong), tmp_path / "out", OPTIONS)
    np.save(tmp_path / "q.npy", np.load(tmp_path / "q.npy") ^ 128)
    with pytest.raises(UserError, match="SHA-256.*q.json"):
        evaluate_files(files, tmp_path / "out", OPTIONS)


def test_codes_of_two_functions_are_not_mixed_up(tmp_path):
    query, database, *labels = make_data()
    write_data(tmp_path)
    for role, codes in (("query", query), ("database", database)):
        save_codes(tmp_path / role, codes, role)
    files = CodeFiles(
        *(str(tmp_path / "query.npy"), "", str(tmp_path / "database.npy")),
        *(f"{tmp_path / 'in.npz'}:{name}" for name in ("query_labels", "labels")),
    )
    found = evaluate_files(files, tmp_path / "right", OPTIONS)
    assert found["map"] == evaluate_files(write_data(tmp_path), tmp_path / "plain", OPTIONS)["map"]
    for wrong, words in (
        (
            files._replace(query_codes=files.database_codes),
            "--query_codes=.*database.json says .* of the database side",
        ),
        (files._replace(database_codes=files.query_codes), "--database_codes=.*query.json says .* of the query side"),
    ):
        with pytest.raises(UserError, match=words):
            evaluate_files(wrong, tmp_path / "wrong", OPTIONS)
    assert not (tmp_path / "wrong").exists()


def test_default_ranks_are_clipped_and_the_last_row_is_on_the_grid(tmp_path):
    got = evaluate_files(write_data(tmp_path), tmp_path / "out", Options())
    assert got["by_rank"]["rank"] == [1] and got["precision_recall_by_rank"]["rank"] == [1, 2, 5, 8]
    assert "reproduce" not in got


def put(array, where, value, kind=np.float64):
    array = array.astype(kind)
    array[where] = value
    return array


QUERY, DATABASE, QUERY_LABELS, LABELS = make_data()
PACKED = np.packbits(QUERY.astype(np.uint8), axis=1)
# Changed arrays, changed settings of CodeFiles, changed Options, and words that the line must hold.
MISTAKES = {
    "bits": ({"database": DATABASE[:, :4]}, {}, {}, ["--query_codes", "5 bits", "--database_codes", "4"]),
    "rows of labels": ({"labels": LABELS[:7]}, {}, {}, ["--database_codes", "8 rows", "--database_labels", "7"]),
    "rows of query": ({"query_labels": LABELS}, {}, {}, ["--query_codes", "5 rows", "--query_labels", "8"]),
    "two": ({"database": put(DATABASE, (6, 1), 2, int)}, {}, {}, ["--database_codes", "2 in row 6", "not binary"]),
    "real": ({"database": DATABASE + 0.25}, {}, {}, ["--database_codes", "not binary", "--query_logits"]),
    "NaN": ({"query": put(QUERY, (3, 1), math.nan)}, {}, {}, ["--query_codes", "NaN in row 3"]),
    "infinite logits": (
        {"query": put(QUERY, (2, 0), 1e300)},
        {"kind": "logits"},
        {},
        ["--query_codes", "inf in row 2"],
    ),
    "three values": ({"query": put(QUERY, (0, 0), -1, int)}, {}, {}, ["--query_codes", "-1, 0 and 1", "sign(0)"]),
    "no queries": ({"query": QUERY[:0], "query_labels": LABELS[:0]}, {}, {}, ["--query_codes", "is empty", "(0, 5)"]),
    "one axis": ({"query": QUERY[:, 0]}, {}, {}, ["--query_codes", "(5,)", "[rows, bits]"]),
    "looks packed": ({"query": PACKED}, {}, {}, ["--query_codes", "--codes=packed and --bits=K"]),
    "packed without bits": ({"query": PACKED}, {"kind": "packed"}, {}, ["--query_codes", "need --bits=K"]),
    "packed width": ({"query": PACKED}, {"kind": "packed", "num_bits": 9}, {}, ["1 bytes per row, 9 bits need 2"]),
    "padding": (
        {"query": PACKED | 1},
        {"kind": "packed", "num_bits": 5},
        {},
        ["ones beyond bit 5 in msb order", "--bit_order"],
    ),
    "packed type": ({}, {"kind": "packed", "num_bits": 5}, {}, ["int64", "packed codes are uint8"]),
    "bits of unpacked": ({}, {"num_bits": 64}, {}, ["--bits=64", "5 columns", "--codes=packed"]),
    "said signs": ({}, {"kind": "signs"}, {}, ["--query_codes", "0 in row", "--codes=signs are -1 and 1"]),
    "no file": ({}, {"query_codes": "nowhere.npy"}, {}, ["--query_codes", "nowhere.npy: no such file"]),
    "no key": ({}, {"database_labels": "KEY"}, {}, ["--database_labels", "in.npz:nothing", "it holds query, database"]),
    "form": ({}, {"query_labels": "labels.txt"}, {}, ["--query_labels", "labels.txt", "FILE.npz:KEY"]),
    "real classes": (
        {"query_labels": np.arange(5), "labels": LABELS[:, 0] + 0.5},
        {},
        {},
        ["--database_labels", ".5 in row 0", "integer"],
    ),
    "column of classes": ({"labels": np.arange(8)[:, None]}, {}, {}, ["--database_labels", "one axis"]),
    "inexact class": (
        {"query_labels": np.arange(5), "labels": np.full(8, 2.0**60)},
        {},
        {},
        ["--database_labels", "1152921504606846976 is too large to be exact in float64"],
    ),
    "kinds of labels": ({"labels": np.arange(8)}, {}, {}, ["4 classes", "one class per row", "one form"]),
    "NaN labels": ({"labels": put(LABELS, (1, 1), math.nan)}, {}, {}, ["--database_labels", "NaN in row 1"]),
    "nothing shared": ({"query_labels": 0 * QUERY_LABELS}, {}, {}, ["no query shares a label", "--query_labels"]),
    "classes apart": (
        {"query_labels": np.arange(5), "labels": np.arange(8) + 5},
        {},
        {},
        ["no class in common", "--database_labels"],
    ),
    "top_k": ({}, {}, {"top_k": 9}, ["--top_k=9", "only 8 rows"]),
    "ranks": ({}, {}, {"ranks": (1, 0)}, ["--ranks", "0 is not a rank", "8 rows"]),
    "preset": ({}, {}, {"reproduce": ("hashnet_500",)}, ["--reproduce=hashnet_500", "did you mean hashnet_5000?"]),
    "preset too large": ({}, {}, {"reproduce": ("hashnet_5000",)}, ["--reproduce=hashnet_5000", "only 8 rows"]),
}


@pytest.mark.parametrize("arrays, settings, options, words", [pytest.param(*c, id=n) for n, c in MISTAKES.items()])
def test_mistakes_get_one_line_and_write_nothing(arrays, settings, options, words, tmp_path):
    files = write_data(tmp_path, **arrays)
    settings = {name: f"{tmp_path}/in.npz:nothing" if value == "KEY" else value for name, value in settings.items()}
    with pytest.raises(UserError) as error:
        evaluate_files(files._replace(**settings), tmp_path / "out", OPTIONS._replace(reproduce=())._replace(**options))
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line
    assert not (tmp_path / "out").exists()


def test_rows_without_labels_are_allowed_in_either_form():
    np.testing.assert_array_equal(as_labels(np.array([-1, 3], np.int64)), [-1, 3])
    assert as_labels(np.zeros((2, 3), bool)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_class_numbers_of_any_width_give_the_same_numbers(tmp_path):
    query, database, *_ = make_data()
    classes, labels = np.array([0, 1, 2, -1, 1]), np.array([2, 1, 0, 0, -1, 1, 2, 7])
    big = [np.where(numbers >= 0, numbers * 2**32 + 5, -1) for numbers in (classes, labels)]
    small, large = (
        evaluate_files(write_data(tmp_path, (query, database, *pair)), tmp_path / "out", Options())
        for pair in ((classes, labels), big)
    )
    ignored = {"inputs", "seconds"}
    assert {k: v for k, v in large.items() if k not in ignored} == {k: v for k, v in small.items() if k not in ignored}


def test_output_of_others_is_left_alone(tmp_path):
    files = write_data(tmp_path)
    for name, content in (("config.json", "{}"), ("metrics.json", '{"loss": 1}'), ("metrics.json", "text")):
        folder = tmp_path / f"{name}{len(content)}"
        folder.mkdir()
        (folder / name).write_text(content)
        with pytest.raises(UserError, match="another directory"):
            evaluate_files(files, folder, OPTIONS)
        assert [path.name for path in folder.iterdir()] == [name] and (folder / name).read_text() == content
    with pytest.raises(UserError, match="is a file"):
        evaluate_files(files, tmp_path / "in.npz", OPTIONS)
    with pytest.raises(UserError, match="cannot be written"):
        evaluate_files(files, Path("/proc/nowhere/out"), OPTIONS)


def test_lock_is_respected_and_given_back(tmp_path):
    files, out = write_data(tmp_path), tmp_path / "out"
    out.mkdir()
    lock = lock_directory(out)
    with pytest.raises(UserError, match=f"is being written by process {os.getpid()}"):
        evaluate_files(files, out, OPTIONS)
    unlock_directory(out, lock)
    evaluate_files(files, out, OPTIONS)
    evaluate_files(files, out, OPTIONS)
    assert {path.name for path in out.iterdir()} - set(LOCK_FILES) == {"metrics.json"}


def test_a_signal_stops_before_anything_is_written(tmp_path):
    with pytest.raises(RunStoppedError, match="SIGTERM.*nothing was written"):
        evaluate_files(write_data(tmp_path), tmp_path / "out", OPTIONS, stop_requested=lambda: "SIGTERM")
    assert not (tmp_path / "out/metrics.json").exists()


ORDERS = {(4, "ppo"): [[5, 2, 0, 7]], (4, "random"): [[1, 2, 3, 4], [4, 5, 6, 7]]}


@pytest.fixture
def finished_run(tmp_path):
    """A directory as a run of eight bits on digits leaves it."""
    folder, rng = tmp_path / "run", np.random.default_rng(0)
    dataset = data.load_dataset("digits")
    name, protocol = data.find_protocol(data.ProtocolSettings("balanced", 2, 3, False))
    split = data.make_split(dataset, name, protocol, 0)
    query_labels, labels = dataset.labels[split.query], dataset.labels[split.database]
    prototypes = rng.integers(0, 2, (10, 8))
    query, database = (prototypes[y] ^ (rng.random((len(y), 8)) < 0.1) for y in (query_labels, labels))
    for part, codes in (("query", query), ("database", database)):
        save_codes(folder / f"codes/{part}", codes)
    write_arrays(folder / "split.npz", {each: getattr(split, each) for each in ("query", "train", "database")})
    facts = lambda orders: {"orders": orders, "rewards": [0.5] * len(orders), "map_evaluations": 1}
    selections = [{"bits": bits, "selector": each} | facts(orders) for (bits, each), orders in ORDERS.items()]
    rows, of_run = [], {"method": "drlhash", "dataset": dataset.name, "protocol": name, "seed": 0, "encoder": "mlp"}
    for (bits, selector), orders in {(8, "none"): [list(range(8))], **ORDERS}.items():
        measured = {"map": 0.5, "map_sd": 0.1, "map_at": 100, "n_database": len(labels)}
        if len(orders) == 1:
            measured = measure(Task(query_labels, labels, 100), query[:, orders[0]], database[:, orders[0]])
        role = "pool" if selector == "none" else "selected"
        rows.append({**of_run, "role": role, "selector": selector, "bits": bits, "pool_bits": 8, **measured})
    # An encoder trained at the length of a selection is not measured again.
    rows.append({**rows[0], "role": "direct", "bits": 4, "pool_bits": 4, "map": 0.7})
    config = {"seed": 0, "top_k": 100, "data": {"source": "digits", "path": "", "protocol": "balanced"}}
    contents = {
        "config.json": {"format": 2, "config": config},
        "run.json": {"format": 2, "split": {"protocol": name, "digest": data.split_digest(split)}},
        "selection.json": {"reward": {"all_bits": 0.5}, "selections": selections},
        "metrics.json": {"definitions": {}, "results": rows},
    }
    for file, content in contents.items():
        write_json(folder / file, content)
    return folder


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_a_finished_run_gets_its_own_numbers(finished_run):
    before = {path.name: path.read_bytes() for path in finished_run.glob("*.json")}
    got = evaluate_run(finished_run, Options(reproduce=("adsh",)))
    assert json.loads((finished_run / "eval.json").read_text()) == got
    assert all((finished_run / name).read_bytes() == content for name, content in before.items())
    own = {(row["bits"], row["selector"]): row for row in json.loads(before["metrics.json"])["results"]}
    database = load_codes(finished_run / "codes/database.npy", 8)
    assert [(row["bits"], row["selector"]) for row in got["results"]] == list(own)[:-1]
    assert [row["role"] for row in got["results"]] == ["pool", "selected", "selected"]
    for row in got["results"]:
        each = own[row["bits"], row["selector"]]
        assert (row["method"], row["encoder"]) == ("drlhash", "mlp")
        assert row["map_at"] == 100 and row["protocol"] == "balanced-2-3-rest" and row["n_database"] == 1747
        ones = database[:, ORDERS.get((row["bits"], row["selector"]), [range(8)])[0]].mean(axis=0)
        assert row["code_health"]["database"]["balance"]["each"] == pytest.approx(ones, abs=1e-6)
        if row["selector"] == "random":
            # The run has the mean over two draws, this is the first.
            continue
        for field in (*TIES, "precision_radius2", "empty_balls"):
            assert row[field] == pytest.approx(each[field], abs=2e-6), field
        assert (row["n_query"], row["reproduce"]["adsh"]["top_k"]) == (each["n_query"], None)


RUN_MISTAKES = {
    "no run": (lambda run: (run / "config.json").unlink(), "holds no run"),
    "not finished": (lambda run: (run / "metrics.json").unlink(), "finish it first"),
    "codes": (lambda run: (run / "codes/query.npy").write_bytes(b"x"), "SHA-256"),
    "codes without facts": (lambda run: (run / "codes/query.json").unlink(), "number of bits is unknown"),
    "rows": (lambda run: change(run / "codes/query.json", lambda facts: facts.update(rows=3)), "20 rows.*says 3"),
    "split": (lambda run: change(run / "run.json", lambda facts: facts["split"].update(digest="0")), "was changed"),
    "run.json": (lambda run: (run / "run.json").write_text('{"format": 2}'), "no field split"),
    "damaged": (lambda run: (run / "selection.json").write_text("{"), "selection.json is not JSON"),
    "format": (lambda run: change(run / "config.json", lambda facts: facts.pop("format")), "of format 1"),
    "data": (
        lambda run: change(run / "metrics.json", lambda facts: facts["results"][0].update(map=0.123)),
        "says mAP 0.123 for the pool at 8 bits.*digits.*data were changed",
    ),
}


@pytest.mark.parametrize("spoil, words", [pytest.param(*case, id=name) for name, case in RUN_MISTAKES.items()])
def test_runs_that_cannot_be_measured_get_one_line(spoil, words, finished_run):
    spoil(finished_run)
    with pytest.raises(UserError, match=words) as error:
        evaluate_run(finished_run, Options())
    assert "\n" not in str(error.value)
    assert not (finished_run / "eval.json").exists()


def test_a_run_without_selections_has_its_pool(finished_run):
    (finished_run / "selection.json").unlink()
    (row,) = evaluate_run(finished_run, OPTIONS)["results"]
    assert (row["selector"], row["bits"], row["map_at"]) == ("none", 8, OPTIONS.top_k)


def addresses(files):
    names = ("query_codes", "database_codes", "query_labels", "database_labels")
    return [f"--{name}={getattr(files, name)}" for name in names]


def test_command_prints_tables_and_says_what_it_read(tmp_path):
    arguments = [*addresses(write_data(tmp_path)), f"--workdir={tmp_path / 'out'}", "--reproduce=dpsh", "--ranks=2,8"]
    done = run_command("eval", *arguments)
    assert done.returncode == 0, done.stderr
    assert f"--query_codes={tmp_path}/in.npz:query: 5 rows x 5 bits, read as bits" in done.stdout
    assert str(tmp_path / "out/metrics.json") in done.stdout and "jiangqy/DPSH-pytorch" in done.stdout
    got = json.loads((tmp_path / "out/metrics.json").read_text())
    assert f"{got['map']:.4f}" in done.stdout and got["by_rank"]["rank"] == [2, 8]
    assert "evaluation, 5 bits: done in" in done.stderr


FLAG_MISTAKES = {
    "no workdir": ([], ["needs --workdir"]),
    "half": (["--query_codes=q.npy", "--workdir=OUT"], ["--database_codes, --query_labels, --database_labels missing"]),
    "preset": (["--reproduce=tarl", "--workdir=OUT", "FILES"], ["--reproduce=tarl", "did you mean talr?"]),
    "about nothing": (["--bits=8", "--workdir=OUT"], ["--bits says how files are read"]),
}


@pytest.mark.parametrize("arguments, words", [pytest.param(*case, id=name) for name, case in FLAG_MISTAKES.items()])
def test_command_refuses_in_one_line(arguments, words, tmp_path):
    files = addresses(write_data(tmp_path))
    filled = [a.replace("OUT", str(tmp_path / "out")) for a in arguments if a != "FILES"]
    done = run_command("eval", *filled, *(files if "FILES" in arguments else []))
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 1 and all(word in lines[0] for word in words), done.stderr
    assert not (tmp_path / "out").exists()
