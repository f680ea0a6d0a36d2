"""binarize.py: fairseq reads back the text, and bad input leaves an earlier result as it is."""

import json
import logging
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from binarize import binarize, check_replaceable, replace_directory
from binarize import summary as describe
from clean_stale import temporaries
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import SPLITS
from kd import binarization

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "binarize.py"
LANGUAGES = ("de", "en")
TEXT = {
    "train.de": ["ein hund l@@ ä@@ uft .", "zwei hunde &amp; eine katze .", "ein ein hund"],
    "train.en": ["a dog runs .", "two dogs &amp; a cat .", "a a dog"],
    "valid.de": ["ein hund .", "eine maus ."],
    "valid.en": ["a dog .", "a m@@ ouse ."],
    "test.de": ["zwei katzen", "", "hund"],
    "test.en": ["two cats", "nothing", ""],
}


def write_text(folder: Path, text: dict[str, list[str]]) -> Path:
    folder.mkdir()
    for name, lines in text.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
    return folder


def read_back(binarized: Path, language: str) -> dict[str, list[str]]:
    """The text of each split with unknown tokens as <unk>, as fairseq's training reads it."""
    from fairseq.data import data_utils

    from kd.fairseq_api import Dictionary

    dictionary = Dictionary.load(str(binarized / f"dict.{language}.txt"))
    text = {}
    for split in SPLITS:
        dataset = data_utils.load_indexed_dataset(str(binarized / f"{split}.de-en.{language}"), dictionary)
        text[split] = [dictionary.string(ids) for ids in dataset]
        assert all(ids[-1] == dictionary.eos() for ids in dataset)
    return text


