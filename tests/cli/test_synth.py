"""`tfcausal synth`: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tfcausal.cli import main
from tfcausal.cli.synth import command
from tfcausal.data.world import TEST_SETS
from tfcausal.errors import InputError
from tfcausal.schema.manifest import read_manifest


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_prints_a_summary(tmp_path: Path) -> None:
    output = tmp_path / "world"
    text = run(f"--output={output}", "--interactions=2000", "--users=150")
    lines = dict(line.rsplit(maxsplit=1) for line in text.splitlines()[:6])
    assert lines["users"] == "150"
    assert lines["log"] == "2,000"
    assert lines["test_no_conformity"] == "750"
    assert "Gini of popularity" in text
    assert "top 10 % of items" in text


def test_prints_json(tmp_path: Path) -> None:
    output = tmp_path / "world"
    summary = json.loads(
        run(f"--output={output}", "--interactions=2000", "--seed=3", "--json")
    )
    manifest = read_manifest(output, kind="world")
    assert summary["counts"] == manifest.counts
    assert summary["fingerprint"] == manifest.fingerprint
    assert 0 < summary["popularity"]["gini"] < 1
    assert manifest.options["seed"] == 3
    for name in ("log", *TEST_SETS):
        assert (output / name / "part-00000.parquet").is_file()


def test_replaces_only_when_told(tmp_path: Path) -> None:
    arguments = (f"--output={tmp_path / 'world'}", "--interactions=1000")
    run(*arguments)
    with pytest.raises(InputError, match="--overwrite"):
        run(*arguments)
    run(*arguments, "--overwrite")


@pytest.mark.parametrize("interactions", [999, 50_000_001])
def test_refuses_sizes_out_of_range(tmp_path: Path, interactions: int) -> None:
    with pytest.raises(InputError, match="`interactions` must lie between"):
        run(f"--output={tmp_path / 'world'}", f"--interactions={interactions}")
    assert not (tmp_path / "world").exists()


def test_user_errors_are_one_line_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["synth", f"--output={tmp_path / 'world'}", "--interactions=10"])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert len(printed.err.splitlines()) == 1
