"""A saved model: every field comes back, whatever the method keeps; what is damaged is one line."""

import dataclasses
import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from drlhash_jax.encoders import InputSpec, fit_input_spec, make_encoder, prepare_inputs
from drlhash_jax.errors import UserError
from drlhash_jax.runs.model_files import ModelRecord, flatten_params, read_model, unflatten_params, write_model

CONFIG = {"seed": 3, "bits": (2,), "data": {"path": "ä/b c.npy", "cache": ""}, "encoder": {"options": {"hidden": (3,)}}}
# Every field is another than its default, and no two numbers are alike.
INPUT_SPEC = InputSpec(
    mean=np.float32([0.1, 1 / 3, 1e-30]),
    scale=np.float32([3.3e38, 7.7, 1e-3]),
    kind="images",
    image_size=9,
    crop_size=5,
)
SELECTIONS = {2: {"ppo": [3, 1], "greedy": [0, 1]}, 3: {"ppo": [2, 0, 3]}}


RECORD = ModelRecord(
    config=CONFIG,
    method_name="drlhash",
    num_bits=4,
    num_classes=7,
    input_spec=INPUT_SPEC,
    input_shape=(12, 11, 3),
    params={"head": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}},
    selections=SELECTIONS,
)


def write(folder, **changes):
    write_model(folder, RECORD._replace(**changes))


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)


def test_every_field_of_the_inputs_comes_back(tmp_path):
    """A model that was trained on crops saw other pixels after it was loaded: crop_size was dropped."""
    defaults = {field.name: field.default for field in dataclasses.fields(InputSpec)}
    for name, default in defaults.items():
        assert default is dataclasses.MISSING or getattr(INPUT_SPEC, name) != default, name
    write(tmp_path)
    found = read_model(tmp_path).input_spec
    for name in defaults:
        a, b = getattr(found, name), getattr(INPUT_SPEC, name)
        assert type(a) is type(b), name
        np.testing.assert_array_equal(a, b)
    assert found.mean.dtype == found.scale.dtype == np.float32
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(prepare_inputs(images, found), prepare_inputs(images, INPUT_SPEC))
    # The same static part, so that nothing is compiled twice.
    assert jax.tree.structure(found) == jax.tree.structure(INPUT_SPEC)


@pytest.mark.parametrize("sizes", [(None, None), (32, None), (None, 28), (32, 28)])
def test_sizes_come_back(sizes, tmp_path):
    spec = INPUT_SPEC.replace(image_size=sizes[0], crop_size=sizes[1])
    write(tmp_path, input_spec=spec)
    found = read_model(tmp_path).input_spec
    assert (found.image_size, found.crop_size) == sizes


def test_statistics_of_features_come_back(tmp_path):
    spec = fit_input_spec(np.random.default_rng(0).normal(size=(50, 11)).astype(np.float32))
    write(tmp_path, input_spec=jax.tree.map(jnp.asarray, spec))
    found = read_model(tmp_path).input_spec
    assert found.kind == "features"
    np.testing.assert_array_equal(found.mean, spec.mean)
    np.testing.assert_array_equal(found.scale, spec.scale)


def test_the_rest_comes_back(tmp_path):
    image_files = {"size": 16, "resize": "short side"}
    write(tmp_path / "deep/model", image_files=image_files)
    found = read_model(tmp_path / "deep/model")
    assert found.config == json.loads(json.dumps(CONFIG))
    assert (found.method_name, found.num_bits, found.num_classes) == ("drlhash", 4, 7)
    assert found.selections == SELECTIONS and found.image_files == image_files
    write(tmp_path, selections={})
    assert read_model(tmp_path).selections == {} and read_model(tmp_path).image_files is None


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"projection": np.eye(3, dtype=np.float32)},
        {"deep": {"er": {"still": np.float32(2.5)}}, "empty": {}, "also": {"empty": {}}},
        {
            "codes": np.array([[0, 1]], np.uint8),
            "mask": np.array([True]),
            "rows": np.arange(3),
            "half": np.zeros(2, "f2"),
        },
        {"none": np.zeros((0, 4), np.float32)},
        # The memory of a transposed array lies in another order.
        {"transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T, "strided": np.arange(9.0)[::2]},
    ],
)
def test_any_parameters_come_back(params, tmp_path):
    write(tmp_path, params=params)
    assert_same(read_model(tmp_path).params, params)
    assert_same(unflatten_params(flatten_params(params)), params)


def test_arrays_of_jax_come_back(tmp_path):
    encoder = make_encoder("compact", 4, width=8)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    flat = flatten_params(params)
    assert "head/kernel" in flat and "conv0_0/kernel" in flat
    assert all(isinstance(value, np.ndarray) for value in flat.values())
    write(tmp_path, params=params)
    assert_same(read_model(tmp_path).params, params)


@pytest.mark.parametrize("name", ["", "a/b", "/"])
def test_names_that_would_not_come_back_are_refused(name):
    with pytest.raises(ValueError, match="head/.*must not"):
        flatten_params({"head": {name: np.zeros(1)}})


def test_types_that_would_not_come_back_are_refused(tmp_path):
    with pytest.raises(TypeError, match="head/kernel: a model file does not keep arrays of bfloat16"):
        write(tmp_path, params={"head": {"kernel": jnp.zeros(2, jnp.bfloat16)}})


def test_what_other_software_reads(tmp_path):
    write(tmp_path)
    assert set(load_file(tmp_path / "params.safetensors")) == {"head/kernel"}
    description = json.loads((tmp_path / "model.json").read_text())
    assert description["format"] == 2 and description["threshold"] == "bit 1 iff logit >= 0"
    assert description["sha256"] == hashlib.sha256((tmp_path / "params.safetensors").read_bytes()).hexdigest()
    assert description["input"]["kind"] == "images" and description["input"]["crop_size"] == 5
    np.testing.assert_array_equal(np.float32(description["input"]["mean"]), INPUT_SPEC.mean)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 1}, "model.json is of format 1, this version"),
        ({"sha256": "0" * 64}, "params.safetensors is damaged, its SHA-256 differs"),
        ({"input": {}}, "no field 'crop_size'"),
        ({"input": None}, "is not a saved model"),
        ({"num_bits": 3}, "selection 2 by ppo is not 2 of the bits 0 to 2"),
        ({"num_bits": "four"}, "'four'"),
        ({"selections": {"two": {}}}, "'two'"),
        ({"selections": {"2": {"ppo": [1]}}}, "selection 2 by ppo is not 2 of the bits"),
        ({"config": 7}, "is not a saved model"),
    ],
)
def test_files_that_do_not_fit(change, message, tmp_path):
    write(tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        read_model(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_every_field_is_needed(tmp_path):
    write(tmp_path)
    path = tmp_path / "model.json"
    whole = json.loads(path.read_text())
    for name in whole.keys() - {"threshold", "format"}:
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        with pytest.raises(UserError, match=f"no field '{name}'"):
            read_model(tmp_path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"has no model\.json"):
        read_model(tmp_path)
    write(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(UserError, match=r"model\.json is not JSON"):
        read_model(tmp_path)
    (tmp_path / "params.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no params\.safetensors"):
        read_model(tmp_path)


def test_a_full_disk_is_one_line(fill_disk, tmp_path):
    write(tmp_path)
    fill_disk()
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        write(tmp_path, params={"head": np.zeros(100_000)})
    assert_same(read_model(tmp_path).params, {"head": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3)}})
