"""A saved model read again: the same codes for every method and every field of its inputs, and what does not fit."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from small_models import FEATURES, IMAGES, draw_inputs, save_model

from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS
from drlhash_jax.runs import encode, load_model
from drlhash_jax.training import encode_codes


@pytest.mark.parametrize("spec", [FEATURES, IMAGES], ids=lambda spec: spec.kind)
@pytest.mark.parametrize("method", METHODS)
def test_codes_are_those_of_the_method(method, spec, tmp_path):
    made, params = save_model(tmp_path, method, spec)
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
        # Kernel ridge regression reads one size alone.
        if METHODS[method].trains_encoder and "ridge" not in params:
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
    save_model(tmp_path)
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
    save_model(tmp_path)
    with pytest.raises(UserError) as caught:
        encode(load_model(tmp_path), inputs)
    assert words in str(caught.value)


def test_two_functions_need_a_role(tmp_path):
    made, params = save_model(tmp_path, "erh_two")
    params["layers"]["database"] = jax.tree.map(lambda x: -x, params["layers"]["query"])
    save_model(tmp_path, "erh_two", params=params)
    model, inputs = load_model(tmp_path), draw_inputs(FEATURES, 9)
    for role, logits in (("query", made.logits), ("database", made.database_logits)):
        np.testing.assert_array_equal(encode(model, inputs, role=role), encode_codes(logits, params, inputs, FEATURES))
    assert (encode(model, inputs, role="query") != encode(model, inputs, role="database")).any()
    for role in (None, "queries"):
        with pytest.raises(UserError, match=f"role={role}: this model codes queries and the database apart"):
            encode(model, inputs, role=role)


def test_selections_that_are_not_there(tmp_path):
    save_model(tmp_path)
    model = load_model(tmp_path)
    for bits, selector in ((3, "ppo"), (2, "greedy"), (2, None), (None, "ppo")):
        with pytest.raises(UserError, match="2 ppo|give both"):
            encode(model, np.zeros((1, 8), np.float32), bits, selector)
