"""The thesis's own settings: what they say, and two steps of them from made-up weights."""

import importlib.util
import json

import numpy as np
import pytest
from commands import ROOT, run_command
from safetensors.numpy import load_file

from drlhash_jax.config import load as load_config
from drlhash_jax.encoders import ENCODERS, make_encoder
from drlhash_jax.encoders.pretrained import published_names

# Table 4.1 and 4.2.
REPORTED = {
    "thesis_cifar10_alexnet": ((16, 32, 48), "C-54", "alexnet", (".727", ".790", ".788", ".780")),
    "thesis_nuswide_alexnet": ((16, 32, 48), "N-21", "alexnet", (".790", ".798", ".805", ".807")),
    "thesis_coco_alexnet": ((16, 32, 48), "CO", "alexnet", (".748", ".767", ".790", ".776")),
    "thesis_cifar10_vgg19": ((12, 24, 32, 48), "C-54", "vgg19", (".857", ".876", ".881", ".883")),
    "thesis_nuswide_vgg19": ((12, 24, 32, 48), "N-21", "vgg19", (".839", ".862", ".868", ".871")),
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", REPORTED)
def test_settings(name):
    bits, protocol, encoder, numbers = REPORTED[name]
    module = load(name)
    config = module.get_config()
    load_config(config)
    assert (config.bits, config.pool_bits, config.data.protocol, config.encoder.name) == (bits, 64, protocol, encoder)
    # Section 4.1.
    assert (config.training.batch_size, config.training.learning_rate, config.training.head_learning_rate) == (
        32,
        1e-5,
        1e-4,
    )
    assert config.ppo.discount == 0.99 and config.encoder.weights
    assert config.top_k == (0 if "cifar10" in name else 5000)
    sees = config.encoder.crop_size or config.encoder.image_size
    assert sees == 224
    text = " ".join(module.__doc__.split())
    assert f"--config=configs/{name}.py" in text and all(number in text for number in numbers) and "Run: not" in text


def write_archive(folder, num_rows):
    """CIFAR-10's binary archive with fewer rows: a label byte, then 3,072 bytes of pixels."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    for name in names:
        labels = np.arange(num_rows, dtype=np.uint8)[:, None] % 10
        (folder / name).write_bytes(np.hstack([labels, rng.integers(0, 256, (num_rows, 3072), np.uint8)]).tobytes())
    return folder


def write_weights(path):
    """AlexNet's parameters under torchvision's names and of its shapes, drawn at random."""
    rng = np.random.default_rng(0)
    encoder = make_encoder("alexnet", 1)
    shapes = published_names(ENCODERS["alexnet"].published, encoder, 224).values()
    np.savez(path, **{name: rng.normal(0, 0.01, shape).astype(np.float32) for name, shape in shapes})
    return path


@pytest.mark.slow
def test_two_steps_of_the_thesis_on_cifar10(tmp_path):
    """Sixty training rows are two batches of 32, some held out; one length, a short PPO; the rest is as configured."""
    workdir = tmp_path / "run"
    arguments = [
        *("--config=configs/thesis_cifar10_alexnet.py", f"--workdir={workdir}"),
        f"--config.data.path={write_archive(tmp_path / 'cifar-10-batches-bin', 20)}",
        f"--config.encoder.weights={write_weights(tmp_path / 'alexnet.npz')}",
        *("--config.data.protocol=balanced", "--config.data.query=1", "--config.data.train=6"),
        *("--config.training.num_epochs=1", "--config.reward.num_queries=8", "--config.ppo.num_updates=4"),
        # Every length and every fold would train AlexNet once more.
        *("--config.bits=16", "--config.train_direct=False", "--config.reward.codes=holdout"),
    ]
    done = run_command(*arguments, devices=1)
    assert done.returncode == 0, done.stderr
    results = json.loads((workdir / "metrics.json").read_text())["results"]
    assert {row["bits"] for row in results} == {16, 64}
    assert all(0 < row["map"] <= 1 for row in results)
    model = json.loads((workdir / "model/model.json").read_text())
    assert model["config"]["encoder"]["name"] == "alexnet" and model["input"]["image_size"] == 224
    assert len(json.loads((workdir / "run.json").read_text())["weights"]["sha256"]) == 64
    # Two steps at the thesis's rates leave the made-up weights almost where they were.
    params = load_file(workdir / "model/params.safetensors")
    kernels = [value for name, value in params.items() if value.ndim == 4 and not name.startswith("head")]
    assert len(kernels) == 5
    assert all(0.0099 < kernel.std() < 0.0101 for kernel in kernels)
