"""Files on disk: whole or absent, packed as documented, read back as written."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from drlhash_jax.codes import load_codes, save_codes
from drlhash_jax.encoders import fit_input_spec, make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.files import read_arrays, sha256_of, write_arrays, write_atomically, write_json
from drlhash_jax.runs import flatten_params, load_model, save_model, unflatten_params
from drlhash_jax.runs.metric_writer import MetricWriter


@pytest.mark.parametrize("num_bits", [1, 7, 8, 12, 64])
def test_codes_round_trip(num_bits, tmp_path):
    codes = np.random.default_rng(num_bits).integers(0, 2, (9, num_bits)).astype(np.uint8)
    save_codes(tmp_path / "codes" / "query", codes)
    packed = np.load(tmp_path / "codes" / "query.npy")
    assert packed.dtype == np.uint8 and packed.shape == (9, (num_bits + 7) // 8)
    loaded = load_codes(tmp_path / "codes" / "query.npy", num_bits)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, codes)
    facts = json.loads((tmp_path / "codes" / "query.json").read_text())
    assert facts["rows"] == 9 and facts["bits"] == num_bits
    assert facts["sha256"] == hashlib.sha256((tmp_path / "codes" / "query.npy").read_bytes()).hexdigest()


def test_code_bytes(tmp_path):
    codes = np.array([[1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1]])
    save_codes(tmp_path / "codes", codes)
    # First bit highest: 1000 0000 1101(0000) = 80 d0, 0000 0110 0001(0000) = 06 10.
    assert np.load(tmp_path / "codes.npy").tolist() == [[0x80, 0xD0], [0x06, 0x10]]
    facts = json.loads((tmp_path / "codes.json").read_text())
    assert facts["bit_order"] == "msb" and facts["padding"] == "zero"


def test_boolean_codes(tmp_path):
    save_codes(tmp_path / "codes", np.array([[True, False, True]]))
    assert load_codes(tmp_path / "codes.npy", 3).tolist() == [[1, 0, 1]]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file):
        file.write(b"half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(tmp_path / "other", fail)
    assert not (tmp_path / "other").exists()
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"


def test_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))
    seen = []
    write_atomically(path, lambda file: (file.write(b"new"), file.flush(), seen.append(path.read_bytes())))
    assert seen == [b"old"] and path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_arrays_and_digest(tmp_path):
    arrays = {"a": np.arange(3), "params/head/kernel": np.ones((2, 2), np.float32), "text": np.array("auto")}
    write_arrays(tmp_path / "deep" / "arrays.npz", arrays)
    read = read_arrays(tmp_path / "deep" / "arrays.npz")
    assert read.keys() == arrays.keys()
    for key, value in arrays.items():
        assert read[key].dtype == value.dtype
        np.testing.assert_array_equal(read[key], value)
    assert (
        sha256_of(tmp_path / "deep" / "arrays.npz")
        == hashlib.sha256((tmp_path / "deep" / "arrays.npz").read_bytes()).hexdigest()
    )


def test_json_refuses_what_json_cannot_hold(tmp_path):
    write_json(tmp_path / "value.json", {"b": 1, "a": [None, 0.5]})
    assert json.loads((tmp_path / "value.json").read_text()) == {"b": 1, "a": [None, 0.5]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "value.json", {"map": float("nan")})
    assert json.loads((tmp_path / "value.json").read_text()) == {"b": 1, "a": [None, 0.5]}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metric_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    writer.forget("encoder")
    writer.write("encoder", 0, loss=jnp.float32(0.5))
    writer.write("encoder", 1, loss=0.25, rate=np.float64(1e-3))
    assert lines_of(path) == [
        {"stage": "encoder", "step": 0, "loss": 0.5},
        {"stage": "encoder", "step": 1, "loss": 0.25, "rate": 0.001},
    ]


def test_forgetting_a_stage(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = MetricWriter(path)
    for stage in ("encoder_016", "encoder_064", "selection_016", "encoder_064"):
        writer.write(stage, 3, loss=1.0)
    with open(path, "a") as file:
        file.write('{"stage": "encoder_016", "st')
    writer.forget("encoder_064")
    assert [row["stage"] for row in lines_of(path)] == ["encoder_016", "selection_016"]
    writer.write("encoder_064", 0, loss=2.0)
    assert [row["stage"] for row in lines_of(path)] == ["encoder_016", "selection_016", "encoder_064"]


def test_params_round_trip():
    encoder = make_encoder("compact", 4, width=8)
    shapes = jax.eval_shape(encoder.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes)
    flat = flatten_params(params)
    assert "head/kernel" in flat and "conv0_0/kernel" in flat
    assert all(isinstance(value, np.ndarray) for value in flat.values())
    back = unflatten_params(flat)
    assert jax.tree.structure(back) == jax.tree.structure(params)
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(params)):
        np.testing.assert_array_equal(a, b)


def test_saved_model(tmp_path):
    encoder = make_encoder("mlp", 4, hidden=(3,))
    inputs = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    params = encoder.init(jax.random.key(0), inputs)["params"]
    spec = fit_input_spec(inputs)
    folder = tmp_path / "model"
    selections = {"2": {"ppo": [3, 1]}}
    save_model(folder, params, spec, encoder="mlp", options={"hidden": [3]}, num_bits=4, selections=selections)
    arrays = load_file(folder / "params.safetensors")
    assert set(arrays) == {"dense0/kernel", "dense0/bias", "head/kernel", "head/bias"}
    logits = encoder.apply({"params": unflatten_params(arrays)}, inputs)
    np.testing.assert_array_equal(logits, encoder.apply({"params": params}, inputs))
    description = json.loads((folder / "model.json").read_text())
    assert description["encoder"] == "mlp" and description["options"] == {"hidden": [3]}
    assert description["num_bits"] == 4 and description["selections"] == selections
    assert description["sha256"] == hashlib.sha256((folder / "params.safetensors").read_bytes()).hexdigest()
    assert description["input"]["kind"] == "features"
    # JSON holds enough digits to give the same float32 back.
    np.testing.assert_array_equal(np.float32(description["input"]["mean"]), spec.mean)
    np.testing.assert_array_equal(np.float32(description["input"]["scale"]), spec.scale)


def saved_mlp(folder):
    """A model of 4 bits over 5 features, and what it was made of."""
    encoder = make_encoder("mlp", 4, hidden=(3,))
    inputs = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    params = encoder.init(jax.random.key(0), inputs)["params"]
    spec = fit_input_spec(inputs)
    selections = {"2": {"ppo": [3, 1], "greedy": [0, 1]}}
    save_model(folder, params, spec, encoder="mlp", options={"hidden": [3]}, num_bits=4, selections=selections)
    return encoder, params, spec, inputs


def test_model_round_trip(tmp_path):
    encoder, params, spec, inputs = saved_mlp(tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert model.encoder == encoder and hash(model.encoder) == hash(encoder)
    assert model.num_bits == 4 and model.image_files is None
    assert model.selections == {2: {"ppo": [3, 1], "greedy": [0, 1]}}
    assert model.spec.kind == "features" and model.spec.image_size is None
    np.testing.assert_array_equal(model.spec.mean, spec.mean)
    np.testing.assert_array_equal(model.spec.scale, spec.scale)
    logits = model.encoder.apply({"params": model.params}, inputs)
    np.testing.assert_array_equal(logits, encoder.apply({"params": params}, inputs))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_bits": 8}, "model.json has 8 bits, params.safetensors 4"),
        ({"encoder": "resnet"}, "encoder resnet is unknown, there are alexnet"),
        ({"sha256": "0" * 64}, "params.safetensors is damaged, its SHA-256 differs"),
        ({"options": {"depth": 3}}, "depth"),
        ({"input": {}}, "no field 'mean'"),
        ({"selections": {"two": {}}}, "'two'"),
    ],
)
def test_model_files_that_do_not_fit(change, message, tmp_path):
    saved_mlp(tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_model_files_that_are_not_there(tmp_path):
    with pytest.raises(UserError, match=r"model\.json: No such file"):
        load_model(tmp_path)
    saved_mlp(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(UserError, match=r"model\.json is not JSON"):
        load_model(tmp_path)
