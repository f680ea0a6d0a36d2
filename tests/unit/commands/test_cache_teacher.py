"""cache_teacher.py: its output and log, that stopping or killing it loses nothing, and what it refuses."""

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

import cache_teacher
import tiny_cache as tiny
import tiny_training
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from ekd_nmt.common.logs import error_lines
from ekd_nmt.common.signals import STOP_SIGNALS
from kd.cache import TeacherCache, record_type
from kd.teacher import Teacher

# models are built by fairseq, whose warnings are not ours
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("signal_handlers")]
# runs the script with small shards and kills it at the tenth batch
SCRIPT = f"""
import os, signal
import cache_teacher, kd
from ekd_nmt.common.command import run
from kd import cache_writer
from kd.teacher import Teacher

cache_writer.SHARD_BYTES = {tiny.SHARD_BYTES}
teach, calls = Teacher.teach, []

def killing(*arguments, **options):
    calls.append(1)
    if len(calls) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return teach(*arguments, **options)

Teacher.teach = killing
run(cache_teacher.main)
"""


@pytest.fixture(scope="module")
def model(tiny_corpus, tmp_path_factory):
    return tiny.save_teacher(tiny_corpus, tmp_path_factory.mktemp("teacher") / "model.pt")


@pytest.fixture
def command(model, tiny_corpus, tmp_path):
    """The command line, with the output in a folder of the given name."""

    def build(name: str = "cache", *flags: str, **options) -> list[str]:
        arguments = {"teacher": model, "data": tiny_corpus} | options
        return tiny.command(
            arguments.pop("teacher"), arguments.pop("data"), tmp_path / name / "top5", *flags, **arguments
        )

    return build


@pytest.fixture(scope="module")
def uninterrupted(model, tiny_corpus, tmp_path_factory):
    """Content of the cache, written without an interruption."""
    output = tmp_path_factory.mktemp("uninterrupted") / "top5"
    tiny.run_command(tiny.command(model, tiny_corpus, output))
    return tiny.content(output)


# Output and log


def test_cache_summary_and_log(command, model, tmp_path, capsys):
    tiny.run_command(command())
    folder = tmp_path / "cache"
    assert sorted(path.name for path in folder.iterdir()) == ["top5", "top5.json"], "unfinished work is left"
    cache = TeacherCache(folder / "top5")
    cache.verify()
    splits = cache.meta["splits"]
    tokens = splits["train"]["tokens"] + splits["valid"]["tokens"]
    summary = json.loads((folder / "top5.json").read_text())
    expected = {"teacher": str(model), "top_k": 5, "temperature": 1.0, "tokens": tokens, "device": "cpu"}
    assert {key: summary[key] for key in expected} == expected
    others = {"bytes", "coverage", "seconds", "tokens_per_second", "out_of_memory", "key", "meta_sha256"}
    assert summary.keys() - expected.keys() == others
    assert summary["out_of_memory"] == []
    assert summary["meta_sha256"] == sha256(folder / "top5" / "meta.json")
    assert summary["bytes"] == sum(path.stat().st_size for path in (folder / "top5").glob("*.0*.npy"))
    assert summary["coverage"] == splits["train"]["coverage"]
    assert summary["tokens_per_second"] == pytest.approx(tokens / summary["seconds"], rel=0.05)

    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    shards = [part["file"] for entry in splits.values() for part in entry["shards"]]
    size = tokens * record_type(5, cache.meta["vocabulary"]).itemsize / 1e3
    assert (
        f"{model}: top_k 5, temperature 1.0, {tokens} target tokens, {size:.0f} kB in {len(shards)} shards, on cpu"
        in lines[0]
    )
    for name, line in zip(shards, lines[1:-2], strict=True):
        assert re.search(rf" {name} \| \d+ tokens \| [\d,]+ tokens/s \| \d+ tokens left, \d+ s$", line)
    for split, line in zip(("train", "valid"), lines[-2:], strict=True):
        share = r"\d+\.\d% of the teacher's probability on average, \d+\.\d% at the 5th percentile"
        assert re.search(rf"top 5 tokens hold {share} \({split}\)$", line)


def test_full_and_the_temperature_reach_the_cache(command, tmp_path):
    tiny.run_command(command("full", "--temperature", "2", top_k="full"))
    meta = TeacherCache(tmp_path / "full/top5").meta
    assert (meta["top_k"], meta["temperature"]) == ("full", 2.0)
    assert json.loads((tmp_path / "full/top5.json").read_text())["temperature"] == 2.0


def test_existing_cache_is_replaced(command, tmp_path):
    output = tmp_path / "cache/top5"
    output.mkdir(parents=True)
    (output / "meta.json").write_text("old")
    (output / ".snakemake_timestamp").touch()
    tiny.run_command(command())
    TeacherCache(output).verify()
    assert not (output / ".snakemake_timestamp").exists()


# Stopping


