"""Descriptions of a run as they are stored and compared: their format, and the configurations in them."""

import json
from pathlib import Path

from drlhash_jax.errors import UserError

# Of config.json, run.json and model.json; a file without it is of format 1. Raised when a reader of the one before
# would take something for what it is not.
FORMAT = 2
# Fields that say how a run is carried out and not what comes out of it: a run may be continued with other values.
_FREE = ("checkpoint_seconds", "data.cache", "data.num_workers")
_NAMED = 5


def flatten_config(tree: dict, prefix: str = "") -> dict:
    """Nested dict to flat dict, names joined by dots."""
    flat = {}
    for key, value in tree.items():
        flat |= flatten_config(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def differing_fields(old: dict, new: dict) -> str:
    """Says which fields of two flat configs differ, with both values; "" if all that shape the result are equal."""
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key) and key not in _FREE]
    more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    return "; ".join(f"{key} was {old.get(key)}, now {new.get(key)}" for key in differing[:_NAMED]) + more


def config_changes(stored: dict, config: dict) -> str:
    """Says where a configuration differs from one that a JSON file holds, both nested; "" as in `differing_fields`."""
    # As a reader of the file would see it: tuples become lists.
    return differing_fields(flatten_config(stored), flatten_config(json.loads(json.dumps(config))))


def read_object(path: Path) -> dict:
    """A file that holds a JSON object.

    Raises:
      UserError: it does not, or it cannot be read.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): it is damaged, or something else") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object: it is damaged, or something else")
    return value


def check_format(path: Path, description: dict) -> None:
    """Refuses a description of another format.

    Args:
      path: its file, for the message.
      description: content of config.json, run.json or model.json.

    Raises:
      UserError: it was written by a version with another format.
    """
    found = description.get("format", 1)
    if found != FORMAT:
        raise UserError(
            f"{path} is of format {found}, this version of drlhash_jax reads and writes format {FORMAT}: "
            "use the version that wrote it, or run again in another directory"
        )
