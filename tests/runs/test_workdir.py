"""The directory of a run: what is finished is not computed again, and nothing foreign is touched."""

import json
import logging as standard_logging
import time
from unittest import mock

import numpy as np
import pytest

from drlhash_jax.errors import RunStoppedError, UserError
from drlhash_jax.runs import Workdir

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


def run_of(path):
    return json.loads((path / "run.json").read_text())


def content_of(path):
    return {entry.relative_to(path): entry.read_bytes() for entry in path.rglob("*") if entry.is_file()}


def test_a_new_run(tmp_path):
    path = tmp_path / "runs" / "first"
    workdir = Workdir(path, CONFIG)
    assert workdir.path == path
    stored = json.loads((path / "config.json").read_text())
    assert stored["config"] == json.loads(json.dumps(CONFIG))
    run = json.loads((path / "run.json").read_text())
    assert run["seed"] == 3 and run["stages"] == {} and run["sessions"] == [] and run["inputs"] == {}
    assert stored["format"] == run["format"] == 2 and stored["drlhash_jax"] == run["drlhash_jax"]
    workdir.record(split_digest="abc")
    assert run_of(path)["split_digest"] == "abc"


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
    assert (tmp_path / "checkpoints/encoder/3.json").exists()
    Workdir(tmp_path, config).stage("encoder", never)
    assert not (tmp_path / "checkpoints/encoder").exists()


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

    with pytest.raises(RunStoppedError, match="SIGTERM: stopped in stage encoder"):
        workdir.stage("encoder", compute)
    # Not the time for a state yet, but the last one is saved.
    assert (tmp_path / "checkpoints/encoder/2.json").exists() and not (tmp_path / "checkpoints/encoder/1.json").exists()
    with pytest.raises(RunStoppedError):
        workdir.stage("encoder", never)


def test_a_loss_that_is_not_finite_names_its_stage(tmp_path):
    def diverge(checkpoint):
        raise FloatingPointError("the loss is nan")

    with pytest.raises(FloatingPointError, match="stage encoder: the loss is nan"):
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
    path = tmp_path / "checkpoints" / "encoder.npz"
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
    (tmp_path / "checkpoints" / "encoder.npz").unlink()
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
    before = content_of(tmp_path)
    with pytest.raises(UserError) as caught:
        Workdir(tmp_path, config_with(**changes))
    assert key in str(caught.value) and "workdir" in str(caught.value)
    assert content_of(tmp_path) == before


INPUTS = {"data": "a" * 64, "labels": "b" * 64}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (INPUTS | {"labels": "c" * 64}, "labels changed since this run began (SHA-256 was bbbbbbbbbbbb..., now ccc"),
        ({"data": "a" * 64}, "labels changed since this run began (SHA-256 was bbbbbbbbbbbb..., now not there)"),
        (INPUTS | {"list": "d" * 64}, "list changed since this run began (SHA-256 was not there, now dddddddddddd...)"),
        ({"data": "c" * 64, "labels": "c" * 64}, "data changed"),
    ],
)
def test_other_inputs_are_refused(inputs, said, tmp_path):
    """Data that were swapped under the same path gave numbers of one run from the codes of another."""
    with Workdir(tmp_path, CONFIG, inputs=INPUTS) as workdir:
        workdir.stage("encoder", arrays)
    assert run_of(tmp_path)["inputs"] == INPUTS
    before = content_of(tmp_path)
    with pytest.raises(UserError) as caught:
        Workdir(tmp_path, CONFIG, inputs=inputs)
    message = str(caught.value)
    assert said in message and str(tmp_path) in message and "restore what changed" in message and "\n" not in message
    assert ("data changed" in message) == (inputs["data"] != INPUTS["data"])
    assert content_of(tmp_path) == before
    with Workdir(tmp_path, CONFIG, inputs=INPUTS) as workdir:
        workdir.stage("encoder", never)


def test_a_state_of_other_inputs_is_refused(tmp_path):
    """Even where run.json, which has their digests, was lost."""
    config = config_with(checkpoint_seconds=0.0)

    def killed(checkpoint):
        checkpoint.offer(1, {"v": np.ones(2)})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Workdir(tmp_path, config, inputs=INPUTS) as workdir:
        workdir.stage("encoder", killed)
    (tmp_path / "run.json").unlink()
    other = INPUTS | {"labels": "c" * 64}
    with pytest.raises(UserError, match="inputs.labels was bbb"), Workdir(tmp_path, config, inputs=other) as workdir:
        workdir.stage("encoder", never)


def test_who_computed_is_kept(tmp_path):
    """Opening a finished run leaves run.json as it is; computing adds a session and replaces none."""
    with Workdir(tmp_path, CONFIG) as workdir:
        workdir.record(rows={"query": 3}, split={"digest": "abc"}, parts=(1, 2))
        workdir.stage("target_codes", arrays)
        workdir.stage("encoder", arrays)
    first = run_of(tmp_path)
    (session,) = first["sessions"]
    assert session["versions"]["jax"] and session["devices"] and session["processes"] == 1 and session["argv"]
    assert session["started"].endswith("+00:00") and "git_revision" in session and "CPUs" in session["machine"]
    before = content_of(tmp_path)
    with mock.patch("drlhash_jax.runs.workdir.describe_session", lambda: {"versions": "other"}):
        with Workdir(tmp_path, CONFIG) as workdir:
            workdir.record(rows={"query": 3}, split={"digest": "abc"}, parts=(1, 2))
            workdir.stage("target_codes", never)
            workdir.stage("encoder", never)
        assert content_of(tmp_path) == before
        (tmp_path / "checkpoints/encoder.npz").unlink()
        with Workdir(tmp_path, CONFIG) as workdir:
            assert workdir.finished_stages == ("target_codes", "encoder")
            workdir.stage("target_codes", never)
            workdir.stage("encoder", arrays)
            workdir.stage("selection", arrays)
    assert run_of(tmp_path)["sessions"] == [session, {"versions": "other"}]
    assert {name: stage["session"] for name, stage in run_of(tmp_path)["stages"].items()} == {
        **{"target_codes": 0, "encoder": 1, "selection": 1}
    }


