"""Metadata and dependency ranges; exact pins are in requirements.lock."""

import re
from pathlib import Path

from setuptools import find_packages, setup

_ROOT = Path(__file__).parent
_VERSION = re.search(
    r'^__version__ = "(.+)"$', (_ROOT / "tfcausal" / "version.py").read_text(), re.M
)
if _VERSION is None:
    raise ValueError("tfcausal/version.py must set __version__; it does not.")

setup(
    name="tfcausal",
    version=_VERSION.group(1),
    description="Causal recommendation for industry on TensorFlow and Beam",
    long_description=(_ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(
        include=["tfcausal", "tfcausal.*", "beam_jobs", "beam_jobs.*"]
    ),
    package_data={"tfcausal": ["py.typed", "reports/assets/*"]},
    python_requires=">=3.11",
    install_requires=[
        # ScaNN's operation is built for one minor version of TensorFlow, and
        # TensorFlow Recommenders needs Keras 2: these move together.
        "tensorflow~=2.20.0",
        "tf-keras~=2.20.1",
        "keras>=3.10,<4",
        "tensorflow-recommenders~=0.7.7",
        "scann[tf]~=1.4.2",
        "numpy>=2.0,<3",
        "apache-beam~=2.77",
        "packaging>=23",
        "pyarrow>=20",
        "click>=8.1",
        "optuna~=5.0",
        "rich>=13",
        "scipy>=1.13",
    ],
    extras_require={
        "gcp": ["apache-beam[gcp]~=2.77"],
        "serving": ["tensorflow-serving-api~=2.20.0"],
        "plots": ["matplotlib>=3.9", "scikit-learn>=1.5"],
        "dev": [
            "apache-beam[gcp]~=2.77",
            "dask>=2025.1",
            "distributed>=2025.1",
            "duckdb>=1.2",
            "hypothesis>=6",
            "jax>=0.5",
            "moto[s3,server]>=5",
            "mypy>=1.15",
            "polars>=1.20",
            "psutil>=6",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
        ],
    },
    entry_points={"console_scripts": ["tfcausal = tfcausal.cli:main"]},
)
