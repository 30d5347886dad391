"""Stage 2: a training step beside the same network in PyTorch, and an epoch on CIFAR-10 from JPEG files.

    python -m benchmarks.training_step [--dtype=bfloat16] [--epoch]

PyTorch is optional: without it the ratio is left out. `--epoch` reads the benchmark files of sources cifar10 and
coco_mini.
"""

import functools
import os
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.timing import describe_machine, first_call, interleaved
from drlhash_jax import data, encoders, methods, training

_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "Of activations; parameters are float32.")
_BATCH = flags.DEFINE_integer("batch", 32, "Images a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Rounds in which both take turns.")
_EPOCH = flags.DEFINE_bool("epoch", False, "Also measure decoding and an epoch of `compact` on CIFAR-10.")
NUM_BITS, RATES = 48, (1e-5, 1e-4)


def make_method(encoder, settings: training.TrainingSettings) -> methods.Method:
    """The thesis's method for `NUM_BITS` bits."""
    spec = methods.METHODS["drlhash"]
    return spec.make(methods.Ingredients(NUM_BITS, encoder, settings, spec.settings()))


def ours(images: np.ndarray, codes: np.ndarray):
    """A step of AlexNet as a run takes it: momentum, two learning rates, dropout."""
    encoder = encoders.make_encoder("alexnet", NUM_BITS, compute_dtype=_DTYPE.value)
    rates = {"learning_rate": RATES[0], "head_learning_rate": RATES[1]}
    phase = make_method(encoder, training.TrainingSettings(optimizer="momentum", weight_decay=5e-4, **rates)).phases[-1]
    spec = encoders.InputSpec(np.zeros(3, np.float32), np.ones(3, np.float32), "images")
    before, labels, rows = {"codes": codes}, np.zeros(len(images), np.int32), np.arange(len(images), dtype=np.int32)
    state = phase.init(jax.random.key(0), training.Start(images, labels, rows, 1, spec, before, {}, 1))
    step = jax.jit(functools.partial(phase.step, num_steps=1, axis_name=None), donate_argnums=(0,))
    batch = training.Batch(jnp.asarray(images), jnp.ones((len(images), 1)), rows, jnp.ones(len(images)))
    box = [state]

    def run():
        box[0], metrics = step(box[0], batch, jax.random.key(1))
        return metrics["loss"]

    return run


