"""Many image files at once: order, broken ones, the cache, worker processes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from drlhash_jax.data import image_store
from drlhash_jax.data.dataset import DataSettings
from drlhash_jax.data.digests import array_digest
from drlhash_jax.data.image_store import image_dataset, load_images
from drlhash_jax.errors import UserError


@pytest.fixture
def files(tmp_path, write_image):
    """A folder with ten pictures of levels 0, 10, ..., 90, the fourth of them broken."""
    root = tmp_path / "images"
    names = [f"{number}.png" for number in range(10)]
    for number, name in enumerate(names):
        write_image(root / name, 10 * number)
    (root / "3.png").write_bytes(b"broken")
    return root, names


LEVELS = [0, 10, 20, 40, 50, 60, 70, 80, 90]


def settings(**changes):
    return DataSettings(**{"image_size": 4, "max_skipped": 0.5} | changes)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_order_and_broken_files(files, num_workers):
    images, rows, skipped, _ = load_images(*files, settings(num_workers=num_workers))
    assert images.shape == (9, 4, 4, 3) and images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == LEVELS
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [each.path for each in skipped] == ["3.png"] and "not an image" in skipped[0].reason


def test_too_many_broken_files_end_the_run(files):
    with pytest.raises(UserError, match="1 of 10 image files.*3.png: not an image.*data.max_skipped=0.05"):
        load_images(*files, settings(max_skipped=0.05))
    root, _ = files
    with pytest.raises(UserError, match="2 of 2"):
        load_images(root, ["3.png", "gone.png"], settings(max_skipped=1.0))


def test_rows_labels_and_lists_follow(files):
    lists = {"lists": (np.array([0, 3]), np.array([4, 5]), np.array([9, 3, 4, 5]))}
    out = image_dataset("mine", *files, np.arange(10), settings(), lists)
    assert out.labels.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert out.paths[3] == "4.png" and len(out.paths) == 9
    assert [part.tolist() for part in out.lists["lists"]] == [[0], [3, 4], [8, 3, 4]]
    assert out.image_spec.size == 4 and out.skipped[0].path == "3.png"


@pytest.fixture
def count_decoded(monkeypatch):
    """List that grows with every file that is decoded in this process."""
    seen = []
    original = image_store._try_decode
    monkeypatch.setattr(image_store, "_try_decode", lambda path, spec: seen.append(path) or original(path, spec))
    return seen


def test_cache_is_written_once_and_mapped(files, tmp_path, count_decoded):
    cache = tmp_path / "new folder" / "pixels.npy"
    first = load_images(*files, settings(cache=str(cache)))
    assert len(count_decoded) == 10
    again = load_images(*files, settings(cache=str(cache)))
    assert len(count_decoded) == 10
    for out in (first, again):
        assert isinstance(out.images, np.memmap) and out.images[:, 0, 0, 0].tolist() == LEVELS
        assert out.rows.tolist() == first.rows.tolist() and out.skipped == first.skipped
    # NumPy reads the file too, the facts stand behind the pixels.
    np.testing.assert_array_equal(np.load(cache), first.images)
    facts = json.loads(cache.read_bytes()[256 + first.images.size :])
    assert facts["spec"]["resize"] == "bilinear" and facts["digest"] == first.digest == array_digest(first.images)
    assert sorted(path.name for path in cache.parent.iterdir()) == [".pixels.npy.lock", "pixels.npy"]


@pytest.mark.parametrize("change", ["size", "names", "file", "cut", "facts", "gone", "empty"])
def test_cache_of_something_else_is_written_anew(files, tmp_path, count_decoded, change, write_image):
    root, names = files
    cache = tmp_path / "pixels.npy"
    load_images(root, names, settings(cache=str(cache)))
    count_decoded.clear()
    content = cache.read_bytes()
    actions = {
        "file": lambda: write_image(root / "3.png", 30),
        "cut": lambda: cache.write_bytes(content[: 256 + 100]),
        "facts": lambda: cache.write_bytes(content[:-10]),
        "gone": lambda: cache.unlink(),
        "empty": lambda: cache.write_bytes(b""),
    }
    actions.get(change, lambda: None)()
    names = names[1:] if change == "names" else names
    size = 5 if change == "size" else 4
    out = load_images(root, names, settings(cache=str(cache), image_size=size))
    assert len(count_decoded) == len(names)
    expected = {"names": LEVELS[1:], "file": sorted([*LEVELS, 30])}.get(change, LEVELS)
    assert out.images[:, 0, 0, 0].tolist() == expected and out.images.shape[1] == size


def foreign_files():
    """Contents that are no cache of ours."""
    array = io.BytesIO()
    np.save(array, np.zeros((9, 4, 4, 3), np.uint8))
    return {"array": array.getvalue(), "text": b"notes", "mark": b"  # drlhash_jax image cache 1 " + b"0" * 300}


@pytest.mark.parametrize("kind", list(foreign_files()))
def test_a_file_of_somebody_else_is_never_overwritten(files, tmp_path, count_decoded, kind):
    cache = tmp_path / "features.npy"
    cache.write_bytes(foreign_files()[kind])
    with pytest.raises(UserError, match=r"--config.data.cache=.*features.npy is there.*left as it is; give another"):
        load_images(*files, settings(cache=str(cache)))
    assert cache.read_bytes() == foreign_files()[kind]
    assert not count_decoded and [path.name for path in tmp_path.iterdir() if path.is_file()] == ["features.npy"]


def test_a_file_that_came_while_images_were_decoded_stays(files, tmp_path, monkeypatch):
    cache = tmp_path / "features.npy"
    decode = image_store._try_decode
    monkeypatch.setattr(image_store, "_try_decode", lambda *args: cache.write_bytes(b"mine") and decode(*args))
    with pytest.raises(UserError, match="left as it is"):
        load_images(*files, settings(cache=str(cache)))
    assert cache.read_bytes() == b"mine" and not (tmp_path / ".features.npy.tmp").exists()


@pytest.mark.parametrize("place", ["folder", "pipe"])
def test_a_cache_that_is_no_file(files, tmp_path, place):
    cache = tmp_path / "x.npy"
    cache.mkdir() if place == "folder" else os.mkfifo(cache)
    with pytest.raises(UserError, match="is not a regular file"):
        load_images(*files, settings(cache=str(cache)))


def test_cache_where_no_file_can_be_made(files):
    """This waited for ever, and for a lock that cannot be had."""
    code = (
        "import sys; from pathlib import Path; from drlhash_jax.data import DataSettings, load_images;"
        "load_images(Path(sys.argv[1]), ['1.png'], DataSettings(cache='/proc/x.npy'))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(files[0])], capture_output=True, text=True, timeout=30)
    assert "UserError: --config.data.cache=/proc/x.npy cannot be written" in done.stderr


def test_cache_that_cannot_be_written(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="data.cache=.*cannot be written"):
        load_images(*files, settings(cache=str(tmp_path / "file" / "pixels.npy")))


def test_full_disk_is_one_line_and_leaves_an_empty_lock(files, tmp_path):
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from pathlib import Path; from drlhash_jax.data import DataSettings;"
        "from drlhash_jax.data.image_store import load_images;"
        "load_images(Path(sys.argv[1]), ['0.png', '1.png', '2.png', '4.png'] * 20,"
        " DataSettings(image_size=8, cache=sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(files[0]), str(tmp_path / "full/pixels.npy")], capture_output=True, text=True
    )
    assert "UserError: --config.data.cache=" in done.stderr and "cannot be written" in done.stderr
    assert [(path.name, path.stat().st_size) for path in (tmp_path / "full").iterdir()] == [(".pixels.npy.lock", 0)]


def test_one_of_several_processes_decodes(files, tmp_path):
    """Both ask for the same cache at once; the second reads what the first wrote."""
    code = (
        "import sys; from pathlib import Path; from drlhash_jax.data import DataSettings, image_store as store;"
        "decode = store._try_decode; count = [];"
        "store._try_decode = lambda *arguments: count.append(1) or decode(*arguments);"
        "images = store.load_images(Path(sys.argv[1]), ['0.png', '1.png', '2.png'] * 200,"
        " DataSettings(image_size=8, cache=sys.argv[2])).images; print(len(count), images.sum())"
    )
    command = [sys.executable, "-c", code, str(files[0]), str(tmp_path / "cache/pixels.npy")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = sorted(process.communicate(timeout=60)[0].split() for process in both)
    assert [count for count, _ in printed] == ["0", "600"] and printed[0][1] == printed[1][1]


def test_more_than_memory_needs_a_cache(files, monkeypatch):
    monkeypatch.setattr(image_store, "MEMORY_LIMIT", 10 * 4 * 4 * 3 - 1)
    with pytest.raises(UserError, match="10 images of 4 pixels.*data.cache"):
        load_images(*files, settings())


WORKERS = """
import sys, time
from pathlib import Path
from drlhash_jax.data import ImageSpec
from drlhash_jax.data.image_store import _decode_all

if __name__ == "__main__":
    results = _decode_all([Path(sys.argv[1])] * 5000, ImageSpec(64), 1)
    next(results)
    print("ready", flush=True)
    time.sleep(60)
"""


def children_of(pid):
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(each) for each in done.stdout.split()]


@pytest.mark.slow
def test_workers_end_with_a_killed_parent_and_ignore_its_signals(files, tmp_path):
    script = tmp_path / "decode.py"
    script.write_text(WORKERS)
    process = subprocess.Popen([sys.executable, str(script), str(files[0] / "1.png")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    workers = children_of(process.pid)
    assert workers
    for worker in workers:
        if "resource_tracker" not in Path(f"/proc/{worker}/cmdline").read_text():
            os.kill(worker, signal.SIGTERM)
    time.sleep(0.5)
    assert children_of(process.pid) == workers
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{worker}") for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [worker for worker in workers if os.path.exists(f"/proc/{worker}")]