def test_facts_that_differ_are_refused(tmp_path):
    with Workdir(tmp_path, CONFIG) as workdir:
        workdir.record(split={"digest": "abc"})
    before = content_of(tmp_path)
    said = r"other split \(was \{'digest': 'abc'\}, now \{'digest': 'abd'\}\)"
    with pytest.raises(UserError, match=said), Workdir(tmp_path, CONFIG) as workdir:
        workdir.record(split={"digest": "abd"}, more=1)
    assert content_of(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "run.json"])
@pytest.mark.parametrize("found", [None, 1, 3, "2.0"])
def test_another_format_is_refused(found, name, tmp_path):
    Workdir(tmp_path, CONFIG).close()
    content = json.loads((tmp_path / name).read_text())
    del content["format"]
    (tmp_path / name).write_text(json.dumps(content if found is None else content | {"format": found}))
    before = content_of(tmp_path)
    with pytest.raises(UserError, match=f"{name} is of format {found or 1}, this version .* format 2: ") as caught:
        Workdir(tmp_path, CONFIG)
    assert "\n" not in str(caught.value) and content_of(tmp_path) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_damaged_record_is_one_line(content, tmp_path):
    Workdir(tmp_path, CONFIG).close()
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=r"run\.json .*damaged"):
        Workdir(tmp_path, CONFIG)
    assert (tmp_path / "run.json").read_text() == content


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + "/below", "y/" * 3000])
def test_a_name_that_is_too_long_is_one_line(name, tmp_path):
    with pytest.raises(UserError, match=r"--workdir=.* cannot be written: File name too long") as caught:
        Workdir(tmp_path / name, CONFIG)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"--workdir=.* cannot be written"):
        Workdir(tmp_path / "nul\0byte", CONFIG)


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


NO_ROOM = r"cannot be written: No space left on device; make room and run the same command again$"


def counting(workdir, seen):
    """A stage that counts to six, one state per step."""

    def compute(checkpoint):
        state = checkpoint.restore({"count": np.zeros(1000)})
        seen.append(int(state["count"][0]))
        for position in range(seen[-1] + 1, 7):
            state = {"count": np.full(1000, float(position))}
            workdir.metrics.write("encoder", position, loss=1.0)
            checkpoint.offer(position, state)
        return state

    return compute


def test_a_full_disk_is_one_line_and_the_last_state_stays(fill_disk, tmp_path, monkeypatch, capfd):
    config = config_with(checkpoint_seconds=0.0)
    seen = []
    with pytest.raises(UserError, match=NO_ROOM) as caught, Workdir(tmp_path, config) as workdir:
        stage = counting(workdir, seen)

        def compute(checkpoint):
            def offer(position, state):
                if position == 4:
                    fill_disk()
                checkpoint.offer(position, state)

            return stage(checkpoint._replace(offer=offer))

        workdir.stage("encoder", compute)
    assert "\n" not in str(caught.value) and "checkpoints/encoder/4" in str(caught.value)
    assert capfd.readouterr().err == ""
    monkeypatch.undo()
    assert not list(tmp_path.rglob("*.tmp"))
    with Workdir(tmp_path, config) as workdir:
        assert workdir.stage("encoder", counting(workdir, seen))["count"][0] == 6
    assert seen == [0, 3]


def test_a_disk_that_is_full_at_the_end_of_a_stage(fill_disk, tmp_path, monkeypatch):
    config = config_with(checkpoint_seconds=0.0)
    seen = []
    with pytest.raises(UserError, match=NO_ROOM), Workdir(tmp_path, config) as workdir:
        stage = counting(workdir, seen)
        workdir.stage("encoder", lambda checkpoint: (stage(checkpoint), fill_disk())[0])
    monkeypatch.undo()
    with Workdir(tmp_path, config) as workdir:
        assert workdir.finished_stages == ()
        workdir.stage("encoder", counting(workdir, seen))
    assert seen == [0, 6]


def test_a_disk_that_is_full_from_the_start(fill_disk, tmp_path, monkeypatch):
    fill_disk()
    with pytest.raises(UserError, match=NO_ROOM):
        Workdir(tmp_path / "run", CONFIG)
    monkeypatch.undo()
    # The lock is free again, and nothing of a run is there.
    Workdir(tmp_path / "run", CONFIG).close()


def test_a_full_disk_keeps_the_lines_of_metrics_whole(tmp_path, monkeypatch):
    with Workdir(tmp_path, CONFIG) as workdir:
        workdir.metrics.write("encoder", 0, loss=1.0)
        before = (tmp_path / "metrics.jsonl").read_bytes()

        def half(path, mode, encoding):
            (tmp_path / "metrics.jsonl").write_bytes(before + b'{"stage": "enc')
            return open("/dev/full", mode)

        monkeypatch.setattr("drlhash_jax.runs.metric_writer.open", half, raising=False)
        with pytest.raises(UserError, match=f"metrics.jsonl {NO_ROOM}"):
            workdir.metrics.write("encoder", 1, loss=1.0)
        assert (tmp_path / "metrics.jsonl").read_bytes() == before
