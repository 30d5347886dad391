"""Ways to run out of room on a disk."""

import errno
import os

import pytest


def _no_room(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["write", "fsync", "replace"])
def fill_disk(request, monkeypatch):
    """Function after whose call every atomic write fails for want of room: within it, at its end, or in the rename."""

    def fill():
        if request.param == "write":
            # The device that is always full.
            full = lambda path, mode: open("/dev/full", mode)  # noqa: SIM115
            monkeypatch.setattr("drlhash_jax.files.open", full, raising=False)
        else:
            monkeypatch.setattr(os, request.param, _no_room)

    return fill
