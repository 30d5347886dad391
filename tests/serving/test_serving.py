"""Bundles filled by saved models and asked through them: the codes of `encode`, whatever way inputs come."""

import json
import os

import jax
import numpy as np
import pytest
from PIL import Image
from small_models import FEATURES, PHOTOS, draw_inputs, save_model

from drlhash_jax import bundles, serving
from drlhash_jax.config import default_config, load, plain_config
from drlhash_jax.data import ImageSpec, decode_image
from drlhash_jax.errors import UserError
from drlhash_jax.runs import encode, load_model, real_codes
from drlhash_jax.serving import Wanted
from drlhash_jax.serving import inputs as serving_inputs


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of a run with a model of features, and of models of photographs and of two functions."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "run/model")
    save_model(folder / "photos", spec=PHOTOS, image_files=ImageSpec(12)._asdict())
    _, params = save_model(folder / "two", "erh_two")
    params["layers"]["database"] = jax.tree.map(lambda x: -x, params["layers"]["query"])
    save_model(folder / "two", "erh_two", params=params)
    return folder


@pytest.fixture
def features(tmp_path):
    """Embeddings, their file, and a file of ids."""
    rows = draw_inputs(FEATURES, 50)
    np.save(tmp_path / "features.npy", rows)
    (tmp_path / "ids.txt").write_text("".join(f"item {row}\n" for row in range(50)))
    return rows


def codes_of(path):
    bundle = bundles.open_bundle(path)
    return np.unpackbits(bundle.codes, axis=1, count=bundle.num_bits)


@pytest.mark.parametrize("block_rows", [7, 65_536])
def test_embeddings(block_rows, models, features, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_inputs, "_BLOCK_ROWS", block_rows)
    target = serving.new_target(tmp_path / "x.drlh", models / "run")
    seen = []
    filled = serving.encode_array(target, str(tmp_path / "features.npy"), on_rows=lambda *each: seen.append(each))
    assert filled.added == 50 and seen[0] == (0, 50) and seen[-1] == (50, 50)
    model = load_model(models / "run/model")
    np.testing.assert_array_equal(codes_of(tmp_path / "x.drlh"), encode(model, features))
    bundle = bundles.open_bundle(tmp_path / "x.drlh")
    assert bundle.ids() == [str(row) for row in range(50)] and bundle.manifest.role is None
    assert bundle.manifest.model["input"] == {"kind": "features", "shape": [8]}
    assert bundles.find_faults(tmp_path / "x.drlh") == []
    # Every row finds itself first, or an earlier row of the same code.
    for row, answer in enumerate(
        serving.ask_by_array(bundle, models / "run", str(tmp_path / "features.npy"), Wanted(1))
    ):
        assert answer.distances == [0] and int(answer.ids[0]) <= row and answer.query == f"row {row}"


def test_selected_bits_and_ids_and_more_rows(models, features, tmp_path):
    path = tmp_path / "x.drlh"
    address = str(tmp_path / "features.npy")
    target = serving.new_target(path, models / "run/model", 2, "ppo")
    serving.encode_array(target, address, tmp_path / "ids.txt")
    (tmp_path / "more.txt").write_text("".join(f"more {row}\n" for row in range(50)))
    serving.encode_array(serving.existing_target(path, models / "run"), address, tmp_path / "more.txt")
    expected = encode(load_model(models / "run/model"), features, 2, "ppo")
    np.testing.assert_array_equal(codes_of(path), np.concatenate([expected, expected]))
    bundle = bundles.open_bundle(path)
    assert bundle.ids()[49:51] == ["item 49", "more 0"] and len(bundle.manifest.segments) == 2
    (answer, *_) = serving.ask_by_array(bundle, models / "run", address, Wanted(radius=0))
    assert answer.ids == [bundle.id_of(row) for row in np.flatnonzero((codes_of(path) == expected[0]).all(axis=1))]


