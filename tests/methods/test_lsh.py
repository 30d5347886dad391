"""LSH: signs of projections, an angle between codes that is that between rows, and planes of a secret key."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from drlhash_jax import encode, load_model
from drlhash_jax.config import default_config, load, read_secret
from drlhash_jax.data import load_dataset
from drlhash_jax.encoders import InputSpec, make_encoder
from drlhash_jax.errors import UserError
from drlhash_jax.methods import METHODS, Ingredients, lsh
from drlhash_jax.pipeline import train_and_evaluate
from drlhash_jax.training import TrainingSettings, encode_codes, fit, place_rows

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
# By statistics.NormalDist().inv_cdf and struct, of the description in `keyed_planes`.
KNOWN = [[1.6623505403138026, 1.4700695173743912], [-0.43595428314237056, 0.24601068008293217]]


PLAIN = lsh.LSHSettings()


def method(num_bits, settings=PLAIN):
    return METHODS["lsh"].make(Ingredients(num_bits, make_encoder("mlp", num_bits), TrainingSettings(), settings))


def identity(width):
    return InputSpec(np.zeros(width, np.float32), np.ones(width, np.float32), "features")


def test_bits_are_signs_of_centred_projections():
    rng = np.random.default_rng(0)
    inputs = rng.normal(3.0, 1.0, (1500, 6)).astype(np.float32)
    rows = place_rows(inputs, np.zeros(1500, np.int32), identity(6))
    params = fit(method(8).phases, rows, lambda name: jax.random.key(5))["params"]
    np.testing.assert_allclose(params["mean"], inputs.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(params["projection"], jax.random.normal(jax.random.key(5), (6, 8)))
    codes = encode_codes(method(8).logits, params, inputs, identity(6))
    np.testing.assert_array_equal(codes, (inputs - inputs.mean(axis=0)) @ np.asarray(params["projection"]) >= 0)
    # Rows that are left out do not move the centre.
    part = fit(method(8).phases, rows, lambda name: jax.random.key(5), np.arange(10))["params"]
    np.testing.assert_allclose(part["mean"], inputs[:10].mean(axis=0), rtol=1e-5)


def test_distance_of_codes_is_the_angle():
    # Two opposite pairs keep the mean at 0; the angle between the first two rows is 60 degrees: a third of the bits.
    a, b = np.array([1.0, 0.0, 0.0]), np.array([0.5, 3**0.5 / 2, 0.0])
    inputs = np.stack([a, b, -a, -b]).astype(np.float32)
    rows = place_rows(inputs, np.zeros(4, np.int32), identity(3))
    params = fit(method(4096).phases, rows, lambda name: jax.random.key(0))["params"]
    codes = encode_codes(method(4096).logits, params, inputs, identity(3))
    # 4,096 coins of 1/3: standard deviation .0074.
    assert abs((codes[0] != codes[1]).mean() - 1 / 3) < 0.03
    assert (codes[0] != codes[2]).all()


def test_planes_of_a_block_are_orthogonal():
    planes = np.random.default_rng(0).normal(size=(5, 12))
    found = lsh.orthogonalised(planes)
    # Blocks of 5, 5 and 2, each by Gram and Schmidt.
    for first in (0, 5, 10):
        done = []
        for plane in planes[:, first : first + 5].T:
            rest = plane - sum((plane @ other) * other for other in done)
            done.append(rest / np.linalg.norm(rest))
        np.testing.assert_allclose(found[:, first : first + 5], np.stack(done, axis=1), atol=1e-10)


def fitted_planes(settings, seed, num_bits=24):
    inputs = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    rows = place_rows(inputs, np.zeros(30, np.int32), identity(6))
    params = fit(method(num_bits, settings).phases, rows, lambda name: jax.random.key(seed))["params"]
    return np.asarray(params["projection"])


@pytest.mark.parametrize("orthogonal", [False, True])
def test_planes_of_a_key_depend_on_nothing_else(orthogonal):
    settings = lsh.LSHSettings(orthogonal, "key")
    planes = fitted_planes(settings.with_secret(KEY), seed=0)
    np.testing.assert_array_equal(planes, fitted_planes(settings.with_secret(KEY), seed=1))
    np.testing.assert_array_equal(planes[:, :6], fitted_planes(settings.with_secret(KEY), seed=0, num_bits=6))
    assert (np.sign(planes) != np.sign(fitted_planes(settings.with_secret(OTHER_KEY), seed=0))).any()
    gram = planes[:, :6].T @ planes[:, :6]
    assert np.allclose(gram, np.eye(6), atol=1e-6) == orthogonal


def test_planes_of_a_key_are_normal():
    values = lsh.keyed_planes(KEY, 2000, 50)
    # 100,000 numbers: standard deviations of these are .003, .002, .0016 and .003.
    np.testing.assert_allclose([values.mean(), values.std(), (values > 0).mean()], [0, 1, 0.5], atol=0.012)
    assert abs((np.abs(values) > 1.96).mean() - 0.05) < 0.003
    # Planes have streams of their own.
    correlations = np.corrcoef(values.T) - np.eye(50)
    assert np.abs(correlations).max() < 0.12
    # A known answer, which any change of the derivation would make wrong, and saved codes with it.
    np.testing.assert_allclose(lsh.keyed_planes(KEY, 2, 2), KNOWN, rtol=1e-6)


def test_without_the_key_codes_are_a_coin():
    """Thesis Eq. 1.5: bits of two keys agree in half of the places, and no whole code is the same."""
    inputs = np.random.default_rng(1).normal(size=(400, 64)).astype(np.float32)
    rows = place_rows(inputs, np.zeros(400, np.int32), identity(64))
    codes = []
    for secret in (KEY, OTHER_KEY):
        made = method(256, lsh.LSHSettings(secret_file="key").with_secret(secret))
        params = fit(made.phases, rows, lambda name: jax.random.key(0))["params"]
        codes.append(encode_codes(made.logits, params, inputs, identity(64)))
    # 102,400 bits; those of a plane are not independent: its cosine with the other key's is .125 on average.
    assert abs((codes[0] == codes[1]).mean() - 0.5) < 0.02
    assert (codes[0] != codes[1]).any(axis=1).all()


def test_a_key_that_was_not_read_is_not_replaced_by_the_seed():
    with pytest.raises(ValueError, match="secret_file was not given"):
        fitted_planes(lsh.LSHSettings(secret_file="key"), seed=0)


def keyed_config(path):
    config = default_config()
    config.method, config.pool_bits, config.bits, config.last_stage = "lsh", 16, (4,), "encoder"
    config.data.protocol, config.data.query, config.data.train = "balanced", 5, 10
    config.lsh.secret_file = str(path)
    return config


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is not a file"), (b"x" * 15, "holds 15 bytes: a key has at least 16 random ones")]
)
def test_a_file_without_a_key_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(UserError, match=f"lsh.secret_file=.*{message}"):
        read_secret(load(keyed_config(tmp_path / "key")))


def test_a_run_keeps_its_key_to_itself(tmp_path):
    key, folder = tmp_path / "key", tmp_path / "run"
    secret = b"0123456789abcdef-secret"
    key.write_bytes(secret)
    train_and_evaluate(keyed_config(key), str(folder))
    forms = (secret, secret.hex().encode(), repr(list(secret)).encode())
    for path in folder.rglob("*"):
        assert path.is_dir() or not any(form in path.read_bytes() for form in forms), path
    assert secret.decode() not in repr(read_secret(load(keyed_config(key))))
    # The model is read without the key, which was one of the run's inputs.
    key.unlink()
    inputs = load_dataset("digits").inputs[:20]
    codes = encode(load_model(folder / "model"), inputs)
    planes = load_file(folder / "model/params.safetensors")["projection"]
    np.testing.assert_array_equal(planes, lsh.keyed_planes(secret, 64, 16).astype(np.float32))
    assert codes.shape == (20, 16)
    key.write_bytes(KEY)
    with pytest.raises(UserError, match="secret changed since this run began"):
        train_and_evaluate(keyed_config(key), str(folder))


def test_images_are_flattened():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 1)).astype(np.uint8)
    spec = InputSpec(np.full(1, 127.5, np.float32), np.full(1, 127.5, np.float32), "images")
    rows = place_rows(images, np.zeros(20, np.int32), spec)
    params = fit(method(8).phases, rows, lambda name: jax.random.key(0))["params"]
    assert params["projection"].shape == (20, 8)
    assert encode_codes(method(8).logits, params, images, spec).shape == (20, 8)
