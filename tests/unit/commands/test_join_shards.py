"""join_shards.py: shards in order, every line counted, the first of equal pairs kept, in constant memory."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy
import pytest

import join_shards as joining
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json, write_lines
from ekd_nmt.corpus import shards
from join_shards import add_up, repeated
from prepare import DROP_REASONS

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "join_shards.py"
LANGUAGES = ("de", "en")


def counts(lines_in: int, lines_out: int) -> dict:
    dropped = dict.fromkeys(DROP_REASONS, 0) | {"ratio": lines_in - lines_out}
    return {"step": "prepare", "split": "train", "lines_in": lines_in, "lines_out": lines_out, "dropped": dropped}


def lengths(lines: list[str]) -> dict[str, int]:
    return dict(Counter(str(line.count(" ") + 1) for line in lines))


class Shards:
    """Shards on disk as prepare.py writes them, each with one line dropped."""

    def __init__(self, folder: Path, contents: list[list[tuple[str, str]]]):
        self.folder = folder
        self.files = {
            end: [folder / f"{number:04d}.{end}" for number in range(len(contents))] for end in (*LANGUAGES, "json")
        }
        for number, pairs in enumerate(contents):
            sides = [[pair[side] for pair in pairs] for side in (0, 1)]
            for language, lines in zip(LANGUAGES, sides, strict=True):
                write_lines(self.files[language][number], lines)
            stages = {language: lengths(lines) for language, lines in zip(LANGUAGES, sides, strict=True)}
            report = {"accounts": [counts(len(pairs) + 1, len(pairs))], "lengths": {"before": stages, "after": stages}}
            self.files["json"][number].write_text(json.dumps(report))
        read = [shards.Shard(len(pairs) + 1, 1, (0, 0), (0, 0)) for pairs in contents]
        self.index = folder / "shards.json"
        write_json(self.index, shards.to_index(read))
        self.outputs = (folder / "out" / "train.de", folder / "out" / "train.en")

    def recount(self, number: int, **changes: object) -> None:
        """Change the line counts of a shard's report."""
        report = json.loads(self.files["json"][number].read_text())
        report["accounts"][0] |= changes
        self.files["json"][number].write_text(json.dumps(report))

    def flags(self, *more: str) -> list[str]:
        flags = ["--source", *self.files["de"], "--target", *self.files["en"], "--reports", *self.files["json"]]
        flags += ["--shards", self.index, "--output-source", self.outputs[0], "--output-target", self.outputs[1]]
        return [str(flag) for flag in [*flags, "--report", self.folder / "report.json", *more]]

    def call(self, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, SCRIPT, *self.flags(*more)], capture_output=True, text=True)

    def written(self) -> list[tuple[str, str]]:
        sides = [path.read_bytes().decode().removesuffix("\n").split("\n") for path in self.outputs]
        return list(zip(*sides, strict=True))

    def report(self) -> dict:
        return json.loads((self.folder / "report.json").read_text())


PAIRS = [
    [("a", "x"), ("b\u2028b", "y z"), ("a", "x")],
    [],
    [("a", "y z"), ("b\u2028b", "y z"), ("c d e", "x")],
]


def test_shards_are_joined_in_order(tmp_path):
    joined = Shards(tmp_path, PAIRS)
    result = joined.call()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert joined.written() == [pair for pairs in PAIRS for pair in pairs]
    report = joined.report()
    assert report["accounts"] == [counts(9, 6)]
    assert report["lengths"]["after"] == {"de": {"1": 5, "3": 1}, "en": {"1": 3, "2": 3}}


def test_the_first_of_equal_pairs_is_kept(tmp_path):
    joined = Shards(tmp_path, PAIRS)
    assert joined.call("--deduplicate", "--output-shards", str(tmp_path / "again.json")).returncode == 0
    distinct = list(dict.fromkeys(pair for pairs in PAIRS for pair in pairs))
    assert joined.written() == distinct
    report = joined.report()
    duplicates = {"step": "join", "split": "train", "lines_in": 6, "lines_out": 4, "dropped": {"duplicate": 2}}
    assert report["accounts"] == [counts(9, 6), duplicates]
    assert report["lengths"]["after"] == {"de": {"1": 3, "3": 1}, "en": {"1": 2, "2": 2}}
    assert report["lengths"]["before"]["de"] == {"1": 5, "3": 1}
    again = shards.read_index(tmp_path / "again.json")
    assert [list(shard.read(0, joined.outputs[0])) for shard in again] == [["a"], ["b\u2028b"], ["a", "c d e"]]
    assert sorted(path.name for path in joined.outputs[0].parent.iterdir()) == ["train.de", "train.en"]


