"""Splits: counts, disjointness, balance, and draws that repeat."""

import hashlib

import numpy as np
import pytest

from drlhash_jax.data import (
    PROTOCOLS,
    Dataset,
    ProtocolSettings,
    Split,
    find_protocol,
    load_dataset,
    make_split,
    query_labels,
    split_digest,
    validation_split,
)
from drlhash_jax.errors import UserError

# As many rows and classes as CIFAR-10, in an order that is not sorted.
CIFAR_LABELS = (np.arange(60_000) * 7 % 10).astype(np.int32)
CIFAR = Dataset("made up", None, CIFAR_LABELS)


def draw(name, seed=0, dataset=CIFAR):
    return make_split(dataset, name, PROTOCOLS[name], seed)


def check_rows(split, num_rows):
    for rows in (split.query, split.train, split.database):
        assert rows.dtype == np.int64
        assert len(set(rows.tolist())) == len(rows)
        assert rows.min() >= 0 and rows.max() < num_rows
    query = set(split.query.tolist())
    assert not query & set(split.train.tolist())
    assert not query & set(split.database.tolist())


@pytest.mark.parametrize(
    ("name", "num_query", "num_train", "num_database"),
    [
        ("C-54", 1_000, 5_000, 54_000),
        ("C-59", 1_000, 5_000, 59_000),
        ("C-II", 10_000, 50_000, 50_000),
        ("C-A", 1_000, 59_000, 59_000),
    ],
)
def test_cifar_protocols(name, num_query, num_train, num_database):
    split = draw(name)
    assert split.protocol == name
    assert (len(split.query), len(split.train), len(split.database)) == (num_query, num_train, num_database)
    check_rows(split, 60_000)
    for rows in (split.query, split.train, split.database):
        assert np.bincount(CIFAR_LABELS[rows]).tolist() == [len(rows) // 10] * 10
    train, database = set(split.train.tolist()), set(split.database.tolist())
    if name == "C-54":
        assert not train & database
        assert len(train | database | set(split.query.tolist())) == 60_000
    else:
        assert train <= database


def test_seeds():
    first, again, other = draw("C-54", 0), draw("C-54", 0), draw("C-54", 1)
    for name in ("query", "train", "database"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))
    assert split_digest(first) == split_digest(again) != split_digest(other)
    # Rows are drawn at random, not from the front.
    assert first.query.max() > 50_000 and first.train.max() > 50_000


def test_digest_is_that_of_the_documented_bytes():
    split = Split("C-54", np.array([2, 0]), np.array([1]), np.array([3, 4, 5]))
    # The name, then for each array its length and its values, as little-endian 64-bit integers.
    numbers = [2, 2, 0, 1, 1, 3, 3, 4, 5]
    content = b"C-54" + b"".join(number.to_bytes(8, "little") for number in numbers)
    assert split_digest(split) == hashlib.sha256(content).hexdigest()
    assert split_digest(split) == "daecdee161521dd12acac2555357006feb22728079363c0431e921c0a665ae50"


def test_digest_sees_every_part():
    split = Split("C-54", np.array([0, 1]), np.array([2]), np.array([3, 4]))
    others = [
        split._replace(protocol="C-59"),
        split._replace(query=np.array([1, 0])),
        split._replace(train=np.array([5])),
        split._replace(database=np.array([3])),
        # The same numbers, cut elsewhere.
        split._replace(query=np.array([0]), train=np.array([1, 2])),
    ]
    assert len({split_digest(each) for each in (split, *others)}) == 6
    assert split_digest(split._replace(query=np.array([0, 1], np.int32))) == split_digest(split)


def test_digest_of_a_drawn_split_is_stable():
    # Changes if the draw, its order or NumPy's generator change: numbers would no longer be comparable.
    assert split_digest(draw("C-54")) == "d21e2bfcbe21a75507b6532c626d19aaebb96f98953b6ca69406e4967358dd39"


