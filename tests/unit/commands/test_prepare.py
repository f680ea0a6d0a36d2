"""prepare.py: which pairs are kept or dropped, why, in shards as in the whole corpus, and its report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json, write_lines
from ekd_nmt.corpus import shards
from ekd_nmt.corpus.filters import LengthFilter
from ekd_nmt.corpus.moses import make_tokenizer
from prepare import DROP_REASONS, HELD_OUT, Screen, Side, held_out_sentences, prepare

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "prepare.py"
RULE = LengthFilter(1, 175, 1.5)


@pytest.fixture
def sides(tmp_path):
    def build(source: str, target: str) -> tuple[Side, Side]:
        both = []
        for language, text in (("de", source), ("en", target)):
            path = tmp_path / f"raw.{language}"
            path.write_text(text, encoding="utf-8", newline="")
            tokenize = make_tokenizer(language, lowercase=True)
            both.append(Side(language, path, tmp_path / "tok" / f"train.{language}", tokenize))
        return both[0], both[1]

    return build


def written(side: Side) -> list[str]:
    return side.output.read_text(encoding="utf-8").split("\n")[:-1]


def dropped(**counts: int) -> dict[str, int]:
    return dict.fromkeys(DROP_REASONS, 0) | counts


def test_both_sides_of_a_pair_are_kept_or_dropped(sides):
    source, target = sides("Ja.\n\nEins zwei drei vier fünf.\nHallo!\n", "Yes.\nNothing.\nOne.\nHello!\n")
    report = prepare(source, target, Screen(RULE), "train")
    assert written(source) == ["ja .", "hallo !"]
    assert written(target) == ["yes .", "hello !"]
    assert report["accounts"] == [
        {"step": "prepare", "split": "train", "lines_in": 4, "lines_out": 2, "dropped": dropped(empty=1, ratio=1)}
    ]
    assert report["lengths"] == {
        "before": {"de": {"0": 1, "2": 2, "6": 1}, "en": {"2": 4}},
        "after": {"de": {"2": 2}, "en": {"2": 2}},
    }


def test_a_test_set_keeps_every_line(sides):
    source, target = sides("a b c d e f g h\n\nx\n", "a\nb\n\n")
    assert prepare(source, target, Screen())["accounts"][0]["lines_out"] == 3
    assert written(source) == ["a b c d e f g h", "", "x"]
    assert written(target) == ["a", "b", ""]


def test_held_out_sentences_are_compared_as_the_model_sees_them(sides, tmp_path):
    write_lines(tmp_path / "valid.de", ["ein hund .", ""])
    write_lines(tmp_path / "valid.en", ["a dog .", "x"])
    write_lines(tmp_path / "test.de", ["eine katze ."])
    write_lines(tmp_path / "test.en", ["a cat ."])
    held_out = held_out_sentences([(tmp_path / f"{split}.de", tmp_path / f"{split}.en") for split in ("valid", "test")])
    assert held_out == ({"ein hund .", "eine katze ."}, {"a dog .", "x", "a cat ."})
    source, target = sides(
        "Ein  Hund.\nHund!\nEin Tier.\nEine Katze.\n\nNeu.\n", "One dog.\nA dog.\nA cat.\nCat.\nempty\nNew.\n"
    )
    report = prepare(source, target, Screen(held_out=held_out))
    assert written(target) == ["empty", "new ."]
    assert report["accounts"][0]["dropped"] == dropped(**{HELD_OUT: 4})


def test_text_filters_see_normalised_untokenised_text(sides):
    source, target = sides("A„1\nA„2\nA„3\n", "b\nb\nb\n")
    source = Side("de", source.path, source.output, source.tokenize, lambda text: text.replace("„", " "))
    seen = []

    def refuse(*pair: str) -> str | None:
        seen.append(pair)
        return "script" if pair[0].endswith("2") else None

    report = prepare(source, target, Screen(text=[refuse, lambda *_: None]))
    assert seen == [("A 1", "b"), ("A 2", "b"), ("A 3", "b")]
    assert written(source) == ["a 1", "a 3"]
    assert report["accounts"][0]["dropped"] == dropped(script=1)


def test_separators_inside_a_sentence_do_not_shift_the_alignment(sides):
    source, target = sides("eins\u2028zwei\nd\rr\x0ce\x85i\n", "one two\nthree\n")
    prepare(source, target, Screen())
    assert written(source) == ["eins zwei", "d r e i"]
    assert source.output.read_text(encoding="utf-8").splitlines() == written(source)


@pytest.mark.parametrize(("source", "target"), [("a\nb\n", "a\n"), ("a\n", "a\nb\n")])
def test_unequal_sides_are_refused(sides, source, target):
    both = sides(source, target)
    with pytest.raises(UserError, match="differ in length: one ends after line 1;"):
        prepare(*both, Screen())
    assert list(both[0].output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("screen", "message"),
    [
        (Screen(LengthFilter(min_tokens=3)), r"\(too_short 2\); loosen data\.filter, and"),
        (
            Screen(held_out=(frozenset({"a", "b c"}), frozenset())),
            r"\(in valid or test 2\); is the training text also the validation or test set",
        ),
    ],
)
def test_error_counts_the_reasons_if_all_pairs_are_dropped(sides, screen, message):
    both = sides("a\nb c\n", "a\nb\n")
    with pytest.raises(UserError, match=rf"raw\.de: all 2 pairs were filtered out {message}"):
        prepare(*both, screen)
    assert list(both[0].output.parent.iterdir()) == []


def flags(folder: Path) -> list[str]:
    both = ["--source", folder / "a", "--target", folder / "b", "--source-lang", "de", "--target-lang", "en"]
    both += ["--output-source", folder / "o.de", "--output-target", folder / "o.en", "--report", folder / "r"]
    return list(map(str, both))


def call(folder: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *flags(folder), *map(str, more)], capture_output=True, text=True)


def write_index(folder: Path, count: int) -> Path:
    write_json(folder / "shards.json", shards.to_index(shards.make_shards(folder / "a", folder / "b", count)))
    return folder / "shards.json"


def test_shards_add_up_to_the_corpus(tmp_path):
    write_lines(tmp_path / "a", [f"Satz {n}\u2028." if n % 4 else "" for n in range(30)])
    write_lines(tmp_path / "b", [f"Sentence {n}." for n in range(30)])
    limits = ("--min-tokens", "1")
    assert call(tmp_path, *limits).returncode == 0
    whole = [(tmp_path / name).read_bytes() for name in ("o.de", "o.en")]
    report = json.loads((tmp_path / "r").read_text())
    index = write_index(tmp_path, 4)
    joined, counts = [b"", b""], []
    for number in range(4):
        assert call(tmp_path, *limits, "--shards", index, "--shard", f"{number:04d}").returncode == 0
        joined = [text + (tmp_path / name).read_bytes() for text, name in zip(joined, ("o.de", "o.en"), strict=True)]
        counts.append(json.loads((tmp_path / "r").read_text())["accounts"][0]["dropped"]["empty"])
    assert joined == whole
    assert sum(counts) == report["accounts"][0]["dropped"]["empty"] == 8


def test_a_shard_may_lose_all_its_lines(tmp_path):
    """Only join_shards.py can see whether any line of the corpus is left."""
    write_lines(tmp_path / "a", ["a", "b"])
    write_lines(tmp_path / "b", ["a b c d", "b"])
    assert call(tmp_path, "--max-ratio", "2", "--shards", write_index(tmp_path, 2), "--shard", "0").returncode == 0
    assert (tmp_path / "o.de").read_bytes() == b""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "0"], "--shard and --shards belong together"),
        (["--min-tokens", "0"], "--min-tokens 0: must be at least 1"),
        (["--held-out", "nowhere.de", "nowhere.en"], "nowhere.de: cannot be read"),
    ],
)
def test_errors_of_the_command(tmp_path, more, message):
    write_lines(tmp_path / "a", ["a"])
    write_lines(tmp_path / "b", ["a"])
    result = call(tmp_path, *more)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "o.de").exists()