def in_torch(images: np.ndarray, codes: np.ndarray):
    """The same step in PyTorch, compiled on an accelerator; None without PyTorch."""
    try:
        import torch
        from torch import nn
    except ImportError:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    conv = lambda *sizes, **more: (nn.Conv2d(*sizes, **more), nn.ReLU())
    features = nn.Sequential(
        *(*conv(3, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2)),
        *(*conv(64, 192, 5, padding=2), nn.MaxPool2d(3, 2)),
        *(*conv(192, 384, 3, padding=1), *conv(384, 256, 3, padding=1), *conv(256, 256, 3, padding=1)),
        *(nn.MaxPool2d(3, 2), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
    )
    head = nn.Linear(4096, NUM_BITS)
    network = nn.Sequential(features, head).to(device)
    groups = [{"params": features.parameters(), "lr": RATES[0]}, {"params": head.parameters(), "lr": RATES[1]}]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
    loss_of = nn.BCEWithLogitsLoss()
    inputs = torch.tensor(images.transpose(0, 3, 1, 2)).contiguous().to(device)
    targets = torch.tensor(codes, dtype=torch.float32).to(device)
    forward = torch.compile(network) if device == "cuda" else network

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=_DTYPE.value == "bfloat16"):
            logits = forward(inputs)
        loss = loss_of(logits.float(), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def compare_steps() -> None:
    """Prints images a second of both, and their ratio."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(_BATCH.value, 224, 224, 3)).astype(np.float32)
    codes = rng.integers(0, 2, (_BATCH.value, NUM_BITS)).astype(np.uint8)
    runs = {"ours": ours(images, codes)} | ({"torch": torch} if (torch := in_torch(images, codes)) else {})
    compiled = {name: first_call(run) for name, run in runs.items()}
    for run in runs.values():
        first_call(run)
    seconds = interleaved(runs, _ROUNDS.value)
    print(f"AlexNet training step, {_BATCH.value} images of 224 pixels, {_DTYPE.value}:")
    for name, value in seconds.items():
        print(f"  {name:6} {_BATCH.value / value:8.1f} images/s, first call {compiled[name]:.1f} s")
    if "torch" in seconds:
        print(f"  ours / torch = {seconds['torch'] / seconds['ours']:.2f} in speed")


def measure_decoding() -> None:
    """Prints images a second of decoding photographs to 256 pixels, by the number of processes."""
    with np.load(data.data_file("coco_mini_images.npz")) as arrays, tempfile.TemporaryDirectory() as folder:
        jpeg, offsets = arrays["jpeg"].tobytes(), arrays["offsets"]
        names = [f"{row}.jpg" for row in range(len(offsets) - 1)]
        for name, start, stop in zip(names, offsets[:-1], offsets[1:], strict=True):
            Path(folder, name).write_bytes(jpeg[start:stop])
        # The processes' start counts for less in longer lists.
        names *= 12
        for num_workers in (0, 1, os.cpu_count()):
            started = time.perf_counter()
            data.load_images(Path(folder), names, data.DataSettings(image_size=256, num_workers=num_workers))
            seconds = time.perf_counter() - started
            print(
                f"photographs of 0.1 megapixels to 256, num_workers={num_workers}: {len(names) / seconds:,.0f} images/s"
            )


def measure_epoch() -> None:
    """Prints images a second of decoding and of training, and the share of an epoch that waits for pixels."""
    started = time.perf_counter()
    dataset = data.load_dataset("cifar10")
    decode_seconds = time.perf_counter() - started
    rows = np.arange(5_000)
    codes = np.random.default_rng(0).integers(0, 2, (5_000, NUM_BITS)).astype(np.uint8)
    encoder = encoders.make_encoder("compact", NUM_BITS, width=32, compute_dtype=_DTYPE.value)
    settings = training.TrainingSettings(num_epochs=3, batch_size=64, optimizer="adam", max_shift=4)
    ends = []
    inputs = dataset.inputs[rows]
    placed = training.place_rows(inputs, dataset.labels[rows], encoders.fit_input_spec(inputs))
    phase, on_epoch = make_method(encoder, settings).phases[-1], lambda epoch, means: ends.append(time.perf_counter())
    training.run_phase(jax.random.key(0), phase, placed, before={"codes": codes}, on_epoch=on_epoch)
    epoch_seconds = float(np.median(np.diff(ends)))
    started = time.perf_counter()
    jax.block_until_ready(jnp.asarray(dataset.inputs[rows]))
    wait_seconds = time.perf_counter() - started
    print(
        f"CIFAR-10 from JPEG: {len(dataset.inputs) / decode_seconds:,.0f} images/s decoded, once a run, by one process"
    )
    print(f"  epoch of compact, 5,000 images: {epoch_seconds:.1f} s, {5_000 / epoch_seconds:,.0f} images/s")
    print(f"  pixels to the device, once a run: {wait_seconds * 1e3:.1f} ms; within an epoch no step waits for data")
    share = (5_000 / len(dataset.inputs) * decode_seconds + wait_seconds) / (100 * epoch_seconds)
    print(f"  decoding and moving the training images, share of a run of 100 epochs: {share:.2%}")


def main(argv: list[str]) -> None:
    """Prints the comparison."""
    del argv
    print(describe_machine())
    compare_steps()
    if _EPOCH.value:
        measure_decoding()
        measure_epoch()


if __name__ == "__main__":
    app.run(main)
