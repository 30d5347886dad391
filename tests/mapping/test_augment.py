"""Random mirroring and shifts: every view is one that plain loops can make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.mapping.augment import random_flip_and_shift

augment = jax.jit(random_flip_and_shift, static_argnums=2)


def shifted(image, rows, columns):
    """The image moved, its edge repeated."""
    out = np.empty_like(image)
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            out[y, x] = image[min(max(y + rows, 0), height - 1), min(max(x + columns, 0), width - 1)]
    return out


@pytest.mark.parametrize("max_shift", [0, 1])
def test_every_view_is_a_mirrored_shift(max_shift):
    images = np.random.default_rng(0).normal(size=(40, 4, 5, 2)).astype(np.float32)
    views = np.asarray(augment(jax.random.key(0), jnp.asarray(images), max_shift))
    assert views.shape == images.shape
    seen = set()
    steps = range(-max_shift, max_shift + 1)
    for image, view in zip(images, views):
        made = {
            (flip, rows, columns): shifted(image[:, ::-1] if flip else image, rows, columns)
            for flip in (False, True)
            for rows in steps
            for columns in steps
        }
        fitting = [name for name, candidate in made.items() if np.array_equal(candidate, view)]
        assert len(fitting) == 1
        seen.update(fitting)
    # 40 draws of 2 views see both, and of 18 views most.
    assert len(seen) >= (2 if max_shift == 0 else 12)


def test_key_decides():
    images = jnp.arange(2 * 6 * 6, dtype=jnp.float32).reshape(2, 6, 6, 1)
    views = [np.asarray(augment(jax.random.key(seed), images, 2)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
