"""Supervised deep hashing in JAX: labels -> target codes -> encoder -> selected bits -> retrieval numbers.

The names in `__all__` are the package's Python interface. Each is imported when it is first asked for, so that
``import drlhash_jax`` loads neither JAX nor NumPy.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Name -> the room that defines it, or its module where the room would load more than others need.
_ROOMS = {
    "ENCODERS": "encoders",
    "Hasher": "fitting.hasher",
    "METHODS": "methods",
    "SELECTORS": "bit_selection",
    "UserError": "errors",
    "encode": "runs",
    "evaluate": "retrieval",
    "load": "serving",
    "load_model": "runs",
    "mean_average_precision": "retrieval",
    "open_bundle": "bundles",
    "train_and_evaluate": "pipeline",
}

__all__ = [
    "ENCODERS",
    "METHODS",
    "Hasher",
    "SELECTORS",
    "UserError",
    "encode",
    "evaluate",
    "load",
    "load_model",
    "mean_average_precision",
    "open_bundle",
    "train_and_evaluate",
]


def __getattr__(name: str) -> Any:
    """A public name, from its room; Python calls this for names that the package does not have yet (PEP 562)."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
