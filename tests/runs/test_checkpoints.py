"""Saved states: whole or passed over, of this config or refused."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from drlhash_jax.errors import UserError
from drlhash_jax.runs.checkpoints import StageCheckpoints, from_arrays, to_arrays
from drlhash_jax.training import State

CONFIG = {"seed": 1, "bits": [4, 8], "ppo.num_envs": 16}
FACTS = {"seconds": 1.5, "metrics_size": 10}


def state(value):
    params = {"layer": {"kernel": jnp.full((2, 3), value), "bias": jnp.arange(3.0)}}
    return (
        jax.random.key_data(jax.random.key(7)),
        State(jnp.asarray(5, jnp.int32), params, optax.adam(0.1).init(params)),
        np.array([True, False]),
    )


@pytest.fixture
def saved(tmp_path):
    """A folder with three states saved one after the other, of which two are kept."""
    checkpoints = StageCheckpoints(tmp_path / "stage", CONFIG)
    for position in (5, 9, 12):
        checkpoints.save(position, state(float(position)), FACTS)
    return tmp_path / "stage"


def newest(folder, config=CONFIG):
    return StageCheckpoints(folder, config).newest()


def test_a_state_comes_back_as_it_was(saved):
    found = newest(saved)
    assert found.position == 12 and found.facts == FACTS
    restored = from_arrays(state(0.0), found.arrays)
    assert jax.tree.structure(restored) == jax.tree.structure(state(0.0))
    jax.tree.map(np.testing.assert_array_equal, restored, state(12.0))
    assert [leaf.dtype for leaf in jax.tree.leaves(restored)] == [leaf.dtype for leaf in jax.tree.leaves(state(0.0))]
    assert {entry.name for entry in saved.iterdir()} == {"9.npz", "9.json", "12.npz", "12.json"}


def test_names_say_what_they_hold():
    assert {"0", "1.step", "1.params.layer.kernel", "2"} <= to_arrays(state(1.0)).keys()


def test_nothing_saved(tmp_path):
    assert newest(tmp_path / "absent") is None
    (tmp_path / "7").write_text("a file")
    (tmp_path / "8.npz").mkdir()
    (tmp_path / "notes.npz").write_text("a file")
    (tmp_path / ".3.npz.tmp").write_text("a file")
    assert newest(tmp_path) is None


def flipped(content, place):
    content = bytearray(content)
    content[place] ^= 1
    return bytes(content)


def test_every_kind_of_damage_is_noticed(saved, caplog):
    content = (saved / "12.npz").read_bytes()
    places = (*range(0, len(content), len(content) // 40), -1)
    for damaged in (*(flipped(content, place) for place in places), content[:-1], content + b"x", b""):
        (saved / "12.npz").write_bytes(damaged)
        caplog.clear()
        assert newest(saved).position == 9
        assert "12.npz is damaged: passed over" in caplog.text


def test_a_state_that_was_exchanged_is_noticed(saved):
    shutil.copy(saved / "9.npz", saved / "12.npz")
    assert newest(saved).position == 9


def test_a_state_whose_arrays_are_gone(saved):
    (saved / "12.npz").unlink()
    assert newest(saved).position == 9


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"position": 12}'])
def test_a_state_without_its_manifest_is_half_written(content, saved, caplog):
    (saved / "12.json").unlink() if content is None else (saved / "12.json").write_bytes(content)
    assert newest(saved).position == 9
    assert "not written to its end" in caplog.text


def test_none_left(saved):
    (saved / "12.json").unlink()
    (saved / "9.json").unlink()
    assert newest(saved) is None


def test_saving_goes_on_after_a_damaged_state(saved):
    (saved / "12.json").unlink()
    checkpoints = StageCheckpoints(saved, CONFIG)
    checkpoints.save(10, state(10.0), FACTS)
    assert checkpoints.newest().position == 10
    assert {entry.name for entry in saved.iterdir()} == {"9.npz", "9.json", "10.npz", "10.json"}
    checkpoints.save(12, state(-1.0), FACTS)
    assert from_arrays(state(0.0), checkpoints.newest().arrays)[1].params["layer"]["kernel"][0, 0] == -1


def test_another_config_is_refused(saved):
    with pytest.raises(
        UserError, match=r"12.npz is of another config \(ppo.num_envs was 16, now 8; seed was 1, now 2\)"
    ):
        newest(saved, CONFIG | {"seed": 2, "ppo.num_envs": 8})
    assert newest(saved, CONFIG | {"checkpoint_seconds": 3}).position == 12


def test_another_structure_is_refused(saved):
    arrays = newest(saved).arrays
    other = {"params": np.zeros(3)}
    with pytest.raises(UserError, match="does not fit this version"):
        from_arrays(other, arrays)
    wider = state(0.0)
    wider[1].params["layer"]["bias"] = np.zeros(4, np.float32)
    with pytest.raises(UserError, match=r"\(1.params.layer.bias\)"):
        from_arrays(wider, arrays)


def test_bits_of_types_that_numpy_has_no_name_for(tmp_path):
    values = jnp.array([1.5, -0.0, jnp.nan, 3e38], jnp.bfloat16)
    whole = {"half": values, "scalar": jnp.bfloat16(2.5), "rest": np.float32(1.25)}
    StageCheckpoints(tmp_path, CONFIG).save(1, whole, FACTS)
    back = from_arrays(jax.tree.map(jnp.zeros_like, whole), newest(tmp_path).arrays)
    assert {name: value.dtype for name, value in back.items()} == {name: value.dtype for name, value in whole.items()}
    for name in whole:
        assert back[name].shape == whole[name].shape and back[name].tobytes() == np.asarray(whole[name]).tobytes()


def test_a_full_disk_leaves_the_states_before(fill_disk, saved, monkeypatch, capfd):
    fill_disk()
    with pytest.raises(UserError, match=r"15\.npz cannot be written: No space left on device; make room"):
        StageCheckpoints(saved, CONFIG).save(15, state(15.0), FACTS)
    monkeypatch.undo()
    assert capfd.readouterr().err == ""
    assert {entry.name for entry in saved.iterdir()} == {"9.npz", "9.json", "12.npz", "12.json"}
    restored = from_arrays(state(0.0), newest(saved).arrays)
    jax.tree.map(np.testing.assert_array_equal, restored, state(12.0))


def test_what_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "stage").write_text("a file is in the way")
    with pytest.raises(UserError, match="cannot be written"):
        StageCheckpoints(tmp_path / "stage", CONFIG).save(3, state(1.0), FACTS)
    assert (tmp_path / "stage").read_text() == "a file is in the way"


def test_clear(saved):
    StageCheckpoints(saved, CONFIG).clear()
    assert not saved.exists()


def test_the_manifest_is_readable(saved):
    manifest = json.loads((saved / "9.json").read_text())
    assert manifest["config"] == CONFIG and manifest["position"] == 9 and len(manifest["sha256"]) == 64
