"""A saved model read again: the same codes for every method and every field of its inputs, and what does not fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from drlhash_jax.config import default_config, load, plain_config
from drlhash_jax.encoders import InputSpec
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS
from drlhash_jax.runs import ModelRecord, encode, load_model, write_model
from drlhash_jax.training import Start, encode_codes

FEATURES = InputSpec(np.linspace(-1, 1, 8, dtype=np.float32), np.full(8, 2.0, np.float32), "features")
# Twelve pixels, resized to ten, of which the network sees eight.
IMAGES = InputSpec(np.full(1, 100.0, np.float32), np.full(1, 50.0, np.float32), "images", 10, 8)


def draw_inputs(spec, num_rows):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_rows, 12, 12, 1)).astype(np.uint8)
    return images if spec.kind == "images" else rng.normal(size=(num_rows, 8)).astype(np.float32)


def start_params(method, inputs, spec):
    """What a method hands on before its first step."""
    labels, subset = np.arange(len(inputs), dtype=np.int32) % 3, np.arange(len(inputs), dtype=np.int32)
    before = None
    for phase in method.phases:
        start = Start(inputs, labels, subset, 3, spec, before, {}, 1)
        before = jax.tree.map(np.asarray, phase.finish(phase.init(jax.random.key(0), start)))
    return before["params"]


def save(folder, method="drlhash", spec=FEATURES, num_bits=6, **changes):
    values = plain_config(default_config())
    values |= {"method": method, "pool_bits": num_bits, "bits": [2]}
    images = spec.kind == "images"
    values["encoder"] |= {
        "name": "compact" if images else "mlp",
        "options": {"width": 8} if images else {"hidden": [4]},
    }
    # Images are generated from images alone.
    values["hashgan"]["gan"] = images
    made = load(values).make_method(num_bits)
    inputs = draw_inputs(spec, 12)
    params = start_params(made, inputs, spec)
    shape = inputs.shape[1:]
    record = ModelRecord(values, method, num_bits, 3, spec, shape, params, {2: {"ppo": [4, 1]}})
    write_model(folder, record._replace(**changes))
    return made, params


@pytest.mark.parametrize("spec", [FEATURES, IMAGES], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("method", METHODS)
def test_codes_are_those_of_the_method(method, spec, tmp_path):
    made, params = save(tmp_path, method, spec)
    inputs = draw_inputs(spec, 9)
    model = load_model(tmp_path)
    expected = encode_codes(made.logits, params, inputs, spec)
    role = "query" if made.database_logits else None
    np.testing.assert_array_equal(encode(model, inputs, role=role), expected)
    np.testing.assert_array_equal(encode(model, inputs, bits=2, selector="ppo", role=role), expected[:, [4, 1]])
    # Crops were dropped once: other pixels, silently where a method reads any size.
    if spec.kind == "images":
        sizeless = dataclasses.replace(spec, crop_size=None)
        assert load_model(tmp_path).spec.crop_size == 8
        if METHODS[method].trains_encoder:
            assert (encode_codes(made.logits, params, inputs, sizeless) != expected).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"mlp"', '"nlp"'), ("encoder.name=nlp", "not a saved model")),
        (lambda text: text.replace('"num_bits": 6', '"num_bits": 7'), ("7 bits",)),
        (lambda text: text.replace('"hidden": [\n          4\n        ]', '"hidden": [9]'), ("do not fit",)),
        (lambda text: text.replace('"method": "drlhash"', '"method": "dlrhash"'), ("dlrhash",)),
        (lambda text: text.replace('"encoder": {', '"anything": {'), ("encoder",)),
    ],
)
def test_files_that_do_not_fit(change, words, tmp_path):
    save(tmp_path)
    path = tmp_path / "model.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before and json.loads(path.read_text())
    with pytest.raises(UserError) as caught:
        load_model(tmp_path)
    assert all(word in str(caught.value) for word in (str(tmp_path), *words)), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((2, 4), np.float32), "reads features [N, 8]"),
        (np.zeros((2, 8, 8, 3), np.uint8), "reads features [N, 8]"),
        (np.zeros(5, np.float32), "reads features [N, 8]"),
    ],
)
def test_inputs_of_another_kind(inputs, words, tmp_path):
    save(tmp_path)
    with pytest.raises(UserError) as caught:
        encode(load_model(tmp_path), inputs)
    assert words in str(caught.value)


def test_two_functions_need_a_role(tmp_path):
    made, params = save(tmp_path, "erh_two")
    params["layers"]["database"] = jax.tree.map(lambda x: -x, params["layers"]["query"])
    save(tmp_path, "erh_two", params=params)
    model, inputs = load_model(tmp_path), draw_inputs(FEATURES, 9)
    for role, logits in (("query", made.logits), ("database", made.database_logits)):
        np.testing.assert_array_equal(encode(model, inputs, role=role), encode_codes(logits, params, inputs, FEATURES))
    assert (encode(model, inputs, role="query") != encode(model, inputs, role="database")).any()
    for role in (None, "queries"):
        with pytest.raises(UserError, match=f"role={role}: this model codes queries and the database apart"):
            encode(model, inputs, role=role)


def test_selections_that_are_not_there(tmp_path):
    save(tmp_path)
    model = load_model(tmp_path)
    for bits, selector in ((3, "ppo"), (2, "greedy"), (2, None), (None, "ppo")):
        with pytest.raises(UserError, match="2 ppo|give both"):
            encode(model, np.zeros((1, 8), np.float32), bits, selector)
