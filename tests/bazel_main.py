"""Runs pytest on the test files named as arguments; the entry of each Bazel test."""

import sys

import pytest

OPTIONS = ("-q", "-p", "no:cacheprovider")

if __name__ == "__main__":
    files = sys.argv[1:]
    status = pytest.main([*OPTIONS, "-m", "not slow", *files])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        # Well where all of a file's tests are slow, and only there.
        status = pytest.main([*OPTIONS, "--collect-only", "-m", "slow", *files])
    sys.exit(status)
