"""One sub-folder a class: what is read, what is left out and listed, what is refused."""

import os

import pytest

from drlhash_jax.data import load_dataset, notices
from drlhash_jax.errors import UserError


@pytest.fixture
def root(tmp_path, write_image):
    root = tmp_path / "animals"
    for number, name in enumerate(("dog/b.png", "dog/a.png", "cat/c.png", "cat/more/a.png", "Zebra/z.png")):
        write_image(root / name, 10 * number)
    return root


def load(root, **changes):
    return load_dataset("folder", str(root), **{"image_size": 4, "max_skipped": 0.5} | changes)


def refused(root, *words):
    with pytest.raises(UserError) as caught:
        load(root)
    assert all(word in str(caught.value) for word in words), caught.value


def test_classes_are_the_sorted_sub_folders(root):
    out = load(root)
    assert out.name == "animals" and out.classes == ("Zebra", "cat", "dog")
    assert out.paths == ("Zebra/z.png", "cat/c.png", "cat/more/a.png", "dog/a.png", "dog/b.png")
    assert out.labels.tolist() == [0, 1, 1, 2, 2]
    assert out.inputs[:, 0, 0, 0].tolist() == [40, 20, 30, 10, 0]
    assert out.skipped == () and out.image_spec.size == 4


def test_what_is_left_out_is_listed(root, write_image):
    write_image(root / ".ipynb_checkpoints/a.png")
    write_image(root / "dog/.hidden/a.png")
    (root / ".DS_Store").write_bytes(b"")
    (root / "dog/.a.png").write_bytes(b"")
    (root / "dog/notes.txt").write_text("")
    write_image(root / "stray.png")
    (root / "dog/broken.JPG").write_bytes(b"\xff\xd8\xff")
    out = load(root)
    assert len(out.labels) == 5
    reasons = dict(out.skipped)
    assert reasons.pop("dog/broken.JPG")
    assert reasons == {
        ".DS_Store": "hidden name",
        ".ipynb_checkpoints": "hidden name",
        "dog/.a.png": "hidden name",
        "dog/.hidden": "hidden name",
        "dog/notes.txt": "not named like an image",
        "stray.png": "not a class folder",
    }


def test_empty_class(root):
    (root / "emu").mkdir()
    refused(root, "emu", "no image")
    (root / "emu/.keep").write_text("")
    refused(root, "emu", "no image")

    refused(root, "--config.data.allow_empty_class=True")
    out = load(root, allow_empty_class=True)
    assert out.classes == ("Zebra", "cat", "dog", "emu") and out.labels.tolist() == [0, 1, 1, 2, 2]
    assert notices(out)[-1] == "1 class has no rows: emu."


def test_too_few_classes(root, tmp_path):
    refused("", "data.path")
    refused(tmp_path / "nowhere", "nowhere", "no such folder")
    refused(root / "dog", "0 sub-folders", "at least 2")
    refused(tmp_path, "1 sub-folders", "at least 2")


def test_links_out_of_the_folder(root, tmp_path, write_image):
    outside = write_image(tmp_path / "outside.png")
    (root / "dog/link.png").symlink_to(outside)
    refused(root, "dog/link.png", "leads out")


def test_links_to_folders_are_not_followed(root, tmp_path, write_image):
    write_image(tmp_path / "others/x.png")
    (root / "linked class").symlink_to(tmp_path / "others")
    (root / "dog/linked").symlink_to(tmp_path / "others")
    out = load(root)
    assert out.classes == ("Zebra", "cat", "dog")
    assert dict(out.skipped) == {"linked class": "not a class folder", "dog/linked": "link to a folder"}


def test_one_file_under_two_names(root):
    # Two labels for one image, or the same image as query and in the database.
    (root / "dog/twin.png").symlink_to("../cat/c.png")
    refused(root, "cat/c.png", "dog/twin.png", "same file")


def test_link_that_leads_nowhere(root):
    (root / "dog/loop.png").symlink_to("loop.png")
    with pytest.raises(UserError, match="loop.png"):
        load(root, max_skipped=0.0)


def test_names_that_are_not_text(root, write_image):
    (root / os.fsdecode(b"dog/\xff.png")).write_bytes((root / "dog/a.png").read_bytes())
    write_image(root / 'dog/new\nline "<b>.png')
    out = load(root)
    assert dict(out.skipped) == {"dog/\\xff.png": "name is not UTF-8"}
    assert 'dog/new\nline "<b>.png' in out.paths
