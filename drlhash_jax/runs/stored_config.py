"""Configurations as they are stored and compared."""

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
    """Says which fields of two flat configs differ, those of another value in each; "" if none does that matters."""
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key) and key not in _FREE]
    more = f"; and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
    return "; ".join(f"{key} was {old.get(key)}, now {new.get(key)}" for key in differing[:_NAMED]) + more