@pytest.fixture(autouse=True)
def quiet_fairseq():
    """As on the command line, where logging is configured before fairseq is imported."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.WARNING)
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture
def bpe_dir(tmp_path):
    return write_text(tmp_path / "bpe", TEXT)


@pytest.mark.parametrize("joined", [False, True])
def test_fairseq_reads_back_the_text(tmp_path, bpe_dir, joined):
    report = binarize(bpe_dir, LANGUAGES, tmp_path / "bin", joined)
    for language in LANGUAGES:
        known = {token for line in TEXT[f"train.{language}"] for token in line.split()}
        if joined:
            known |= {token for other in LANGUAGES for line in TEXT[f"train.{other}"] for token in line.split()}
        expected = {
            split: [
                " ".join(token if token in known else "<unk>" for token in line.split())
                for line in TEXT[f"{split}.{language}"]
            ]
            for split in SPLITS
        }
        assert read_back(tmp_path / "bin", language) == expected
    same = (tmp_path / "bin/dict.de.txt").read_bytes() == (tmp_path / "bin/dict.en.txt").read_bytes()
    assert same is joined
    summary = describe(report)
    assert report["splits"]["valid"]["en"] == {"sentences": 2, "tokens": 7, "unknown": 2}
    assert report["joined"] is joined
    assert "train 3 sentences (unknown: de 0.000%, en 0.000%)" in summary
    assert "valid 2 sentences (unknown: de 16.667%, en 28.571%)" in summary
    assert "test 3 sentences (unknown: de 33.333%, en 66.667%)" in summary


def test_command_line_writes_nothing_but_data_and_one_line(tmp_path, bpe_dir):
    flags = ["--bpe-dir", bpe_dir, "--source-lang", "de", "--target-lang", "en", "--output-dir", tmp_path / "bin"]
    flags += ["--workers", "2", "--report", tmp_path / "report.json"]
    result = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True)
    assert json.loads((tmp_path / "report.json").read_text())["splits"]["test"]["de"]["sentences"] == 3
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"{tmp_path / 'bin'}: dictionary de ")
    names = {f"{split}.de-en.{language}.{end}" for split in SPLITS for language in LANGUAGES for end in ("bin", "idx")}
    assert {path.name for path in (tmp_path / "bin").iterdir()} == names | {"dict.de.txt", "dict.en.txt"}
    assert {path.name for path in tmp_path.iterdir()} == {"bpe", "bin", "report.json"}


def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    text = {
        f"{split}.{language}": [f"{language} w{n % 13} w{n % 7} ü w{n * n % 31}" for n in range(3001)]
        for split in SPLITS
        for language in LANGUAGES
    }
    bpe_dir = write_text(tmp_path / "bpe", text)
    for workers in (1, 2):
        binarize(bpe_dir, LANGUAGES, tmp_path / f"bin{workers}", workers=workers)
    assert contents(tmp_path / "bin1") == contents(tmp_path / "bin2")


@pytest.mark.parametrize("vocabulary", [50, 70_000], ids=["16-bit ids", "32-bit ids"])
@pytest.mark.parametrize("joined", [False, True])
def test_the_bytes_are_those_of_fairseq_preprocess(tmp_path, monkeypatch, joined, vocabulary):
    monkeypatch.setattr(binarization, "BUFFERED", 100)
    generator = random.Random(vocabulary)
    words = [f"w{n}" for n in range(vocabulary)] + ["</s>", "<unk>", "ü@@", "straße", "&amp;"]
    lines = {"train": len(words) // 5 + 1, "valid": 40, "test": 3}
    text = {}
    for split in SPLITS:
        for language in LANGUAGES:
            known = iter(generator.sample(words, len(words)))  # each word at least once in training
            text[f"{split}.{language}"] = [
                " ".join(next(known, words[n % 7]) if split == "train" else f"w{n * k % 97}" for k in range(n % 9 + 5))
                for n in range(lines[split])
            ] + [""]
    bpe_dir = write_text(tmp_path / "bpe", text)
    binarize(bpe_dir, LANGUAGES, tmp_path / "ours", joined)
    reference(bpe_dir, tmp_path / "theirs", joined)
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    width = 2 if vocabulary == 50 else 4  # the last test sentence is empty: one end mark
    assert (tmp_path / "ours/test.de-en.de.bin").stat().st_size == width * (5 + 6 + 7 + 3 + 1)


def reference(bpe_dir: Path, output: Path, joined: bool) -> None:
    """fairseq-preprocess itself."""
    from fairseq import options
    from fairseq_cli import preprocess

    flags = ["--source-lang", "de", "--target-lang", "en", "--destdir", str(output), "--workers", "1"]
    flags += [flag for split in SPLITS for flag in (f"--{split}pref", str(bpe_dir / split))]
    preprocess.main(options.get_preprocessing_parser().parse_args(flags + ["--joined-dictionary"] * joined))
    for handler in list(preprocess.logger.handlers):
        preprocess.logger.removeHandler(handler)
        handler.close()
    (output / "preprocess.log").unlink()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_earlier_result_is_replaced(tmp_path, bpe_dir):
    output = tmp_path / "bin"
    output.mkdir()
    (output / "dict.fr.txt").write_text("old")
    binarize(bpe_dir, LANGUAGES, output)
    assert not (output / "dict.fr.txt").exists()
    assert (output / "dict.en.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"bpe", "bin"}


def test_an_earlier_result_that_a_kill_orphaned_is_found(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "new").mkdir()
    monkeypatch.setattr("binarize.shutil.rmtree", lambda path: None)  # killed before
    replace_directory(tmp_path / "new", tmp_path / "bin")
    (left,) = set(tmp_path.iterdir()) - {tmp_path / "bin"}
    assert list(temporaries(tmp_path)) == [left]


def test_a_failed_rename_restores_the_earlier_result(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dict.de.txt").write_text("old")
    with pytest.raises(FileNotFoundError):
        replace_directory(tmp_path / "never-made", tmp_path / "bin")
    assert (tmp_path / "bin" / "dict.de.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


@pytest.mark.parametrize("entry", ["thesis.tex", "folder"])
def test_a_folder_with_other_files_is_never_replaced(tmp_path, entry):
    (tmp_path / "dict.de.txt").touch()
    (tmp_path / entry).mkdir() if entry == "folder" else (tmp_path / entry).touch()
    with pytest.raises(UserError, match=f"contains {entry}, which is not binarised data"):
        check_replaceable(tmp_path)


def damage(bpe_dir: Path, kind: str) -> None:
    path = bpe_dir / "valid.en"
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "short": b"a\n", "latin1": b"a\ncaf\xe9\n", "return": b"a\nb\rc\n"}[kind])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"valid\.en: cannot be read"),
        ("empty", r"valid\.en: is empty; each of train, valid, test needs at least one line"),
        ("short", r"valid: 2 lines in \.de but 1 in \.en"),
        ("latin1", r"valid\.en, line 2: not UTF-8"),
        ("return", r"valid\.en, line 2: contains a carriage return"),
    ],
)
def test_bad_text_is_refused_and_the_earlier_result_stays(tmp_path, bpe_dir, kind, message):
    damage(bpe_dir, kind)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "dict.de.txt").write_text("old")
    with pytest.raises(UserError, match=message):
        binarize(bpe_dir, LANGUAGES, tmp_path / "bin")
    assert os.listdir(tmp_path / "bin") == ["dict.de.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"bpe", "bin"}


def test_bad_input_is_reported_before_fairseq_is_imported(tmp_path):
    flags = ["--bpe-dir", "nowhere", "--source-lang", "de", "--target-lang", "en", "--output-dir", tmp_path / "bin"]
    code = f"import sys; sys.argv = {['binarize.py', *map(str, flags)]!r}\n"
    code += "import atexit, binarize; from ekd_nmt.common import command\n"
    code += "atexit.register(lambda: print('fairseq' in sys.modules))\n"
    code += "command.run(binarize.main)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPT.parent)
    assert (result.returncode, result.stdout) == (2, "False\n")
    assert result.stderr.startswith("error: nowhere/train.de: cannot be read (No such file or directory)")
