"""Runs pytest on the test files named as arguments; the entry of each Bazel test."""

import sys

import pytest

if __name__ == "__main__":
    sys.exit(
        pytest.main(["-q", "-m", "not slow", "-p", "no:cacheprovider", *sys.argv[1:]])
    )
