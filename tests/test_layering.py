"""The house: imports run one way, pure rooms know no files, flags or configurations, and nothing grows too large."""

import ast
import collections
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "drlhash_jax"

# Room -> rooms that it may import, all of them above it in this list.
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "settings": {"errors"},
    "types": set(),
    "terminal": set(),
    "parallel": {"types"},
    "codes": {"errors", "files"},
    "bundles": {"errors", "files", "codes"},
    "pages": {"errors"},
    "retrieval": {"types", "parallel", "codes"},
    "encoders": {"errors", "settings", "types"},
    "target_codes": {"settings", "types", "parallel"},
    "posteriors": {"types"},
    "training": {"settings", "types", "parallel", "encoders"},
    "methods": {"settings", "types", "parallel", "target_codes", "posteriors", "training"},
    "bit_selection": {"errors", "settings", "types", "parallel", "codes", "retrieval", "training"},
    "data": {"errors", "settings", "codes"},
    "weights": {"errors", "codes", "data"},
    "config": {"errors", "settings", "parallel", "codes", "encoders", "training", "methods", "bit_selection", "data"},
    "runs": {"errors", "files", "types", "codes", "encoders", "training", "methods", "data", "config"},
    "serving": {"errors", "files", "codes", "bundles", "encoders", "data", "runs"},
    "doctor": {"errors", "bundles", "data"},
    "explore": {"errors", "files", "bundles", "pages", "data"},
    "evaluation": {"errors", "files", "terminal", "parallel", "codes", "retrieval", "data", "runs"},
    "robustness": {"errors", "codes", "data", "runs"},
    "copies": {"errors", "bundles", "data", "serving", "robustness"},
    "pipeline": {
        *("files", "types", "terminal", "parallel", "codes", "encoders", "training", "methods", "bit_selection"),
        *("data", "weights", "config", "runs", "evaluation"),
    },
    "fitting": {"errors", "codes", "bundles", "config", "data", "runs", "serving", "pipeline"},
    "growth": {
        *("errors", "files", "types", "codes", "bundles", "retrieval", "encoders", "training", "methods", "data"),
        *("config", "runs", "serving"),
    },
    "figures": {"errors", "files", "codes"},
    "report": {
        *("errors", "files", "types", "codes", "retrieval", "bit_selection", "data", "runs", "robustness", "figures"),
        "pages",
    },
    "comparison": {
        *("errors", "files", "settings", "terminal", "codes", "retrieval", "encoders", "training", "methods"),
        *("posteriors", "data", "config", "runs", "evaluation", "pipeline", "figures", "pages", "report"),
    },
    "ablation": {
        *("errors", "files", "settings", "bit_selection", "methods", "data", "config", "runs", "evaluation"),
        *("pipeline", "figures", "pages", "report", "comparison"),
    },
    "commands": {
        *("errors", "settings", "terminal", "bundles", "bit_selection", "serving", "evaluation", "pipeline", "fitting"),
        *("copies", "doctor", "growth", "explore", "report", "comparison", "ablation"),
    },
    "main": {"commands"},
}
PURE = (
    "types",
    "parallel",
    "retrieval",
    "encoders",
    "target_codes",
    "posteriors",
    "training",
    "methods",
    "bit_selection",
)
IMPURE_MODULES = {"absl", "ml_collections", "os", "pathlib", "json", "rich", "safetensors", "sklearn", "PIL", "io"}


def room_files():
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


def nodes(kind):
    """Every node of a kind in the package, with its file."""
    for _, path in room_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kind):
                yield path, node


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "drlhash_jax":
                yield from (f"drlhash_jax.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("room, path", list(room_files()), ids=lambda each: getattr(each, "stem", each))
def test_imports_run_one_way(room, path):
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] == "drlhash_jax" and len(parts) > 1 and parts[1] not in (room, "__version__"):
            assert parts[1] in ALLOWED[room], f"{room} must not import {parts[1]}"
        if room in PURE:
            assert parts[0] not in IMPURE_MODULES, f"{room} is pure and must not import {module}"
        if room in ("codes", "bundles"):
            assert parts[0] not in ("jax", "flax", "optax"), "codes are arrays of NumPy"


def test_every_room_is_in_the_plan():
    assert {room for room, _ in room_files()} == set(ALLOWED)


def test_the_plan_goes_down():
    order = list(ALLOWED)
    for room, others in ALLOWED.items():
        assert all(order.index(other) < order.index(room) for other in others), room


def test_a_configuration_is_read_in_one_place():
    """ConfigDict stands where configurations are made, turned into settings, and handed over; nowhere else."""
    places = {room for room, path in room_files() if "ml_collections" in set(imported_modules(path))}
    assert places == {"config", "pipeline", "fitting", "comparison", "ablation", "commands"}


def test_no_room_is_the_house():
    lines = collections.Counter()
    for room, path in room_files():
        lines[room] += len(path.read_text().splitlines())
    (largest, count), *_ = lines.most_common(1)
    assert count < 0.15 * lines.total(), f"{largest} has {count} of {lines.total()} lines"


def test_functions_stay_short():
    lengths = {}
    for path, node in nodes(ast.FunctionDef):
        lengths[f"{path.relative_to(PACKAGE)}:{node.name}:{node.lineno}"] = node.end_lineno - node.lineno + 1
    assert [name for name, length in lengths.items() if length > 80] == []
    assert sorted(lengths.values())[int(0.9 * len(lengths))] < 35


def test_calls_stay_short():
    long = []
    for path, node in nodes(ast.Call):
        if len(node.args) + len(node.keywords) > 8:
            long.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert long == []
