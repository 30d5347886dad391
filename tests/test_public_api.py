"""The package's top: cheap to import, and every public name is there when it is asked for."""

import subprocess
import sys
from pathlib import Path

import pytest

import drlhash_jax

ROOT = Path(__file__).parents[1]


def python(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def loaded(statement, *modules):
    """Which of some modules are loaded after a statement, in a Python of its own."""
    return python(f"import sys\n{statement}\nprint(*[name for name in {modules} if name in sys.modules])")


def test_import_loads_no_array_library():
    assert loaded("import drlhash_jax", "jax", "numpy", "flax", "absl", "drlhash_jax.errors") == []


def test_data_are_read_without_tensorflow_datasets():
    statement = "import drlhash_jax.data"
    assert loaded(statement, "tensorflow_datasets", "tensorflow", "pyarrow", "sklearn", "safetensors") == []


@pytest.mark.parametrize("name", drlhash_jax.__all__)
def test_public_names_resolve(name):
    assert getattr(drlhash_jax, name) is not None


def test_dir_lists_public_names_before_they_are_loaded():
    listed = python("import drlhash_jax\nprint(*dir(drlhash_jax))\nassert 'UserError' not in vars(drlhash_jax)")
    assert {*drlhash_jax.__all__, "__version__"} <= set(listed)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'drlhash_jax' has no attribute 'train_and_evalute'"):
        drlhash_jax.train_and_evalute  # noqa: B018
