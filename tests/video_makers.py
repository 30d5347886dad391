"""Videos of moving pictures: pans and zooms over photographs, and clips of them as somebody else would save them."""

import io

import numpy as np
from PIL import Image

RATE = 12


def read_photographs(folder, rows):
    """Some of the shared photographs, as Pillow's images."""
    with np.load(folder / "coco_mini_images.npz", allow_pickle=False) as stored:
        jpeg, offsets = stored["jpeg"].tobytes(), stored["offsets"]
        return [Image.open(io.BytesIO(jpeg[offsets[row] : offsets[row + 1]])).convert("RGB") for row in rows]


def shots(photographs, rng, size=(192, 144)):
    """Frames of a film: over each photograph, for two to five seconds, a window that moves and grows or shrinks."""
    for image in photographs:
        count = int(rng.integers(2 * RATE, 5 * RATE))
        scales = np.linspace(*rng.uniform(0.6, 1.0, 2), count)
        places = np.linspace(rng.uniform(0, 1, 2), rng.uniform(0, 1, 2), count)
        side = min(image.width / size[0], image.height / size[1])
        for scale, (x, y) in zip(scales, places):
            width, height = side * scale * size[0], side * scale * size[1]
            left, top = x * (image.width - width), y * (image.height - height)
            yield image.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height))


def write_video(path, frames, codec="libx264", bit_rate=1_000_000, rate=RATE):
    """Encodes Pillow's images of one size."""
    import av

    with av.open(str(path), "w") as container:
        stream = None
        for image in frames:
            if stream is None:
                stream = container.add_stream(codec, rate=rate, bit_rate=bit_rate)
                stream.width, stream.height, stream.pix_fmt = *image.size, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())


def cut(path, start, seconds, size, share):
    """Frames of a piece of a video, `share` of each side cut away, scaled."""
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if start <= frame.time < start + seconds:
                image = frame.to_image()
                margins = share / 2 * image.width, share / 2 * image.height
                box = (*margins, image.width - margins[0], image.height - margins[1])
                yield image.resize(size, Image.Resampling.BILINEAR, box)
