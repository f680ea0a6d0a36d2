"""join.py: parts in order, every line counted, the first of equal pairs kept, in memory that does not grow."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import join_shards as joining
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_lines
from ekd_nmt.corpus import shards
from join_shards import add_up, join, repeated
from prepare import DROP_REASONS

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "join_shards.py"
LANGUAGES = ("de", "en")


def account(lines_in: int, lines_out: int) -> dict:
    dropped = dict.fromkeys(DROP_REASONS, 0) | {"ratio": lines_in - lines_out}
    return {"step": "prepare", "split": "train", "lines_in": lines_in, "lines_out": lines_out, "dropped": dropped}


def lengths(lines: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in lines:
        key = str(line.count(" ") + 1)
        counts[key] = counts.get(key, 0) + 1
    return counts


class Parts:
    """Parts on disk as prepare.py leaves them, one more line read than written in each."""

    def __init__(self, folder: Path, parts: list[list[tuple[str, str]]]):
        self.folder = folder
        self.files = {
            end: [folder / f"{number:04d}.{end}" for number in range(len(parts))] for end in (*LANGUAGES, "json")
        }
        for number, pairs in enumerate(parts):
            sides = [[pair[side] for pair in pairs] for side in (0, 1)]
            for language, lines in zip(LANGUAGES, sides, strict=True):
                write_lines(self.files[language][number], lines)
            stages = {language: lengths(lines) for language, lines in zip(LANGUAGES, sides, strict=True)}
            report = {"accounts": [account(len(pairs) + 1, len(pairs))], "lengths": {"before": stages, "after": stages}}
            self.files["json"][number].write_text(json.dumps(report))
        cut = [shards.Part(len(pairs) + 1, 1, (0, 0), (0, 0)) for pairs in parts]
        self.index = folder / "cut.json"
        self.index.write_text(json.dumps(shards.index(cut)))
        self.outputs = (folder / "out" / "train.de", folder / "out" / "train.en")

    def flags(self, *more: str) -> list[str]:
        flags = ["--source", *self.files["de"], "--target", *self.files["en"], "--reports", *self.files["json"]]
        flags += ["--parts", self.index, "--output-source", self.outputs[0], "--output-target", self.outputs[1]]
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


def test_parts_are_joined_in_order(tmp_path):
    parts = Parts(tmp_path, PAIRS)
    result = parts.call()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert parts.written() == [pair for part in PAIRS for pair in part]
    report = parts.report()
    assert report["accounts"] == [account(9, 6)]
    assert report["lengths"]["after"] == {"de": {"1": 5, "3": 1}, "en": {"1": 3, "2": 3}}


def test_the_first_of_equal_pairs_stays(tmp_path):
    parts = Parts(tmp_path, PAIRS)
    assert parts.call("--deduplicate", "--output-parts", str(tmp_path / "again.json")).returncode == 0
    distinct = list(dict.fromkeys(pair for part in PAIRS for pair in part))
    assert parts.written() == distinct
    report = parts.report()
    duplicates = {"step": "join", "split": "train", "lines_in": 6, "lines_out": 4, "dropped": {"duplicate": 2}}
    assert report["accounts"] == [account(9, 6), duplicates]
    assert report["lengths"]["after"] == {"de": {"1": 3, "3": 1}, "en": {"1": 2, "2": 2}}
    assert report["lengths"]["before"]["de"] == {"1": 5, "3": 1}
    again = shards.load(tmp_path / "again.json")
    assert [list(part.read(0, parts.outputs[0])) for part in again] == [["a"], ["b\u2028b"], ["a", "c d e"]]
    assert sorted(path.name for path in parts.outputs[0].parent.iterdir()) == ["train.de", "train.en"]


@pytest.mark.parametrize("bucketed", [1, 50, 10**6])
@pytest.mark.parametrize("buffer", [1, 3, 10**6])
def test_repeated_pairs_are_found_however_they_are_spread(tmp_path, monkeypatch, bucketed, buffer):
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


def test_the_border_between_the_sides_counts(tmp_path):
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
    with pytest.raises(ValueError, match="differ between parts"):
        add_up([{"step": "prepare"}, {"step": "bpe"}])


def damaged(tmp_path: Path, kind: str) -> Parts:
    parts = Parts(tmp_path, PAIRS)
    second, third = parts.files["en"][0], parts.files["json"][2]
    if kind == "a line less on one side":
        second.write_text("x\ny z\n")
    elif kind == "a line more on both sides":
        for language in LANGUAGES:
            with parts.files[language][0].open("a") as handle:
                handle.write("more\n")
    elif kind == "lines not read":
        report = json.loads(third.read_text())
        report["accounts"] = [account(3, 3)]
        third.write_text(json.dumps(report))
    elif kind == "another split":
        report = json.loads(third.read_text())
        report["accounts"][0]["split"] = "valid"
        third.write_text(json.dumps(report))
    elif kind == "a file gone":
        second.unlink()
    elif kind == "no report":
        third.write_text("{}")
    elif kind == "a part less":
        for files in parts.files.values():
            files.pop()
    elif kind == "a file less":
        parts.files["en"].pop()
    elif kind == "nothing left":
        for number in range(3):
            for language in LANGUAGES:
                parts.files[language][number].write_text("")
            report = json.loads(parts.files["json"][number].read_text())
            report["accounts"] = [account(report["accounts"][0]["lines_in"], 0)]
            parts.files["json"][number].write_text(json.dumps(report))
    return parts


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "a line less on one side",
            r"0000\.en should (both )?have 3 lines(, and do not| and has 2); make the part anew",
        ),
        ("a line more on both sides", r"0000\.(de|en) should (both )?have 3 lines(, and do not| and has 4); make"),
        ("lines not read", r"part 2 has 4 lines but its report says .*'lines_in': 3"),
        ("another split", "the reports are not of parts of one corpus: .*'train', 'valid'"),
        ("a file gone", r"0000\.en: cannot be read \(No such file"),
        ("no report", r"0002\.json: is no report of a part"),
        ("a part less", r"was cut into 3 parts but 2 are given"),
        ("a file less", r"must name as many files each"),
        ("nothing left", r"all 9 pairs were filtered out \(ratio 9\); loosen data\.filter"),
    ],
)
@pytest.mark.parametrize("deduplicate", [[], ["--deduplicate"]])
def test_no_line_is_lost_unseen(tmp_path, kind, message, deduplicate):
    parts = damaged(tmp_path, kind)
    result = parts.call(*deduplicate)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(UserError, match=message):
        raise UserError(result.stderr)
    assert not parts.outputs[0].exists()
    assert not (tmp_path / "report.json").exists()


def test_join_without_parts_of_one_report(tmp_path):
    """The reports are those of any step that counts its lines."""
    parts = Parts(tmp_path, PAIRS[:1])
    report = join(
        parts.files["de"], parts.files["en"], [{"accounts": [account(4, 3)], "pieces": 7}], parts.outputs, False
    )
    assert report == {"accounts": [account(4, 3)], "pieces": 7}
