"""The house: imports run one way, and pure rooms know no files, flags or configurations."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "drlhash_jax"

# Room -> rooms that it may import.
ALLOWED = {
    "types": set(),
    "parallel": {"types"},
    "retrieval": {"types", "parallel"},
    "target_codes": {"types", "parallel"},
    "encoders": {"types"},
    "encoder": {"types", "parallel", "encoders"},
    "bit_selection": {"types", "parallel", "retrieval"},
    "data": {"types"},
    "config": {"types", "parallel", "data", "encoders", "encoder", "target_codes"},
    "io": {"types", "encoders"},
    "results": {"types", "parallel", "retrieval"},
    "robustness": {"types", "data", "io", "encoder"},
    "report": {"types", "io", "retrieval", "data", "robustness"},
    "pipeline": {
        *("types", "parallel", "retrieval", "target_codes", "encoders", "encoder", "bit_selection"),
        *("data", "io", "config", "results"),
    },
    "evaluation": {"types", "parallel", "retrieval", "data", "io", "config", "results"},
    "commands": {"types", "io", "pipeline", "evaluation", "report"},
    "main": {"types", "commands"},
}
PURE = ("types", "parallel", "retrieval", "target_codes", "encoders", "encoder", "bit_selection")
IMPURE_MODULES = {"absl", "ml_collections", "os", "pathlib", "json", "rich", "safetensors", "sklearn", "PIL", "io"}


def room_files():
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield room, path


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


def test_every_room_is_in_the_plan():
    assert {room for room, _ in room_files()} == set(ALLOWED)


def test_long_functions_stay_rare():
    lengths = []
    for _, path in room_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                lengths.append(node.end_lineno - node.lineno + 1)
    assert sorted(lengths)[int(0.9 * len(lengths))] < 60
