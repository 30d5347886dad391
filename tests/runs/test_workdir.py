"""The directory of a run: what is finished is not computed again, and nothing foreign is touched."""

import json
import logging as standard_logging
import time
from unittest import mock

import numpy as np
import pytest

from drlhash_jax.runs import Workdir
from drlhash_jax.errors import RunStoppedError, UserError

CONFIG = {
    "seed": 3,
    "checkpoint_seconds": 60.0,
    "bits": (16, 32),
    "ppo": {"num_envs": 16, "discount": 1.0},
    "data": {"path": ""},
}


def arrays(checkpoint=None):
    return {"codes": np.arange(6, dtype=np.uint8).reshape(2, 3), "path": np.array("exact")}


def never(checkpoint):
    raise AssertionError("a finished stage was computed again")


def config_with(**changes):
    return CONFIG | changes


def test_a_new_run(tmp_path):
    path = tmp_path / "runs" / "first"
    workdir = Workdir(path, CONFIG)
    assert workdir.path == path
    stored = json.loads((path / "config.json").read_text())
    assert stored["config"] == json.loads(json.dumps(CONFIG))
    run = json.loads((path / "run.json").read_text())
    assert run["seed"] == 3 and run["stages"] == {} and run["devices"] and run["versions"]["jax"]
    workdir.record(split_digest="abc")
    assert json.loads((path / "run.json").read_text())["split_digest"] == "abc"


def test_a_finished_stage_is_read(tmp_path):
    first = Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    np.testing.assert_array_equal(first["codes"], arrays()["codes"])
    again = Workdir(tmp_path, CONFIG)
    read = again.stage("encoder", never)
    assert read.keys() == arrays().keys() and read["path"].item() == "exact"
    np.testing.assert_array_equal(read["codes"], arrays()["codes"])
    assert read["codes"].dtype == np.uint8
    assert again.seconds("encoder") >= 0
    # The same object, too.
    again.stage("encoder", never)


