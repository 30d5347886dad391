"""Runs on one's own files from the command line: what is left out is written down, and mistakes get one line."""

import json

import numpy as np
import pytest
from commands import run_command
from PIL import Image

SHORT = ("--config.last_stage=encoder", "--config.train_direct=False", "--config.data.protocol=random")


def run(*arguments, **options):
    return run_command("--config=configs/smoke.py", *arguments, **options)


def one_line(done, *words):
    lines = [line for line in done.stderr.splitlines() if line.startswith("drlhash_jax: ")]
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert "Traceback" not in done.stderr


@pytest.fixture
def photos(tmp_path):
    """40 pictures in two classes, one of them broken, and a hidden folder."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for name, level in (("dark", 40), ("light", 200)):
        (root / name).mkdir(parents=True)
        for number in range(20):
            image = np.clip(rng.normal(level, 20, (20, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(image).save(root / name / f"{number:02d}.jpg")
    (root / "dark/07.jpg").write_bytes(b"<html>")
    (root / ".thumbnails").mkdir()
    return root


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
def test_folder_of_images(photos, tmp_path, cached):
    workdir = tmp_path / "run"
    done = run(
        *(*SHORT, f"--workdir={workdir}", "--config.data.source=folder", f"--config.data.path={photos}"),
        *("--config.data.query=5", "--config.data.train=20", "--config.data.image_size=16"),
        f"--config.data.cache={tmp_path / 'pixels.npy' if cached else ''}",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads((workdir / "run.json").read_text())
    assert facts["rows"] == {"query": 5, "train": 20, "database": 14}
    assert facts["classes"] == ["dark", "light"] and facts["skipped"] == 2
    skipped = [json.loads(line) for line in (workdir / "skipped.jsonl").read_text().splitlines()]
    assert [each["path"] for each in skipped] == [".thumbnails", "dark/07.jpg"]
    assert "not an image" in skipped[1]["reason"]
    model = json.loads((workdir / "model/model.json").read_text())
    assert model["image_files"] == {
        "size": 16,
        "resize": "bilinear",
        "crop": "central square",
        "orientation": "exif",
        "background": 255,
        "sixteen_bit": "1/257",
    }
    assert (tmp_path / "pixels.npy").is_file() == cached
    # Decoded pixels are the same from memory and from the file.
    assert np.load(workdir / "codes/database.npy").shape == (14, 2)


@pytest.mark.slow
def test_mapped_embeddings_give_the_codes_of_those_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = (rng.normal(size=(60, 8)) + 3 * np.eye(3, 8)[labels]).astype(np.float32)
    np.save(tmp_path / "x.npy", features)
    np.savez(tmp_path / "x.npz", features=features, labels=labels)
    codes = []
    for number, address in enumerate(("x.npy", "x.npz:features")):
        workdir = tmp_path / f"run{number}"
        done = run(
            *(*SHORT, f"--workdir={workdir}", "--config.data.source=embeddings"),
            *(f"--config.data.path={tmp_path / address}", f"--config.data.labels_path={tmp_path / 'x.npz:labels'}"),
            *("--config.data.query=5", "--config.data.train=30"),
            *("--config.encoder.name=mlp", "--config.encoder.options={}"),
        )
        assert done.returncode == 0, done.stderr
        assert not (workdir / "skipped.jsonl").exists()
        codes.append((workdir / "codes/database.npy").read_bytes())
    assert codes[0] == codes[1]


def test_mistakes_get_one_line(photos, tmp_path):
    folder = ("--config.data.source=folder", f"--config.data.path={photos}")
    cases = {
        ("--config.data.cache=pixels.bin",): ["data.cache=pixels.bin", ".npy"],
        ("--config.data.num_workers=-1",): ["data.num_workers=-1", "from 0 to"],
        ("--config.data.image_size=0",): ["data.image_size=0", "from 1 to"],
        ("--config.data.source=folder",): ["--config.data.source=folder needs --config.data.path"],
        (*folder, "--config.data.max_skipped=0.01"): ["1 of 40 image files", "dark/07.jpg", "data.max_skipped=0.01"],
        (*folder, "--config.encoder.image_size=32"): ["encoder.image_size=32", "data.image_size=224"],
        (*folder, "--config.data.protocol=C-54"): ["C-54 needs 600 rows per class"],
    }
    for number, (arguments, words) in enumerate(cases.items()):
        workdir = tmp_path / f"run{number}"
        one_line(run(f"--workdir={workdir}", *arguments), *words)
        assert not workdir.exists()