@pytest.mark.slow
def test_killed_in_the_middle_of_a_shard(command, uninterrupted, tmp_path, capsys):
    call = [sys.executable, "-c", SCRIPT, *command()[1:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cache_teacher.__file__).parent)}
    assert subprocess.run(call, capture_output=True, env=environment).returncode == -signal.SIGKILL
    folder = tmp_path / "cache"
    kept = list(folder.glob("progress/*/cache/*.npy"))
    assert kept
    assert not (folder / "top5").exists()

    tiny.run_command(command())
    log = capsys.readouterr().err
    assert "was killed; resuming its work\n" in log
    assert re.search(rf": {len(kept)} of \d+ shards are finished\n", log)
    assert tiny.content(folder / "top5") == uninterrupted
    assert not (folder / "progress").exists()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop_signals(command, uninterrupted, tmp_path, capsys, number):
    teach, calls = Teacher.teach, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), number)
        return teach(*arguments, **options)

    with mock.patch.object(Teacher, "teach", stopping), pytest.raises(SystemExit) as stop:
        tiny.run_command(command())
    assert (stop.value.code, len(calls)) == (75, 6), "the batch at hand is the last"
    log = tmp_path / "log"
    log.write_text(capsys.readouterr().err)
    (line,) = error_lines([log], since=0)
    assert f"{number.name}: progress is saved; run the same command again to resume (exit status 75)" in line
    (seconds,) = tmp_path.glob("cache/progress/*/seconds.json")
    assert float(seconds.read_text()) > 0
    tiny.run_command(command())
    assert tiny.content(tmp_path / "cache/top5") == uninterrupted


def test_stop_signal_before_the_first_batch(command, capsys):
    with (
        mock.patch("cache_teacher.training_inputs", side_effect=lambda *_: os.kill(os.getpid(), signal.SIGTERM)),
        pytest.raises(SystemExit) as stop,
    ):
        tiny.run_command(command())
    assert stop.value.code == 75


# Refusals


@pytest.fixture
def refuse(capsys):
    """The command prints one line, and exits with status 2."""
    return functools.partial(tiny_training.refuse, capsys, cache_teacher.main)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--top-k", "0", r"--top-k: needs 'full' or a number of tokens above 0, got '0'"),
        ("--top-k", "-3", "--top-k: needs"),
        ("--top-k", "most", "--top-k: needs 'full' or a number of tokens above 0, got 'most'"),
        ("--top-k", "1.5", "--top-k: needs"),
        ("--temperature", "0", "--temperature: needs a number above 0, got '0'"),
        ("--temperature", "-1", "--temperature: needs"),
        ("--temperature", "nan", "--temperature: needs"),
        ("--temperature", "inf", "--temperature: needs"),
        ("--max-tokens", "0", "--max-tokens: needs"),
        ("--threads", "none", "--threads: needs"),
    ],
)
def test_numbers(command, refuse, flag, value, message):
    refuse([*command(), f"{flag}={value}"], message)


def test_files(command, tiny_corpus, tmp_path, refuse):
    refuse(command(teacher=tmp_path / "none.pt"), r"none\.pt: the teacher model is missing; train it first")
    refuse(command(data=tmp_path), "no binarised corpus there; run workflow_scripts/binarize.py first")
    (tmp_path / "text.pt").write_text("no model")
    refuse(command(teacher=tmp_path / "text.pt"), r"text\.pt: not a readable fairseq checkpoint")
    data = Path(shutil.copytree(tiny_corpus, tmp_path / "bin"))
    for path in data.glob("valid.*"):
        path.unlink()
    refuse(command(data=data), "no binarised corpus there")
    assert not (tmp_path / "cache").exists(), "a refused run leaves something"


def test_a_teacher_of_other_dictionaries(command, tmp_path, refuse):
    words = {f"{source}x": target for source, target in tiny_training.WORDS.items()}
    other = tiny_training.write_corpus(tmp_path / "other", words={**words, "mehr": "more"})
    refuse(command(data=other), "its (source|target) dictionary has")
    assert not (tmp_path / "cache").exists()


def test_a_place_that_cannot_be_written(command, tmp_path, refuse):
    (tmp_path / "file").write_text("kept")
    refuse(command("file"), "file")
    assert (tmp_path / "file").read_text() == "kept"


def test_an_output_that_is_no_cache(command, tmp_path, refuse):
    output = tmp_path / "cache/top5"
    output.mkdir(parents=True)
    (output / "thesis.tex").write_text("kept")
    refuse(command(), r"top5: holds thesis\.tex, which is not of a teacher's cache; name another folder")
    assert (output / "thesis.tex").read_text() == "kept"
    shutil.rmtree(output)
    output.write_text("kept")
    refuse(command(), "top5: is a file; name a folder")


def test_too_little_disk_space(command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 1000))
    with pytest.raises(
        UserError, match=r"takes \d kB more and 1 kB are free; lower distillation\.top_k, make room, or"
    ):
        tiny.run_command(command())
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_refusals_come_before_the_slow_imports(command, tmp_path):
    code = "import sys, cache_teacher\nfrom ekd_nmt.common.command import run\n"
    code += "try: run(cache_teacher.main)\nfinally: print('torch' in sys.modules)"
    arguments = command(teacher=tmp_path / "none.pt")[1:]
    environment = os.environ | {"PYTHONPATH": str(Path(cache_teacher.__file__).parent)}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
