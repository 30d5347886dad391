"""Whole runs from the command line, each in a process of its own, and every mistake a user can make there."""

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from commands import ROOT, run_command
from safetensors.numpy import load_file

from drlhash_jax.encoders import ENCODERS, make_encoder
from drlhash_jax.encoders.pretrained import published_names

ROW_FIELDS = {
    *(
        "method",
        "role",
        "selector",
        "bits",
        "pool_bits",
        "dataset",
        "protocol",
        "seed",
        "encoder",
        "map",
        "map_at",
        "seconds",
    ),
    *("map_stable", "map_pessimistic", "map_optimistic", "precision_radius2", "empty_balls", "n_query", "n_database"),
}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A finished smoke run: its directory and what it printed."""
    workdir = tmp_path_factory.mktemp("runs") / "smoke run"
    return workdir, run_command("--config=configs/smoke.py", f"--workdir={workdir}")


@pytest.mark.slow
def test_run_writes_every_artefact(smoke):
    workdir, done = smoke
    assert done.returncode == 0, done.stderr
    names = {path.name for path in workdir.iterdir() if path.name != ".lock"}
    assert names == {
        *("checkpoints", "codes", "config.json", "metrics.json", "metrics.jsonl", "model", "run.json"),
        *("selection.json", "split.npz"),
    }
    assert "PPO" in done.stdout and "greedy" in done.stdout and str(workdir / "metrics.json") in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_result_rows(smoke):
    workdir, _ = smoke
    metrics = json.loads((workdir / "metrics.json").read_text())
    rows = metrics["results"]
    assert all(set(row) >= ROW_FIELDS for row in rows)
    # One row for the pool, six selectors and one direct training at each of two lengths.
    assert len(rows) == 1 + 2 * (6 + 1)
    for row in rows:
        assert 0 <= row["map_pessimistic"] <= row["map"] <= row["map_optimistic"] <= 1
        assert (row["n_query"], row["n_database"]) == (50, 1647)
    # 1,797 digits less 5 + 10 rows of each of ten classes.
    assert rows[0]["protocol"] == "balanced-5-10-rest"
    assert {"map", "map_stable"} <= set(metrics["definitions"])


@pytest.mark.slow
def test_selection_file_is_consistent(smoke):
    workdir, _ = smoke
    selection = json.loads((workdir / "selection.json").read_text())
    evaluations = {}
    for each in selection["selections"]:
        for order, mask in zip(each["orders"], each["masks"], strict=True):
            assert len(set(order)) == each["bits"] == mask.count("1")
            assert all(mask[bit] == "1" for bit in order)
        evaluations[each["selector"], each["bits"]] = each["map_evaluations"]
    # Greedy: 16 + 15 + 14 + 13; PPO: 10 updates of 4 environments and one most probable episode.
    assert evaluations["greedy", 4] == 58 and evaluations["ppo", 4] == 50
    curve = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in curve if row["stage"] == "selection_004_ppo"] == list(range(10))


@pytest.mark.slow
def test_rerun_finishes_at_once_and_changes_nothing(smoke):
    workdir, _ = smoke
    before = (workdir / "metrics.json").read_text(), (workdir / "selection.json").read_text()
    again = run_command("--config=configs/smoke.py", f"--workdir={workdir}")
    assert again.returncode == 0, again.stderr
    assert "done in" not in again.stderr
    assert before == ((workdir / "metrics.json").read_text(), (workdir / "selection.json").read_text())


@pytest.mark.slow
def test_eval_says_what_the_run_said(smoke, tmp_path):
    shutil.copytree(smoke[0], tmp_path / "run")
    done = run_command("eval", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    assert "best_of_random" in done.stdout and str(tmp_path / "run/eval.json") in done.stdout
    trained = json.loads((smoke[0] / "metrics.json").read_text())["results"]
    own = {(row["bits"], row["selector"]): row for row in trained if row["role"] != "direct"}
    rows = json.loads((tmp_path / "run/eval.json").read_text())["results"]
    # The pool and six selectors at two lengths; codes trained at a length are not kept.
    assert len(rows) == 1 + 2 * 6
    for row in rows:
        if row["selector"] != "random":
            expected = own[row["bits"], row["selector"]]
            for name in ("map", "map_stable", "map_pessimistic", "map_optimistic", "map_interval"):
                assert row[name] == pytest.approx(expected[name], abs=2e-6), name


@pytest.mark.slow
@pytest.mark.exhaustive
def test_interrupted_run_ends_as_the_uninterrupted_one(smoke, tmp_path):
    workdir, _ = smoke
    process = subprocess.Popen(
        [sys.executable, "-m", "drlhash_jax.main", "--config=configs/smoke.py", f"--workdir={tmp_path / 'killed'}"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "encoder, 16 bits" in line:
            break
    process.kill()
    process.wait()
    assert not (tmp_path / "killed/metrics.json").exists()
    resumed = run_command("--config=configs/smoke.py", f"--workdir={tmp_path / 'killed'}")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("codes/query.npy", "codes/database.npy", "codes/train_heldout.npy", "model/params.safetensors"):
        assert (workdir / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name
    numbers = lambda folder: [
        {key: value for key, value in row.items() if key != "seconds"}
        for row in json.loads((folder / "metrics.json").read_text())["results"]
    ]
    assert numbers(workdir) == numbers(tmp_path / "killed")


@pytest.mark.slow
def test_label_only_data_run_stage_1(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("DRLHASH_DATA", str(shared_data.resolve()))
    done = run_command(
        "--config=configs/coco_labels.py",
        f"--workdir={tmp_path / 'coco'}",
        "--config.target_codes.num_epochs=3",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "coco/run.json").read_text())
    assert facts["rows"] == {"query": 5000, "train": 10000, "database": 117218}
    assert facts["unlabelled_training_rows"] == 0
    assert np.load(tmp_path / "coco/codes/train_target.npy").shape == (10000, 8)


def write_arrays(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {"features": rng.normal(size=(60, 4)).astype(np.float32), "labels": np.arange(60) % 3} | changes
    np.savez(path, **arrays)
    return path


# Arguments, and words that the one line of the answer must hold.
MISTAKES = {
    "flag": (["--confg=x"], ["confg", "config"]),
    "field": (["--config.pool_bit=3"], ["pool_bit"]),
    "type": (["--config.pool_bits=many"], ["pool_bits", "many"]),
    "config file": (["--config=configs/digit.py"], ["digit.py", "did you mean digits"]),
    "command": (["trian"], ["trian", "did you mean train"]),
    "zero bits": (["--config.bits=0,16"], ["bits=0", "1 to pool_bits=64"]),
    "p above pool": (["--config.bits=65"], ["bits=65", "pool_bits=64"]),
    "no pool": (["--config.pool_bits=0"], ["pool_bits=0"]),
    "encoder": (["--config.encoder.name=alexnett"], ["alexnett", "did you mean alexnet"]),
    "protocol": (["--config.data.protocol=C-55"], ["C-55", "did you mean C-5"]),
    "weights": (["--config.encoder.weights=w.pth"], ["w.pth", "no published weights of compact"]),
    "packaged weights": (
        ["--config.encoder.name=alexnet", "--config.encoder.weights=imagenet", "--config.encoder.options={}"],
        ["colour images"],
    ),
    "compute dtype": (["--config.encoder.compute_dtype=float16"], ["float16", "bfloat16"]),
    "encoder for other input": (["--config.encoder.name=mlp", "--config.encoder.options={}"], ["mlp", "images"]),
    "wrapper": (["--config.parallel=pmapp"], ["parallel=pmapp", "did you mean pmap"]),
    "half a coordinator": (["--coordinator=127.0.0.1:9"], ["--num_processes", "all three"]),
    "process beyond": (
        ["--coordinator=127.0.0.1:9", "--num_processes=2", "--process_id=2"],
        ["process_id=2", "num_processes=2"],
    ),
    "workdir is a file": (["--workdir=README.md"], ["README.md", "is a file"]),
    "workdir of others": (["--workdir=configs"], ["configs", "other files"]),
    "workdir cannot be made": (["--workdir=/proc/nowhere/run"], ["/proc/nowhere", "cannot be written"]),
}


@pytest.mark.parametrize("arguments, words", [pytest.param(*case, id=name) for name, case in MISTAKES.items()])
def test_mistakes_get_one_line(arguments, words, tmp_path):
    has_workdir = any(argument.startswith("--workdir") for argument in arguments)
    done = run_command(*arguments, *([] if has_workdir else [f"--workdir={tmp_path / 'run'}"]))
    lines = [line for line in done.stderr.splitlines() if line.startswith("drlhash_jax: ")]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1 and all(word in lines[0] for word in words), done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


DEVICE_MISTAKES = {
    "batch": (["--config.training.batch_size=33"], ["training.batch_size=33", "multiple of 2 devices"]),
    "environments": (["--config.ppo.num_envs=15"], ["ppo.num_envs=15", "multiple of 2 devices"]),
    "minibatch": (
        ["--config.bits=3", "--config.ppo.num_envs=2", "--config.ppo.num_minibatches=2"],
        ["ppo.num_minibatches=2", "bits=3", "3 steps", "multiple of 2 devices"],
    ),
}


@pytest.mark.parametrize("arguments, words", [pytest.param(*case, id=name) for name, case in DEVICE_MISTAKES.items()])
def test_work_that_does_not_divide_gets_one_line(arguments, words, tmp_path):
    done = run_command(*arguments, f"--workdir={tmp_path / 'run'}", devices=2)
    assert done.returncode == 1, done.stderr
    assert all(word in done.stderr for word in words) and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


DATA_MISTAKES = {
    "NaN": ({"features": np.array([[1.0, np.nan]] * 60, np.float32)}, ["NaN", "row 0"]),
    "rows": ({"labels": np.arange(59) % 3}, ["60 rows", "59 rows"]),
    "shape": ({"features": np.zeros((60, 2, 2), np.float32)}, ["(60, 2, 2)"]),
    "one class": ({"labels": np.zeros(60, int)}, ["1 class"]),
    "objects": ({"labels": np.array(["a"] * 60)}, ["mine.npz:labels holds <U1", "give numbers"]),
}


@pytest.mark.parametrize("changes, words", [pytest.param(*case, id=name) for name, case in DATA_MISTAKES.items()])
def test_wrong_data_get_one_line(changes, words, tmp_path):
    path = write_arrays(tmp_path / "mine.npz", **changes)
    done = run_command(
        *("--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", "--config.data.source=arrays"),
        *(f"--config.data.path={path}", "--config.encoder.name=mlp", "--config.encoder.options={}"),
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("drlhash_jax: ")]
    assert done.returncode == 1, done.stderr
    assert len(lines) == 1 and all(word in lines[0] for word in words), done.stderr
    assert not (tmp_path / "run").exists()


def photo_arguments(tmp_path):
    """Flags of a short run on random colour images from the weights in tmp_path/w.npz."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 32, 32, 3)).astype(np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "photos.npz", images=images, labels=labels)
    return [
        *("--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}", "--config.data.source=arrays"),
        *(f"--config.data.path={tmp_path / 'photos.npz'}", "--config.encoder.name=efficientnet_lite0"),
        *("--config.encoder.options={}", f"--config.encoder.weights={tmp_path / 'w.npz'}"),
        *(
            "--config.training.learning_rate=0.0",
            "--config.last_stage=encoder",
            "--config.encoder.compute_dtype=bfloat16",
        ),
    ]