def test_an_interrupted_stage_runs_again(tmp_path):
    workdir = Workdir(tmp_path, CONFIG)
    workdir.stage("target_codes", arrays)
    workdir.metrics.write("target_codes", 0, loss=1.0)

    def interrupted(checkpoint):
        workdir.metrics.write("encoder", 0, loss=1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workdir.stage("encoder", interrupted)
    workdir.close()
    calls = []
    again = Workdir(tmp_path, CONFIG)
    again.stage("target_codes", never)
    again.stage("encoder", lambda checkpoint: calls.append(1) or arrays())
    assert calls == [1]
    # Its metric lines of the first try are gone, those of the finished stage are not.
    stages = [json.loads(line)["stage"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert stages == ["target_codes"]


def test_a_kill_between_the_arrays_and_their_record(tmp_path):
    workdir = Workdir(tmp_path, CONFIG)
    before = (tmp_path / "run.json").read_bytes()
    workdir.stage("encoder", lambda checkpoint: {"codes": np.zeros(2)})
    (tmp_path / "run.json").write_bytes(before)
    workdir.close()
    read = Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    np.testing.assert_array_equal(read["codes"], arrays()["codes"])


def test_a_kill_between_the_end_of_a_stage_and_the_removal_of_its_states(tmp_path):
    def compute(checkpoint):
        checkpoint.offer(3, {"v": np.zeros(2)})
        return arrays()

    config = config_with(checkpoint_seconds=0.0)
    with mock.patch("drlhash_jax.runs.workdir.StageCheckpoints.clear"):
        Workdir(tmp_path, config).stage("encoder", compute)
    assert (tmp_path / "checkpoints/mapping/3.json").exists()
    Workdir(tmp_path, config).stage("encoder", never)
    assert not (tmp_path / "checkpoints/mapping").exists()


def test_a_stage_goes_on_from_its_saved_state(tmp_path):
    """Its state, its clock and its metric lines; those of the lost work are dropped."""
    config = config_with(checkpoint_seconds=0.0)
    first = Workdir(tmp_path, config)
    first.metrics.write("target_codes", 0, loss=9.0)

    def killed(checkpoint):
        assert checkpoint.restore({"v": np.zeros(2)})["v"].tolist() == [0, 0]
        first.metrics.write("encoder", 0, loss=1.0)
        time.sleep(0.3)
        checkpoint.offer(3, {"v": np.ones(2)})
        first.metrics.write("encoder", 1, loss=0.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.stage("encoder", killed)
    first.close()
    second = Workdir(tmp_path, config)

    def resumed(checkpoint):
        assert checkpoint.restore({"v": np.zeros(2)})["v"].tolist() == [1, 1]
        second.metrics.write("encoder", 1, loss=0.25)
        return arrays()

    second.stage("encoder", resumed)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["loss"]) for line in lines] == [("target_codes", 9), ("encoder", 1), ("encoder", 0.25)]
    assert second.seconds("encoder") >= 0.3


def test_a_stop_is_heeded_between_steps_and_before_a_stage(tmp_path):
    received = []
    workdir = Workdir(tmp_path, CONFIG, lambda: received[0] if received else None)

    def compute(checkpoint):
        checkpoint.offer(1, {"v": np.ones(2)})
        received.append("SIGTERM")
        checkpoint.offer(2, {"v": np.full(2, 2.0)})
        raise AssertionError("it went on")

    with pytest.raises(RunStoppedError, match="SIGTERM: stopped in stage mapping"):
        workdir.stage("encoder", compute)
    # Not the time for a state yet, but the last one is saved.
    assert (tmp_path / "checkpoints/mapping/2.json").exists() and not (tmp_path / "checkpoints/mapping/1.json").exists()
    with pytest.raises(RunStoppedError):
        workdir.stage("encoder", never)


def test_a_number_that_is_none_names_its_stage(tmp_path):
    def diverge(checkpoint):
        raise FloatingPointError("the loss is nan")

    with pytest.raises(FloatingPointError, match="stage mapping: the loss is nan"):
        Workdir(tmp_path, CONFIG).stage("encoder", diverge)


def test_a_kill_between_the_config_and_the_first_record(tmp_path):
    Workdir(tmp_path, CONFIG)
    (tmp_path / "run.json").unlink()
    Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    assert "encoder" in json.loads((tmp_path / "run.json").read_text())["stages"]


def test_a_kill_before_the_config(tmp_path):
    (tmp_path / ".config.json.tmp").write_bytes(b'{"drlh')
    Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    Workdir(tmp_path, CONFIG).stage("encoder", never)


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_stage_runs_again(damage, tmp_path, caplog):
    Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    path = tmp_path / "checkpoints" / "training.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[:-10]
    else:
        content[len(content) // 3] ^= 1
    path.write_bytes(content)
    calls = []
    with caplog.at_level(standard_logging.WARNING, logger="absl"):
        read = Workdir(tmp_path, CONFIG).stage("encoder", lambda checkpoint: calls.append(1) or arrays())
    assert calls == [1]
    np.testing.assert_array_equal(read["codes"], arrays()["codes"])
    assert any("encoder" in record.getMessage() and "damaged" in record.getMessage() for record in caplog.records)
    Workdir(tmp_path, CONFIG).stage("encoder", never)


def test_a_removed_stage_runs_again(tmp_path):
    Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    (tmp_path / "checkpoints" / "training.npz").unlink()
    calls = []
    Workdir(tmp_path, CONFIG).stage("encoder", lambda checkpoint: calls.append(1) or arrays())
    assert calls == [1]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 4}, "seed was 3, now 4"),
        ({"ppo": {"num_envs": 8, "discount": 1.0}}, "ppo.num_envs was 16, now 8"),
        ({"ppo": {"num_envs": 16}}, "ppo.discount was 1.0"),
        ({"bits": (16,)}, "bits was [16, 32], now [16]"),
        ({"extra": 1}, "extra"),
    ],
)
def test_another_config_is_refused(changes, key, tmp_path):
    Workdir(tmp_path, CONFIG).close()
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    with pytest.raises(UserError) as caught:
        Workdir(tmp_path, config_with(**changes))
    assert key in str(caught.value) and "workdir" in str(caught.value)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before


def test_same_config_with_lists_for_tuples(tmp_path):
    Workdir(tmp_path, CONFIG)
    Workdir(tmp_path, config_with(bits=[16, 32]))


@pytest.mark.parametrize(
    "changes", [{"checkpoint_seconds": 0.0}, {"data": {"path": "", "cache": "x.npy", "num_workers": 4}}]
)
def test_a_run_goes_on_with_other_means(changes, tmp_path):
    """Fields that cannot change what comes out."""
    Workdir(tmp_path, CONFIG).stage("encoder", arrays)
    Workdir(tmp_path, config_with(**changes)).stage("encoder", never)


def test_a_foreign_directory_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="other files"):
        Workdir(tmp_path, CONFIG)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("content", ["{}", "not json", "[]", '{"model_type": "bert"}', '{"config": "base"}'])
def test_a_foreign_config_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="config"):
        Workdir(tmp_path, CONFIG)
    assert (tmp_path / "config.json").read_text() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]


def test_a_file_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("content")
    with pytest.raises(UserError, match="is a file"):
        Workdir(path, CONFIG)
    with pytest.raises(UserError, match="workdir"):
        Workdir(path / "below", CONFIG)
    assert path.read_text() == "content"
