"""Running for studies: what exists is used again, settings of a study stay out of the protocols' folders."""

import json
import os
import sys
from pathlib import Path

import pytest

from dassl.utils.errors import UserError
from helpers.result_records import make_record
from promptshift.cli.study import main
from promptshift.protocols.registry import get_protocol
from promptshift.studies.bench import Bench

FAKE_TRAIN = Path(__file__).parents[2] / "helpers" / "fake_train.py"


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A bench whose jobs write their results without training."""
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("FAKE", str(tmp_path / "fake.json"))
    return Bench(["mini"], [1], command=[sys.executable, str(FAKE_TRAIN)])


def answers(bench, *options, **plan):
    """Says what the jobs of CoOp under some settings answer: accuracy 50, or what the plan says by part of a path."""
    request = bench.request("CoOp", *options, protocol="multi_source")
    jobs = get_protocol("multi_source")(request).jobs
    record = make_record(schema_version=1, trainer="CoOp")
    hashes = {job.cell[1]: job.config_hash for job in jobs}

    def write(domain):  # a job's result must carry its own hash: one domain at a time
        content = {"record": {**record, "config_hash": hashes[domain]}, "plan": plan}
        Path(os.environ["FAKE"]).write_text(json.dumps(content))

    return write


def test_settings_of_a_study_have_folders_of_their_own_and_are_run_once(bench, tmp_path):
    answers(bench, "OPTIM.MAX_EPOCH", "3")("sketch")
    with pytest.raises(UserError, match="is not finished"):  # the stand-in knows one domain's configuration
        bench.leave_one_out("CoOp", "OPTIM.MAX_EPOCH", "3")
    place = tmp_path / "output" / "ablation" / "CoOp" / "MiniDG" / "mini" / "mini" / "OPTIM.MAX_EPOCH=3" / "sketch"
    assert (place / "seed1" / "result.json").is_file()
    with pytest.raises(UserError):
        bench.leave_one_out("CoOp", "OPTIM.MAX_EPOCH", "3")
    assert len((place / "seed1" / "starts").read_text().splitlines()) == 1


def test_one_run_is_the_last_domain_in_the_protocols_own_folder(bench, tmp_path):
    answers(bench)("sketch")
    (((domain, seed), done),) = bench.one_run("CoOp").items()
    assert (domain, seed, done.accuracy) == ("sketch", 1, 50.0)
    place = Path("multi_source", "CoOp", "MiniDG", "mini", "mini", "sketch", "seed1")
    assert done.folder == tmp_path / "output" / place


def test_a_default_spelt_out_finds_the_protocols_run(bench):
    answers(bench)("sketch")
    (((_, _), done),) = bench.one_run("CoOp").items()
    spelt = [job for job in bench._leave_one_out("CoOp", "OPTIM.MAX_EPOCH", "8") if job.cell[1] == "sketch"]
    assert [job.output_dir for job in spelt] == [done.folder]


def test_wrong_requests_are_one_line(bench, capsys):
    assert main(["nothing", "mini"]) == 2 and main(["variability", "mini", "--seeds", "1"]) == 2
    assert main(["alpha", "mini", "--seeds", "x"]) == 2 and main(["alpha"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