def test_published_coco_lists(shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data))
    dataset = load_dataset("coco_labels")
    split = draw("CO", dataset=dataset)
    assert (len(split.query), len(split.train), len(split.database)) == (5_000, 10_000, 117_218)
    check_rows(split, 122_218)
    assert set(split.train.tolist()) <= set(split.database.tolist())
    with np.load(shared_data / "coco_labels.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(split.query, arrays["hashnet_test"])
    # A published list is not drawn.
    assert split_digest(split) == split_digest(draw("CO", seed=5, dataset=dataset))


CONCEPTS = (np.random.default_rng(0).random((400, 4)) < (0.5, 0.1, 0.3, 0.2)).astype(np.uint8)
MULTI = Dataset("multi", None, CONCEPTS)


@pytest.mark.parametrize(("in_database", "size"), [(True, 392), (False, 372)])
def test_balanced_by_concept(in_database, size):
    split = configured("concepts", 2, 5, in_database, MULTI)
    assert split.protocol == f"concepts-2-5-{'all' if in_database else 'rest'}"
    assert (len(split.query), len(split.train), len(split.database)) == (8, 20, size)
    check_rows(split, 400)
    for rows, count in ((split.query, 2), (split.train, 5)):
        assert CONCEPTS[rows].sum(axis=0).min() >= count
    other = configured("concepts", 2, 5, in_database, MULTI, seed=1)
    assert split_digest(split) != split_digest(other)


def test_concepts_that_are_too_rare():
    rare = CONCEPTS.copy()
    rare[3:, 1] = 0
    rare[:3, 1] = 1
    with pytest.raises(UserError, match="needs 2 more rows of concept 1, 1 are left"):
        configured("concepts", 2, 2, True, Dataset("multi", None, rare))
    with pytest.raises(UserError, match="multi-hot"):
        configured("concepts", 1, 1, True)


def test_published_name_on_other_data_is_refused():
    # 70,000 rows, as Fashion-MNIST has: the database would be 64,000.
    larger = Dataset("other", None, (np.arange(70_000) % 10).astype(np.int32))
    with pytest.raises(UserError, match="C-54 on other would have database 64000, not 54000: use a protocol"):
        draw("C-54", dataset=larger)
    with pytest.raises(UserError, match="N-21 on other.*classes 4, not 21"):
        draw("N-21", dataset=Dataset("other", None, np.tile(CONCEPTS, (50, 1))))


def test_one_protocol_is_one_word():
    first, second = draw("C-54"), draw("C-59")
    np.testing.assert_array_equal(first.query, second.query)
    np.testing.assert_array_equal(first.train, second.train)
    np.testing.assert_array_equal(np.setdiff1d(second.database, first.database), first.train)


def test_rows_that_a_list_repeats():
    for lists in (([0, 0], [1], [1, 2]), ([0], [1, 1], [2]), ([0], [1], [2, 2])):
        dataset = Dataset("twice", None, np.array([0, 1, 0]), {"lists": tuple(map(np.array, lists))})
        with pytest.raises(UserError, match="listed twice"):
            draw("lists", dataset=dataset)


def test_lists_that_the_dataset_lacks():
    with pytest.raises(UserError, match="CO.*made up"):
        draw("CO")


def test_published_lists_that_overlap_are_refused():
    rows = np.arange(4)
    for lists in ((rows[:2], rows[1:3], rows[2:]), (rows[:2], rows[2:3], rows[1:])):
        dataset = Dataset("leaky", None, np.array([0, 1, 0, 1]), {"CO": lists})
        with pytest.raises(UserError, match="queries are also"):
            draw("CO", dataset=dataset)


SMALL = Dataset("small", None, np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, -1, -1], np.int32))


def configured(name, query, train, train_in_database, dataset=SMALL, seed=0):
    full_name, protocol = find_protocol(ProtocolSettings(name, query, train, train_in_database))
    return make_split(dataset, full_name, protocol, seed)


@pytest.mark.parametrize(("in_database", "word", "size"), [(False, "rest", 5), (True, "all", 9)])
def test_configured_balanced(in_database, word, size):
    split = configured("balanced", 1, 2, in_database)
    assert split.protocol == f"balanced-1-2-{word}"
    assert sorted(SMALL.labels[split.query].tolist()) == [0, 1]
    assert sorted(SMALL.labels[split.train].tolist()) == [0, 0, 1, 1]
    # 11 rows less 2 queries, less 4 training rows if these are left out; unlabelled rows stay in the database.
    assert len(split.database) == size and {9, 10} <= set(split.database.tolist())
    check_rows(split, 11)


def test_configured_random():
    labels = np.array([[1, 0], [0, 1]] * 10, np.uint8)
    dataset = Dataset("multi", None, labels)
    split = configured("random", 3, 5, False, dataset)
    assert split.protocol == "random-3-5-rest"
    assert (len(split.query), len(split.train), len(split.database)) == (3, 5, 12)
    check_rows(split, 20)
    assert split_digest(split) != split_digest(configured("random", 3, 5, False, dataset, seed=1))
    split = configured("random", 3, 5, True, dataset)
    assert set(split.train.tolist()) <= set(split.database.tolist()) and len(split.database) == 17


def test_named_protocols_ignore_the_configured_numbers():
    assert find_protocol(ProtocolSettings("C-54", 1, 2, True)) == ("C-54", PROTOCOLS["C-54"])