@pytest.mark.parametrize("bucketed", [1, 50, 10**6])
@pytest.mark.parametrize("buffer", [1, 3, 10**6])
def test_repeated_pairs_are_found_in_any_number_of_buckets(tmp_path, monkeypatch, bucketed, buffer):
    monkeypatch.setattr(joining, "BUCKETED", bucketed)
    monkeypatch.setattr(joining, "BUFFER", buffer)
    generator = random.Random(bucketed + buffer)
    pairs = [(b"%d\n" % generator.randint(0, 60), b"%d\n" % generator.randint(0, 2)) for _ in range(500)]
    bits = repeated(iter(pairs), len(pairs), tmp_path)
    seen: set[tuple[bytes, bytes]] = set()
    expected = []
    for pair in pairs:
        expected.append(pair in seen)
        seen.add(pair)
    assert numpy.unpackbits(bits, bitorder="little")[:500].tolist() == expected
    assert 100 < sum(expected) < 500
    assert list(tmp_path.iterdir()) == []


def test_pairs_that_differ_in_their_border_are_not_equal(tmp_path):
    pairs = [("a b", "c"), ("a", "b c"), ("a b c", ""), ("", "a b c"), ("ab", "c"), ("a", "bc")]
    lines = [tuple(f"{side}\n".encode() for side in pair) for pair in pairs]
    assert not repeated(iter(lines), len(lines), tmp_path).any()


def test_reports_are_added_up():
    first = {"accounts": [{"step": "prepare", "lines_in": 2}], "lengths": {"de": {"1": 2}}}
    second = {"accounts": [{"step": "prepare", "lines_in": 3}], "lengths": {"de": {"1": 1, "7": 2}}}
    assert add_up([first, second]) == {
        "accounts": [{"step": "prepare", "lines_in": 5}],
        "lengths": {"de": {"1": 3, "7": 2}},
    }
    with pytest.raises(ValueError, match="differ between shards"):
        add_up([{"step": "prepare"}, {"step": "bpe"}])


def damaged(tmp_path: Path, kind: str) -> Shards:
    joined = Shards(tmp_path, PAIRS)
    second, third = joined.files["en"][0], joined.files["json"][2]
    if kind == "a line less on one side":
        second.write_text("x\ny z\n")
    elif kind == "a line more on both sides":
        for language in LANGUAGES:
            with joined.files[language][0].open("a") as handle:
                handle.write("more\n")
    elif kind == "lines not read":
        joined.recount(2, lines_in=3)
    elif kind == "another split":
        joined.recount(2, split="valid")
    elif kind == "a file gone":
        second.unlink()
    elif kind == "no report":
        third.write_text("{}")
    elif kind == "a shard less":
        for files in joined.files.values():
            files.pop()
    elif kind == "a file less":
        joined.files["en"].pop()
    elif kind == "nothing left":
        for number, pairs in enumerate(PAIRS):
            for language in LANGUAGES:
                joined.files[language][number].write_text("")
            joined.recount(number, **counts(len(pairs) + 1, 0))
    return joined


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "a line less on one side",
            r"0000\.en must (both )?have 3 lines(, and do not| and has 2); run the step",
        ),
        ("a line more on both sides", r"0000\.(de|en) must (both )?have 3 lines(, and do not| and has 4); run"),
        ("lines not read", r"shard 2 has 4 lines but its report has .*'lines_in': 3"),
        ("another split", "the reports are not of one corpus: .*'train', 'valid'"),
        ("a file gone", r"0000\.en: cannot be read \(No such file"),
        ("no report", r"0002\.json: 'accounts' is missing"),
        ("a shard less", r"the index has 3 shards but 2 are given"),
        ("a file less", r"must name as many files each"),
        ("nothing left", r"all 9 pairs were filtered out \(ratio 9\); loosen data\.filter"),
    ],
)
@pytest.mark.parametrize("deduplicate", [[], ["--deduplicate"]])
def test_no_line_is_lost_unnoticed(tmp_path, kind, message, deduplicate):
    joined = damaged(tmp_path, kind)
    result = joined.call(*deduplicate)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(UserError, match=message):
        raise UserError(result.stderr)
    assert not joined.outputs[0].exists()
    assert not (tmp_path / "report.json").exists()
