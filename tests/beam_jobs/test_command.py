"""The command lines: flags, exit codes, one-line errors, JSON."""

import argparse
import dataclasses
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import ingest, popularity, split, triplets
from beam_jobs.runtime.command import Job
from beam_jobs.runtime.flags import parse_flags
from beam_jobs.split import SplitOptions
from tests.beam_jobs.chain import steps
from tests.beam_jobs.raw import raw_rows, write_csv
from tfcausal.schema.manifest import Manifest

JOBS = [step.job.JOB for step in steps(Path("source"), Path("dataset")).values()]


def test_the_whole_chain_by_its_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    dataset = f"--dataset={tmp_path / 'dataset'}"
    for job, flags in (
        (
            ingest.JOB,
            [f"--input={raw}", "--format=csv", f"--output={tmp_path / 'dataset'}"],
        ),
        (split.JOB, [dataset, "--rule=intervened", "--intervened_shares=0.5,0,0.5"]),
        (popularity.JOB, [dataset]),
        (triplets.JOB, [dataset, "--epochs=1", "--down_margin=none"]),
    ):
        assert job.main([*flags, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert set(result) == {"kind", "fingerprint", "counts", "details", "options"}
        # A second time the result is in the way.
        assert job.main(flags) == 2
        assert "--overwrite" in capsys.readouterr().err
        assert job.main([*flags, "--overwrite"]) == 0
        assert f"{result['fingerprint'][:12]}" in capsys.readouterr().out


def test_a_list_may_be_given_again() -> None:
    flags = ["--dataset=d", "--rule=random", "--fractions=0.7", "--fractions=0.2,0.1"]
    options, _, _ = parse_flags(split.JOB.flags, flags, name="split", summary="")
    assert options.fractions == (0.7, 0.2, 0.1)
    options, _, _ = parse_flags(split.JOB.flags, flags[:2], name="split", summary="")
    assert options.fractions == SplitOptions(Path("d"), "random").fractions


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_help_explains_every_flag(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        job.main(["--help"])
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag in ("--json", "--overwrite"):
        assert flag in text
    parser = argparse.ArgumentParser()
    job.flags._add_argparse_args(parser)
    assert all(action.help for action in parser._actions)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--dataset=d", "--rule=random", "--sed=1"],
            "`--sed`. Did you mean `--seed`?",
        ),
        (["--dataset=d", "--rul=random"], "`--rul`. Did you mean `--rule`?"),
        (["--dataset=d", "--rule=random", "--zzzz"], "Unknown flag `--zzzz`."),
        (["--dataset=d"], "required: --rule"),
        (["--dataset=d", "--rule=odd"], "`rule` must be one of random, intervened"),
        (["--dataset=d", "--rule=random", "--seed=x"], "`seed` must be of type int"),
        (["--dataset=d", "--rule=random", "stray"], "must be a flag; got `stray`"),
        (
            ["--dataset=d", "--rule=random", "--direct_num_workers=many"],
            "argument --direct_num_workers: invalid int value: 'many'",
        ),
        (
            ["--dataset=nowhere", "--rule=random"],
            "must hold a finished result of kind dataset",
        ),
        (["--dataset=ftp://b/d", "--rule=random"], "local path or begin with"),
        (["--dataset=d", "--rule=random", "--fractions=1,2,3"], "3 shares that sum"),
    ],
)
def test_user_errors_are_one_line_and_exit_2(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split.JOB.main(flags) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("split: ")
    assert message in captured.err


def test_flags_of_all_jobs_live_in_one_process() -> None:
    # Beam refuses two direct subclasses of PipelineOptions with a flag of one name.
    assert "runner" in PipelineOptions([]).get_all_options()
    flags = triplets.TripletFlags(["--dataset=d", "--epochs=3"])
    assert (flags.epochs, flags.margin) == (3, 40.0)


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def test_process_exit_codes(tmp_path: Path) -> None:
    result = run_command("beam_jobs.split", "--dataset=nowhere", "--rule=random")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1

    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    result = run_command(
        "beam_jobs.ingest",
        f"--input={raw}",
        "--format=csv",
        f"--output={tmp_path / 'dataset'}",
        "--runner=FnApiRunner",
        "--json",
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["counts"]["rows_read"] == 2_000

    # A folder of another making: the message names the field that does not fit.
    manifest = tmp_path / "dataset" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"num_shards"', '"shards"'))
    result = run_command(
        "beam_jobs.split", f"--dataset={tmp_path / 'dataset'}", "--rule=random"
    )
    assert result.returncode == 2
    assert "options.num_shards of its manifest must be a number" in result.stderr


@pytest.mark.parametrize("runner", ["Nonsense", "no.such.Runner"])
def test_an_unknown_runner_is_a_users_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runner: str
) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    flags = [f"--input={raw}", "--format=csv", f"--output={tmp_path / 'dataset'}"]
    assert ingest.JOB.main([*flags, f"--runner={runner}"]) == 2
    assert "`--runner` must be one of Beam's runners" in capsys.readouterr().err
    assert not (tmp_path / "dataset").exists()


def test_progress_on_a_terminal(tmp_path: Path) -> None:
    raw = write_csv(tmp_path / "raw.csv", raw_rows())
    flags = [f"--input={raw}", "--format=csv", f"--output={tmp_path / 'dataset'}"]
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "beam_jobs.ingest", *flags],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert done.returncode == 0, shown
    assert re.search(r"ingest, pieces \d+, rows_read 2,000", shown)


def test_a_bug_keeps_its_traceback() -> None:
    def broken(options: object, pipeline_options: object) -> Manifest:
        raise RuntimeError("a bug")

    job = dataclasses.replace(popularity.JOB, run=broken)
    with pytest.raises(RuntimeError, match="a bug"):
        job.main(["--dataset=d"])


@pytest.mark.parametrize("missing", ["tensorflow", "scann.scann_ops"])
def test_what_a_worker_lacks_is_told(
    missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacking(options: object, pipeline_options: object) -> Manifest:
        raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)

    job = dataclasses.replace(popularity.JOB, run=lacking)
    assert job.main(["--dataset=d"]) == 2
    assert f"needs {missing}, which is not installed" in capsys.readouterr().err


def test_another_import_that_fails_is_a_bug() -> None:
    def broken(options: object, pipeline_options: object) -> Manifest:
        raise ModuleNotFoundError("No module named 'ours'", name="ours")

    job = dataclasses.replace(popularity.JOB, run=broken)
    with pytest.raises(ModuleNotFoundError, match="ours"):
        job.main(["--dataset=d"])