def test_settings_are_checked():
    assert ProtocolSettings.from_config({"query": 3, "source": "digits"}) == ProtocolSettings("balanced", 3, 50, False)
    for changes, words in {
        (("protocol", "C54"),): "data.protocol=C54: choose one of .*did you mean C-54",
        (("query", 0),): "data.query=0: must be a number from 1",
        (("train", 10**20),): "data.train=1000.*must be a number from 1",
        (("train_in_database", 1),): "data.train_in_database=1: must be of type bool",
    }.items():
        with pytest.raises(UserError, match=words):
            ProtocolSettings.from_config(dict(changes), "data.")


def test_classes_are_named_where_they_have_names():
    dataset = SMALL._replace(classes=("ant", "bee"))
    with pytest.raises(UserError, match="class ant has 4"):
        configured("balanced", 2, 3, True, dataset)


def test_too_few_rows():
    # Class 0 has 4 rows.
    with pytest.raises(UserError, match="needs 5 rows per class, class 0 has 4: lower --config.data.query"):
        configured("balanced", 2, 3, True)
    with pytest.raises(UserError, match="needs 12 rows.*has 11"):
        configured("random", 6, 6, True)
    with pytest.raises(UserError, match="class"):
        draw("C-54", dataset=SMALL)


def test_empty_database():
    with pytest.raises(UserError, match="database"):
        configured("random", 6, 5, False)


def test_balance_needs_one_label_per_row():
    dataset = Dataset("multi", None, np.array([[1, 0], [0, 1]] * 10, np.uint8))
    with pytest.raises(UserError, match="one label per row"):
        configured("balanced", 1, 1, True, dataset)


def test_unseen_classes_make_the_queries_and_are_never_trained_on():
    split = draw("C-8+2")
    check_rows(split, 60_000)
    assert (len(split.query), len(split.train), len(split.database)) == (1_000, 4_000, 55_000)
    query, train, database = (np.bincount(CIFAR_LABELS[rows], minlength=10) for rows in split[1:])
    assert sorted(query.tolist()) == [0] * 8 + [500] * 2
    assert sorted(train.tolist()) == [0] * 2 + [500] * 8
    assert not (query * train).any()
    # The unseen classes are searched with all others.
    assert database.tolist() == [5_500] * 10
    # Which classes are unseen is drawn.
    assert len({tuple(np.unique(CIFAR_LABELS[draw("C-8+2", seed).query])) for seed in range(4)}) > 1


def test_unseen_classes_of_several_labels():
    labels = (np.random.default_rng(0).random((300, 6)) < 0.25).astype(np.uint8)
    data = Dataset("made up", None, labels)
    settings = ProtocolSettings(protocol="unseen", query=10, train=12, unseen_classes=2)
    name, protocol = find_protocol(settings)
    assert name == "unseen-2-10-12-rest"
    split = make_split(data, name, protocol, 3)
    check_rows(split, 300)
    assert (len(split.query), len(split.train)) == (20, 48)
    unseen = [each for each in range(6) if not labels[split.train, each].any()]
    assert len(unseen) == 2 and labels[split.query][:, unseen].any(axis=1).all()
    assert labels[split.train].any(axis=1).all()
    # A row that shares a seen label with a query is not relevant for that.
    judged, seen = query_labels(labels, split), [each for each in range(6) if each not in unseen]
    np.testing.assert_array_equal(judged[:, unseen], labels[split.query][:, unseen])
    assert labels[split.query][:, seen].any() and not judged[:, seen].any()
    balanced = split._replace(protocol="random-20-48-rest")
    np.testing.assert_array_equal(query_labels(labels, balanced), labels[split.query])


@pytest.mark.parametrize(
    ("unseen", "query", "message"),
    [
        (9, 5, "leaves 1 of 10 classes to train on: it needs two or more"),
        (2, 7_000, r"needs 7000 query rows, and there are 6000: lower --config.data.query"),
    ],
)
def test_unseen_classes_that_there_are_not(unseen, query, message):
    settings = ProtocolSettings(protocol="unseen", query=query, train=5, unseen_classes=unseen)
    with pytest.raises(UserError, match=message):
        make_split(CIFAR, *find_protocol(settings), 0)


def test_validation_uses_training_rows_alone():
    split = draw("C-54")
    held = validation_split(split, 0.3, 0)
    check_rows(held, 60_000)
    assert held.protocol == "C-54-validation"
    assert (len(held.query), len(held.train), len(held.database)) == (500, 3_500, 1_000)
    assert np.array_equal(np.sort(np.concatenate(held[1:])), split.train)
    with pytest.raises(UserError, match="data.validation=0.0001: 5000 training rows are too few for it"):
        validation_split(split, 0.0001, 0)
