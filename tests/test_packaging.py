"""setup.py: the console script, and accelerators with the version of JAX that everything else has."""

import runpy
from importlib import import_module
from pathlib import Path
from unittest import mock

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
BRIEF = {"jax", "flax", "optax", "distrax", "tensorflow-datasets", "numpy", "absl-py"}


@pytest.fixture(scope="module")
def package():
    """Arguments of setup()."""
    pytest.importorskip("setuptools")
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs


def test_console_script_is_the_program(package):
    (script,) = package["entry_points"]["console_scripts"]
    name, _, place = script.partition("=")
    module, _, function = place.partition(":")
    assert name == "drlhash" and getattr(import_module(module), function).__module__ == "drlhash_jax.main"


def test_base_install_has_what_the_brief_names(package):
    assert {Requirement(each).name for each in package["install_requires"]} >= BRIEF


@pytest.mark.parametrize("extra", ["cuda", "tpu"])
def test_accelerators_take_the_base_version_of_jax(package, extra):
    (base,) = (each for each in map(Requirement, package["install_requires"]) if each.name == "jax")
    (accelerated,) = map(Requirement, package["extras_require"][extra])
    assert accelerated.name == "jax" and accelerated.specifier == base.specifier
    assert accelerated.extras == {"cuda": {"cuda12"}, "tpu": {"tpu"}}[extra]
