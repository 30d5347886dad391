"""Frames of videos: at the times that were asked for, upright, and one line for files that are damaged."""

import struct
import sys

import numpy as np
import pytest
from PIL import Image
from video_makers import write_video

from drlhash_jax.data import ImageSpec, UnreadableImageError, sample_frames
from drlhash_jax.errors import UserError

av = pytest.importorskip("av")
SPEC = ImageSpec(16)


def greys(levels):
    return [Image.new("RGB", (32, 32), (level,) * 3) for level in levels]


def sampled(path, rate):
    frames = list(sample_frames(path, rate, SPEC))
    return [round(frame.seconds, 3) for frame in frames], np.array([frame.pixels.mean() for frame in frames])


@pytest.mark.parametrize("codec, name", [("libx264", "x.mp4"), ("mpeg4", "x.avi"), ("libvpx-vp9", "x.webm")])
def test_frames_come_at_the_rate_that_is_asked_for(codec, name, tmp_path):
    write_video(tmp_path / name, greys(range(0, 240, 8)), codec, rate=10)
    times, levels = sampled(tmp_path / name, 2.0)
    assert times == [0, 0.5, 1, 1.5, 2, 2.5]
    np.testing.assert_allclose(levels, [0, 40, 80, 120, 160, 200], atol=4)
    # More often than the file has them: each stays until the next one.
    times, levels = sampled(tmp_path / name, 20.0)
    assert len(times) == 59
    np.testing.assert_allclose(levels[::2], np.arange(0, 240, 8), atol=4)
    np.testing.assert_allclose(levels[1::2], np.arange(0, 232, 8), atol=4)


def test_a_frame_stays_on_the_screen(tmp_path):
    with av.open(str(tmp_path / "slides.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for number, image in enumerate(greys([0, 100, 200])):
            frame = av.VideoFrame.from_image(image)
            frame.pts = (0, 13, 20)[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times, levels = sampled(tmp_path / "slides.mkv", 2.0)
    assert times == [0, 0.5, 1, 1.5, 2]
    np.testing.assert_allclose(levels, [0, 0, 0, 100, 200], atol=4)


def test_frames_are_upright(tmp_path):
    image = Image.new("RGB", (32, 32), "white")
    image.paste("black", (0, 0, 32, 16))
    write_video(tmp_path / "x.mp4", [image] * 3)
    content = bytearray((tmp_path / "x.mp4").read_bytes())
    one, whole = 1 << 16, 1 << 30
    plain = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, whole)
    turned = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, whole)
    place = content.find(plain, content.find(b"tkhd"))
    content[place : place + 36] = turned
    (tmp_path / "x.mp4").write_bytes(content)
    (frame,) = sample_frames(tmp_path / "x.mp4", 1.0, SPEC)
    # The camera was held so that its upper side is the right one.
    assert frame.pixels[:, 12:].mean() < 20 and frame.pixels[:, :4].mean() > 235


def test_damaged_files_are_one_line(tmp_path):
    write_video(tmp_path / "x.avi", greys(range(0, 240, 2)), "mpeg4", rate=10)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    content = (tmp_path / "x.avi").read_bytes()
    (tmp_path / "short.mp4").write_bytes(content[:200])
    # FFmpeg would open what a playlist names.
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:10,\n{tmp_path / 'x.avi'}\n#EXT-X-ENDLIST\n")
    (tmp_path / "list2.mp4").write_text("ffconcat version 1.0\nfile x.avi\n")
    for name in ("empty", "text", "short", "list", "list2", "missing"):
        with pytest.raises(UnreadableImageError):
            list(sample_frames(tmp_path / f"{name}.mp4", 2.0, SPEC))
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg")
    with pytest.raises(UnreadableImageError):
        list(sample_frames(tmp_path / "x.jpg", 2.0, SPEC))


def test_the_package_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match=r"pip install 'drlhash-jax\[video\]'"):
        list(sample_frames(tmp_path / "x.mp4", 2.0, SPEC))
