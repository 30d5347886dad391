"""A model of your own data in one step: the same codes from files, arrays and a saved model, and honest numbers."""

import pickle

import jax
import numpy as np
import pytest
from commands import run_command
from PIL import Image
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks
from small_models import FEATURES, draw_inputs, save_model

import drlhash_jax as dj
from drlhash_jax import bundles, fitting
from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.fitting.fit import count_right, right_labels
from drlhash_jax.runs.finished import read_finished_run, read_run_data

WANTED = {"bits": 12, "method": "hashnet", "seed": 1}
FIT = ("fit", "--embeddings=x.npy", "--labels=y.npy", "--model=model")
FLAGS = tuple(f"--{name}={value}" for name, value in WANTED.items())


def cluster_rows(num_rows=80):
    """Three clusters that overlap: float64 ``[N, 6]`` and class numbers ``[N]``."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, num_rows)
    return rng.normal(size=(num_rows, 6)) + 1.5 * rng.normal(size=(3, 6))[labels], labels


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folder of embeddings, labels and a fitted model; what was printed."""
    folder = tmp_path_factory.mktemp("fit")
    rows, labels = cluster_rows()
    np.save(folder / "x.npy", rows)
    np.save(folder / "y.npy", labels)
    np.save(folder / "short.npy", labels[:-1])
    np.save(folder / "nan.npy", np.where(np.arange(480).reshape(80, 6) == 33, np.nan, rows))
    done = run_command(*FIT, *FLAGS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def hasher():
    return dj.Hasher(**WANTED).fit(*cluster_rows())


def test_command_and_estimator_give_the_same_codes(place, hasher, tmp_path):
    folder, _ = place
    rows, labels = cluster_rows()
    codes = hasher.transform(rows)
    assert codes.dtype == np.uint8 and codes.shape == (80, 12) and set(np.unique(codes)) == {0, 1}
    np.testing.assert_array_equal(codes, dj.load(folder / "model").encode(rows.astype(np.float32)))
    np.testing.assert_array_equal(codes, dj.Hasher.load(folder / "model").transform(rows))
    np.testing.assert_array_equal(codes, pickle.loads(pickle.dumps(hasher)).transform(rows))
    assert dj.Hasher.load(folder / "model").get_params() == WANTED == clone(hasher).get_params()
    # Classes by any other name.
    other = dj.Hasher(**WANTED).fit(rows, np.array(["ant", "bee", "cat"])[labels])
    np.testing.assert_array_equal(codes, other.transform(rows))
    assert other.classes_.tolist() == ["ant", "bee", "cat"] and hasher.classes_.tolist() == [0, 1, 2]


def test_a_saved_hasher_is_a_model(hasher, tmp_path):
    rows, _ = cluster_rows()
    hasher.save(tmp_path / "model")
    loaded = dj.Hasher.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(rows), hasher.transform(rows))
    np.save(tmp_path / "x.npy", rows)
    done = run_command("encode", "--model=model", "--embeddings=x.npy", "--bundle=x.drlh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(bundles.open_bundle(tmp_path / "x.drlh").codes, hasher.codes_)
    with pytest.raises(UserError, match="is there already"):
        hasher.save(tmp_path / "model")
    with pytest.raises(UserError, match="has no rows: give search"):
        loaded.search(rows)


def test_search(hasher):
    rows, _ = cluster_rows()
    codes = hasher.transform(rows)
    order = np.argsort((codes[:5, None] != codes[None]).sum(axis=2), axis=1, kind="stable")[:, :7]
    for database in (None, codes):
        distances, found = hasher.search(rows[:5], 7, database)
        np.testing.assert_array_equal(found, order)
        assert (distances == (codes[:5, None] != codes[found]).sum(axis=2)).all()
    with pytest.raises(UserError, match="database has 11 bits, this hasher 12"):
        hasher.search(rows, database=codes[:, :11])


def test_queries_have_their_own_function(tmp_path):
    _, params = save_model(tmp_path / "two", "erh_two")
    params["layers"]["database"] = jax.tree.map(lambda x: -x, params["layers"]["query"])
    save_model(tmp_path / "new", "erh_two", params=params)
    rows = draw_inputs(FEATURES, 20)
    hasher, model = dj.Hasher.load(tmp_path / "new"), dj.load(tmp_path / "new")
    query, database = (model.encode(rows, role=role) for role in ("query", "database"))
    np.testing.assert_array_equal(hasher.transform(rows), database)
    distances, _ = hasher.search(rows, 20, database)
    np.testing.assert_array_equal(distances, np.sort((query[:, None] != database).sum(axis=2), axis=1))
    assert (query != database).any()


def test_images(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(30):
        path = tmp_path / f"photos/{number % 3}/{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 9, 3)).astype(np.uint8)).save(path)
    done = run_command("fit", "--images=photos", "--bits=8", "--method=lsh", "--model=model", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("8 bits by lsh, 15 rows trained on; 6 others"), done.stderr
    assert "encode --model=model --images=FOLDER" in done.stdout
    done = run_command("encode", "--model=model", "--images=photos", "--bundle=x.drlh", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    bundle, model = bundles.open_bundle(tmp_path / "x.drlh"), dj.load(tmp_path / "model")
    codes = model.encode_images([tmp_path / "photos" / name for name in bundle.ids()])
    np.testing.assert_array_equal(np.packbits(codes, axis=1), bundle.codes)
    assert model.encode_images([]).shape == (0, 8)
    (tmp_path / "broken.png").touch()
    with pytest.raises(UserError, match="broken.png cannot be read: .*; leave it out"):
        model.encode_images([tmp_path / "broken.png"])
    with pytest.raises(UserError, match="reads images: use drlhash_jax.load"):
        dj.Hasher.load(tmp_path / "model")


def test_what_fit_says(place, hasher, monkeypatch):
    """The numbers are those of rows that were kept back, by the codes that the run stored."""
    folder, printed = place
    monkeypatch.chdir(folder)
    run = read_finished_run(folder / "model")
    loaded = read_run_data(run)
    split = loaded.split
    assert not np.intersect1d(split.train, np.concatenate([split.query, split.database])).size
    codes = hasher.transform(cluster_rows()[0])
    labels = loaded.dataset.labels
    distances = (codes[split.query][:, None] != codes[split.database][None]).sum(axis=2)
    nearest = split.database[np.argsort(distances, axis=1, kind="stable")[:, :10]]
    share = (labels[nearest] == labels[split.query][:, None]).mean()
    relevant = (labels[split.database] == labels[split.query][:, None]).sum(axis=1)
    possible = np.minimum(relevant, 10).mean() / 10
    assert hasher.precision_ == pytest.approx(share) and 0.5 < share < possible < 1
    low, high = run.pool["map_interval"]
    assert hasher.map_ == run.pool["map"] and run.pool["seed"] == 1
    assert printed.splitlines() == [
        "12 bits by hashnet, 40 rows trained on; 16 others were searched for in 24 more:",
        f"  {share:.1%} of the 10 nearest rows have a right label; "
        f"no more than {possible:.1%} can, as classes are that small",
        f"  mAP {hasher.map_:.3f}, 95 % interval {low:.3f} to {high:.3f}",
        "written: model",
        "next:",
        "  python -m drlhash_jax.main encode --model=model --embeddings=FILE --bundle=codes.drlh",
        "  python -m drlhash_jax.main query --bundle=codes.drlh --model=model --embedding=FILE",
    ]


def test_right_labels():
    found = np.array([[0, 1, -1], [2, 2, 0], [-1, 0, 1]])
    assert right_labels(np.array([0, 2, -1]), found).tolist() == [[True, False, False], [True, True, False]]
    query = np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1]], np.uint8)
    found = np.array([[[0, 1, 1], [0, 0, 1]]] * 3, np.uint8)
    assert right_labels(query, found).tolist() == [[True, False], [True, True]]
    assert count_right(np.array([0, 2, -1, 3]), np.array([0, -1, 0, 1, 2])).tolist() == [2, 1, 0]
    assert count_right(query, found[0]).tolist() == [1, 2]


def test_the_same_command_again_computes_nothing(place):
    folder, printed = place
    before = {path: path.stat().st_mtime_ns for path in folder.glob("model/checkpoints/*")}
    done = run_command(*FIT, *FLAGS, cwd=folder)
    assert done.returncode == 0 and done.stdout == printed
    assert "nothing is computed again" in done.stderr and before
    assert {path: path.stat().st_mtime_ns for path in folder.glob("model/checkpoints/*")} == before


def test_a_stopped_fit_goes_on(place, hasher, tmp_path):
    folder, _ = place
    config = fitting.embeddings_fit(str(folder / "x.npy"), str(folder / "y.npy"), fitting.Choice(**WANTED))
    asked = []

    def stop_requested():
        asked.append(True)
        return "SIGTERM" if len(asked) == 3 else None

    with pytest.raises(RunStoppedError):
        fitting.fit(config, tmp_path / "model", stop_requested)
    fitted = fitting.fit(config, tmp_path / "model")
    assert fitted.precision == hasher.precision_ and fitted.row["map"] == hasher.map_
    rows = cluster_rows()[0]
    np.testing.assert_array_equal(dj.Hasher.load(tmp_path / "model").transform(rows), hasher.transform(rows))


MISTAKES = {
    "no model": (FIT[:-1], "fit needs --model=DIR"),
    "two kinds": ((*FIT, "--images=."), "give one of --embeddings=FILE and --images=FOLDER"),
    "no labels": ((FIT[0], FIT[1], FIT[3]), "--labels=FILE goes with --embeddings"),
    "labels of images": (("fit", "--images=.", FIT[2], FIT[3]), "--labels=FILE goes with --embeddings"),
    "no such file": ((*FIT, "--labels=z.npy"), "--labels: z.npy: no such file"),
    "no such embeddings": ((*FIT, "--embeddings=z.npy"), "--embeddings: z.npy: no such file"),
    "another number of rows": ((*FIT, "--labels=short.npy", "--model=new"), "--embeddings=x.npy: 80 rows of inputs"),
    "not a number": ((*FIT, "--embeddings=nan.npy", "--model=new"), "--embeddings=nan.npy: NaN or infinity"),
    "no such method": ((*FIT, "--method=hashnot", "--model=new"), "method=hashnot"),
    "another length": ((*FIT, *FLAGS, "--bits=8"), "--model=model holds a run with another config"),
    "no folder": (("fit", "--images=nothing", "--model=new"), "--images: nothing: no such folder"),
    "no classes": (("fit", "--images=model/codes", "--model=new"), "has no sub-folders"),
}


@pytest.mark.parametrize(("arguments", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line(arguments, words, place):
    folder, _ = place
    done = run_command(*arguments, cwd=folder)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert done.stderr.startswith("drlhash_jax: ") and done.stderr.count("\n") == 1
    assert not (folder / "new").exists()


def test_arrays_that_cannot_be_fitted():
    rows, labels = cluster_rows()
    for X, y, words in (
        (rows, np.zeros(80, int), "^y: the labels hold 1 class"),
        (rows[:19], labels[:19], "19 rows are too few"),
        (rows, labels[:3], "inconsistent numbers of samples"),
        (np.full((80, 2), np.inf), labels, "infinity"),
        (rows, None, "requires y to be passed"),
    ):
        with pytest.raises(ValueError, match=words):
            dj.Hasher(12, method="lsh").fit(X, y)


# Checks that fit fewer rows than can be divided into rows to learn from, to search in and to search for.
TOO_FEW_ROWS = dict.fromkeys(
    ("check_n_features_in_after_fitting", "check_estimators_nan_inf", "check_fit2d_1feature"), "fits fewer than 20 rows"
)


@pytest.mark.exhaustive
@parametrize_with_checks([dj.Hasher(4, method="lsh")], expected_failed_checks=lambda estimator: TOO_FEW_ROWS)
def test_scikit_learn(estimator, check):
    check(estimator)