def test_lengths_that_first_bits_were_made_for_are_known(models, tmp_path):
    assert serving.load(models / "run").prefixes == []
    chosen = {2: {"ppo_nested": [4, 1], "ppo": [0, 2]}, 3: {"ppo_nested": [4, 1, 3], "ppo": [2, 0, 1]}}
    save_model(tmp_path / "chosen", selections=chosen)
    assert serving.load(tmp_path / "chosen", 3, "ppo_nested").prefixes == [2]
    assert serving.load(tmp_path / "chosen", 3, "ppo").prefixes == []
    values = plain_config(default_config()) | {"method": "erh", "pool_bits": 6, "bits": [2]}
    values["erh"]["nested"] = [2, 4, 6]
    assert load(values).make_method(6).prefixes == (2, 4)


def test_two_functions(models, features, tmp_path):
    path, address = tmp_path / "x.drlh", str(tmp_path / "features.npy")
    with pytest.raises(UserError, match="give --role=database"):
        serving.new_target(path, models / "two")
    serving.encode_array(serving.new_target(path, models / "two", role="database"), address)
    model = load_model(models / "two")
    query, database = (encode(model, features, role=role) for role in ("query", "database"))
    np.testing.assert_array_equal(codes_of(path), database)
    bundle = bundles.open_bundle(path)
    assert bundle.manifest.role == "database" and (query != database).any()
    answers = serving.ask_by_array(bundle, models / "two", address, Wanted(50))
    distances = (query[:, None] != database[None]).sum(axis=2)
    assert [answer.distances for answer in answers] == np.sort(distances, axis=1).tolist()


def test_logits_are_kept_and_put_the_nearest_in_order(models, features, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_inputs, "_BLOCK_ROWS", 20)
    path, address = tmp_path / "x.drlh", str(tmp_path / "features.npy")
    serving.encode_array(serving.new_target(path, models / "run", logits=True), address)
    (tmp_path / "more.txt").write_text("".join(f"more {row}\n" for row in range(50)))
    serving.encode_array(serving.existing_target(path, models / "run"), address, tmp_path / "more.txt")
    bundles.remove_rows(path, ["3", "more 8"])
    kept = np.delete(np.concatenate([np.arange(50)] * 2), [3, 58])
    real = real_codes(load_model(models / "run/model"), features)
    for _ in range(2):
        bundle = bundles.open_bundle(path)
        assert bundles.find_faults(path) == [] and bundles.bundle_facts(bundle)["logits"].startswith("float16")
        stored = bundle.logits_of(np.arange(98))
        np.testing.assert_array_equal(stored, real[kept].astype(np.float16))
        np.testing.assert_array_equal(bundle.logits_of(np.array([60, 2])), stored[[60, 2]])
        answers = serving.ask_by_array(bundle, models / "run", address, Wanted(5, rerank=30))
        distances, rows = bundle.search(real >= 0, 30)
        for query, answer in enumerate(answers):
            near = stored[rows[query]].astype(np.float64)
            scale = np.maximum(np.linalg.norm(near, axis=1) * np.linalg.norm(real[query]), 1e-30)
            cosine = dict(zip(rows[query].tolist(), near @ real[query] / scale))
            given = [bundle.row_of(name) for name in answer.ids]
            # By value: rows of equal cosine may come in any order.
            assert [cosine[row] for row in given] == pytest.approx(sorted(cosine.values())[:-6:-1], abs=1e-6)
            distance = dict(zip(rows[query].tolist(), distances[query].tolist()))
            assert answer.distances == [distance[row] for row in given]
        bundles.compact_bundle(path)
    with pytest.raises(UserError, match="leave out --radius"):
        serving.ask_by_array(bundle, models / "run", address, Wanted(radius=3, rerank=30))
    with pytest.raises(UserError, match="come with logits, so must new ones"):
        bundles.append_rows(path, np.zeros((1, 1), np.uint8), ["new"])
    serving.encode_array(serving.new_target(tmp_path / "y.drlh", models / "run"), address)
    with pytest.raises(UserError, match="has no logits; encode with --logits"):
        serving.ask_by_array(bundles.open_bundle(tmp_path / "y.drlh"), models / "run", address, Wanted(rerank=30))


