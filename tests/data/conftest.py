"""Images on disk for the tests of the sources."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_image():
    """Function that writes a small picture of one grey level."""

    def write(path, level=100):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((5, 7, 3), level, np.uint8)).save(path, "PNG" if path.suffix == ".png" else "BMP")
        return path

    return write