def published_arrays(seed=0):
    encoder, rng = make_encoder("efficientnet_lite0", 1), np.random.default_rng(seed)
    shapes = published_names(ENCODERS["efficientnet_lite0"].published, encoder, 32).values()
    # Positive throughout, since some of them are variances.
    return {name: rng.uniform(0.1, 1.0, shape).astype(np.float32) for name, shape in shapes}


@pytest.mark.slow
def test_run_from_published_weights(tmp_path):
    arrays = published_arrays()
    np.savez(tmp_path / "w.npz", **arrays)
    arguments = photo_arguments(tmp_path)
    done = run_command(*arguments)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "run/run.json").read_text())["weights"]
    digest = hashlib.sha256((tmp_path / "w.npz").read_bytes()).hexdigest()
    assert facts == {"file": "w.npz", "sha256": digest, "tensors": 245}
    # The trunk's learning rate is 0: it leaves as it came.
    params = load_file(tmp_path / "run/model/params.safetensors")
    np.testing.assert_array_equal(params["stem/kernel"], arrays["_conv_stem.weight"].transpose(2, 3, 1, 0))
    model = json.loads((tmp_path / "run/model/model.json").read_text())
    assert model["config"]["encoder"]["compute_dtype"] == "bfloat16" and model["input"]["mean"] == [127.0] * 3
    # Another file under the same name is not continued with.
    np.savez(tmp_path / "w.npz", **published_arrays(seed=1))
    again = run_command(*arguments)
    assert (
        again.returncode == 1
        and "weights changed since this run began" in again.stderr
        and "Traceback" not in again.stderr
    )


def test_weights_that_do_not_fit_get_one_line(tmp_path):
    np.savez(tmp_path / "w.npz", **{"features.0.weight": np.zeros(3, np.float32)})
    done = run_command(*photo_arguments(tmp_path))
    lines = [line for line in done.stderr.splitlines() if line.startswith("drlhash_jax: ")]
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert "features.0.weight is not part of it" in lines[0] and "and 235 more" in lines[0]
    assert not (tmp_path / "run").exists()


def test_other_config_in_the_same_workdir_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text(json.dumps({"drlhash_jax": "0.1.0", "format": 2, "config": {"seed": 7}}))
    done = run_command("--config=configs/smoke.py", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1 and "another config" in done.stderr and "Traceback" not in done.stderr