@pytest.fixture
def photos(tmp_path):
    """A folder of images in two sub-folders, with all that should be left out."""
    root = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.PNG", "b/c/3.png", "b/ü.png", "top.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (14, 20, 3)).astype(np.uint8)).save(root / name, "PNG")
    (root / "b/broken.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "b/last.jpg").write_bytes(b"")
    (root / ".hidden").mkdir()
    (root / "b/.d.png").touch()
    (root / "b/notes.txt").touch()
    (root / "b/new\nline.png").touch()
    (root / "link.png").symlink_to(root / "top.png")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.png")
    (root / os.fsdecode(b"\xff.png")).touch()
    return root


NAMES = ["a/1.png", "a/2.PNG", "b/c/3.png", "b/ü.png", "top.png"]


@pytest.mark.parametrize("block_bytes", [1, 128 * 2**20])
def test_images(block_bytes, models, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_inputs, "_BLOCK_BYTES", block_bytes)
    path = tmp_path / "x.drlh"
    filled = serving.encode_folder(serving.new_target(path, models / "photos"), photos)
    bundle = bundles.open_bundle(path)
    assert bundle.ids() == NAMES and filled.added == 5
    assert len(bundle.manifest.segments) == (5 if block_bytes == 1 else 1)
    pixels = np.stack([decode_image(photos / name, ImageSpec(12)) for name in NAMES])
    np.testing.assert_array_equal(codes_of(path), encode(load_model(models / "photos"), pixels))
    left_out = {
        *(".hidden", "b/.d.png", "b/notes.txt", "b/broken.jpg", "b/last.jpg", "b/new\nline.png"),
        *("link.png", "loop", "pipe.png", "\\xff.png"),
    }
    assert {each.path for each in filled.skipped} == left_out
    lines = [line for file in path.glob("*/skipped.jsonl") for line in file.read_text().splitlines()]
    assert {json.loads(line)["path"] for line in lines} == left_out and len(lines) == len(left_out)
    answer = serving.ask_by_image(bundle, models / "photos", photos / "b/ü.png", Wanted(1))
    assert answer.distances == [0]
    # The same call goes on where it was: nothing is coded twice.
    before = bundle.codes.copy()
    Image.new("RGB", (30, 30)).save(photos / "0.png")
    for added in (1, 0):
        filled = serving.encode_folder(serving.existing_target(path, models / "photos"), photos)
        assert (filled.added, filled.present) == (added, 6 - added)
    after = bundles.open_bundle(path)
    assert after.ids() == [*NAMES, "0.png"]
    np.testing.assert_array_equal(after.codes[:5], before)


def test_other_models_are_refused(models, features, tmp_path):
    path, address = tmp_path / "x.drlh", str(tmp_path / "features.npy")
    serving.encode_array(serving.new_target(path, models / "run"), address)
    save_model(tmp_path / "other", num_bits=7)
    bundle = bundles.open_bundle(path)
    for call in (
        lambda: serving.existing_target(path, tmp_path / "other"),
        lambda: serving.ask_by_array(bundle, tmp_path / "other", address, Wanted()),
        lambda: serving.ask_by_image(bundle, models / "photos", tmp_path / "x.png", Wanted()),
    ):
        with pytest.raises(UserError, match="is not the model of .*codes of two models cannot be compared"):
            call()
    bundles.create_bundle(tmp_path / "unknown.drlh", 6)
    with pytest.raises(UserError, match="does not say which model"):
        serving.ask_by_array(bundles.open_bundle(tmp_path / "unknown.drlh"), models / "run", address, Wanted())


def spoiled(rows, place, value):
    rows = rows.copy()
    rows[place] = value
    return rows


def test_what_cannot_be_encoded_leaves_nothing(models, features, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(serving_inputs, "_BLOCK_ROWS", 20)
    path = tmp_path / "x.drlh"
    run, images = (lambda name=name: serving.new_target(path, models / name) for name in ("run", "photos"))
    arrays = {
        "nan": spoiled(features, (33, 2), np.nan),
        "infinite": spoiled(features, (49, 7), np.inf),
        "wide": np.zeros((4, 9), np.float32),
        "empty": features[:0],
        "number": np.float32(3),
        "text": np.array(["a"]),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "few.txt").write_text("a\nb\n")
    (tmp_path / "twice.txt").write_text("a\n" * 50)
    (tmp_path / "none").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").touch()
    address = str(tmp_path / "features.npy")
    cases = (
        (lambda: serving.encode_array(run(), str(tmp_path / "nan.npy")), "row 33 holds a number that is not finite"),
        (lambda: serving.encode_array(run(), str(tmp_path / "infinite.npy")), "row 49"),
        (lambda: serving.encode_array(run(), str(tmp_path / "wide.npy")), r"inputs are \[4, 9\]"),
        (lambda: serving.encode_array(run(), str(tmp_path / "empty.npy")), "no row to encode"),
        (lambda: serving.encode_array(run(), str(tmp_path / "number.npy")), "no row to encode"),
        (lambda: serving.encode_array(run(), str(tmp_path / "text.npy")), "give numbers"),
        (lambda: serving.encode_array(run(), str(tmp_path / "nothing.npy")), "--embeddings: .*no such file"),
        (lambda: serving.encode_array(run(), address, tmp_path / "few.txt"), "2 lines, the embeddings 50 rows"),
        (lambda: serving.encode_array(run(), address, tmp_path / "twice.txt"), "a occurs twice"),
        (lambda: serving.encode_folder(run(), photos), "was not trained on image files"),
        (lambda: serving.encode_folder(images(), tmp_path / "none"), "holds no image"),
        (lambda: serving.encode_folder(images(), tmp_path / "bad"), "none of 1 files can be read, the last is a.png"),
        (lambda: serving.encode_folder(images(), tmp_path / "nowhere"), "no such folder"),
        (lambda: serving.new_target(path, models), "has no model.json"),
        (lambda: serving.new_target(path, models / "run", 3, "ppo"), "it has 2 ppo"),
        (lambda: serving.existing_target(path, models / "run"), "not a bundle of codes"),
        (lambda: serving.new_target(tmp_path, models / "run"), "is there already"),
    )
    for call, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)
        assert not path.exists()


def test_a_place_that_cannot_be_written_is_known_at_once(models, features, tmp_path):
    (tmp_path / "file").touch()
    target = serving.new_target(tmp_path / "file/x.drlh", models / "run")
    seen = []
    with pytest.raises(UserError, match="cannot be written"):
        serving.encode_array(target, str(tmp_path / "features.npy"), on_rows=lambda *each: seen.append(each))
    assert seen == []


def test_a_bundle_without_rows_is_filled_by_the_same_call(models, features, tmp_path):
    """As a kill within the first segment leaves it."""
    path, address = tmp_path / "x.drlh", str(tmp_path / "features.npy")
    target = serving.new_target(path, models / "run")
    bundles.create_bundle(path, 6, None, target.served.facts(), logits=True)
    assert serving.encode_array(serving.existing_target(path, models / "run"), address).added == 50
    assert bundles.open_bundle(path).logits_of(np.arange(50)).shape == (50, 6)


def test_row_numbers_do_not_come_twice(models, features, tmp_path):
    path, address = tmp_path / "x.drlh", str(tmp_path / "features.npy")
    serving.encode_array(serving.new_target(path, models / "run"), address)
    with pytest.raises(UserError, match="--append needs --ids"):
        serving.encode_array(serving.existing_target(path, models / "run"), address)


def test_images_that_cannot_be_asked_for(models, photos, tmp_path):
    serving.encode_folder(serving.new_target(tmp_path / "x.drlh", models / "photos"), photos)
    bundle = bundles.open_bundle(tmp_path / "x.drlh")
    for name in ("b/broken.jpg", "nothing.png", "pipe.png", "b"):
        with pytest.raises(UserError, match=f"--image=.*{name} cannot be read"):
            serving.ask_by_image(bundle, models / "photos", photos / name, Wanted())
