"""Random mirroring and windows: every view is one that plain loops can make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from drlhash_jax.training.augment import random_views

augment = jax.jit(random_views, static_argnums=(3, 4))


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
    views = np.asarray(augment(jax.random.key(0), jnp.arange(40), jnp.asarray(images), max_shift))
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


def test_key_and_row_decide():
    images = jnp.arange(3 * 6 * 6, dtype=jnp.float32).reshape(3, 6, 6, 1)
    rows = jnp.arange(3)
    views = [np.asarray(augment(jax.random.key(seed), rows, images, 2)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])
    # Neither the batch nor the place in it matters.
    order = jnp.array([2, 0])
    np.testing.assert_array_equal(augment(jax.random.key(0), rows[order], images[order], 2), views[0][order])


def test_windows_are_random_crops():
    """Windows of 4 in 6 pixels, at most 1 off the centre: the nine crops of torchvision's RandomCrop, and no edge."""
    image = jnp.arange(36.0).reshape(1, 6, 6, 1)
    crops = {
        np.asarray(view).tobytes(): (top, left, flip)
        for top in range(3)
        for left in range(3)
        for flip, view in enumerate(
            (image[0, top : top + 4, left : left + 4], image[0, top : top + 4, left : left + 4][:, ::-1])
        )
    }
    views = augment(jax.random.key(0), jnp.arange(600), jnp.repeat(image, 600, axis=0), 1, 4)
    counts = np.bincount(
        [sorted(crops.values()).index(crops[np.asarray(view).tobytes()]) for view in views], minlength=18
    )
    # 600 draws of 18: 33.3 each, standard deviation 5.6.
    assert counts.sum() == 600 and counts.min() > 33.3 - 4 * 5.6 and counts.max() < 33.3 + 4 * 5.6


def test_no_shift_is_the_centre():
    image = jnp.arange(36.0).reshape(1, 6, 6, 1)
    view = np.asarray(augment(jax.random.key(0), jnp.arange(1), image, 0, 4))[0]
    centre = np.asarray(image[0, 1:5, 1:5])
    assert np.array_equal(view, centre) or np.array_equal(view, centre[:, ::-1])
