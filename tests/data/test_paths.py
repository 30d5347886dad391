"""Paths that no file can have, and files that never end: one line each, at once."""

import json
import os

import pytest

from drlhash_jax.data import load_dataset
from drlhash_jax.data.lists import inner_name, read_csv, read_hash_list, read_jsonl
from drlhash_jax.data.paths import path_problem, regular_file
from drlhash_jax.errors import UserError

SOURCES = ("arrays", "cifar10_binary", "coco", "csv", "embeddings", "folder", "idx", "jsonl", "lists", "nuswide21")
IMPOSSIBLE = {"long": "a" * 5_000, "deep": "ab/" * 2_000, "nul": "a\0b", "half": "a\ud800b"}


def refused(call, *words):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and "\0" not in message and len(message) < 500
    message.encode()


@pytest.mark.parametrize("path", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
@pytest.mark.parametrize("source", SOURCES)
def test_settings(source, path):
    refused(lambda: load_dataset(source, path, labels_path="y.npy"), "--config.data.path=", "cannot be a path")
    if source in ("csv", "embeddings"):
        refused(lambda: load_dataset(source, "x.npy", labels_path=path), "--config.data.labels_path=")
        refused(lambda: load_dataset(source, "x.npy", labels_path="y.npy", cache=path), "--config.data.cache=")


@pytest.mark.parametrize("path", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_lists(tmp_path, path):
    refused(lambda: inner_name(path, "x.csv, line 2"), "x.csv, line 2", "cannot be the path of a file")
    (tmp_path / "x.jsonl").write_text(json.dumps({"path": path, "labels": ["sea"]}))
    refused(lambda: load_dataset("jsonl", str(tmp_path / "x.jsonl")), "x.jsonl, line 1")
    if "\ud800" not in path:
        (tmp_path / "x.csv").write_text(f"path,label\n{path},dog\n")
        refused(lambda: load_dataset("csv", str(tmp_path / "x.csv")), "x.csv, line 2")


def test_possible_paths():
    for path in ("a", "a/b c.jpg", "a" * 255, "ä" * 127, "/".join(["a" * 200] * 20), os.fsdecode(b"\xff.png"), ""):
        assert path_problem(path) == ""


def test_pipes_and_devices_are_not_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        for read in (read_hash_list, read_csv, read_jsonl, regular_file):
            refused(lambda read=read, path=path: read(path), str(path), "pipe or a device")
        for source in ("arrays", "cifar10_binary", "csv", "jsonl"):
            refused(lambda source=source, path=path: load_dataset(source, str(path)), "pipe or a device")
    os.rename(pipe, tmp_path / "x.npy")
    refused(lambda: load_dataset("embeddings", str(tmp_path / "x.npy"), labels_path="y.npy"), "--config.data.path")
    os.rename(tmp_path / "x.npy", tmp_path / "database.txt")
    for part in ("test", "train"):
        (tmp_path / f"{part}.txt").write_text("a.jpg 0 1\n")
    refused(lambda: load_dataset("lists", str(tmp_path)), "database.txt", "pipe or a device")


def test_folders_are_not_files(tmp_path):
    refused(lambda: regular_file(tmp_path), str(tmp_path), "is a folder")
    refused(lambda: regular_file(tmp_path / "gone"), "gone: no such file")
    (tmp_path / "file").write_text("")
    refused(lambda: regular_file(tmp_path / "file" / "x"), "cannot be read")
