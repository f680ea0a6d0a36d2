"""learn_bpe.py and apply_bpe.py: the published example, joint learning, a lossless round trip."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from apply_bpe import load_segmenter
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import write_json
from ekd_nmt.corpus import shards
from learn_bpe import count_words, learn

SCRIPTS = Path(__file__).parents[3] / "workflow_scripts"
# Figure 1 of Sennrich et al. (2016)
PAPER_COUNTS = Counter({"low": 5, "lower": 2, "newest": 6, "widest": 3})


def call(script: str, *flags: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPTS / script, *map(str, flags)], capture_output=True, text=True)


def write_codes(path: Path, counts: Counter[str], merges: int) -> Path:
    path.write_text("\n".join(learn(counts, merges)) + "\n", encoding="utf-8")
    return path


def test_most_frequent_pairs_are_merged_first():
    version, *merges = learn(PAPER_COUNTS, 3)
    assert version == "#version: 0.2"
    # e+s and s+t occur nine times each, all in "est"; lo occurs seven times
    assert merges == ["s t</w>", "e st</w>", "l o"]


def test_codes_do_not_depend_on_the_order_of_words():
    words = list(PAPER_COUNTS.items())
    random.Random(1).shuffle(words)
    assert learn(Counter(dict(words)), 10) == learn(PAPER_COUNTS, 10)


def test_counts_of_all_files_are_added_up(tmp_path):
    (tmp_path / "a").write_text("x  y\n\nx\u2028 z", encoding="utf-8")
    (tmp_path / "b").write_text("y\n", encoding="utf-8")
    assert count_words([tmp_path / "a", tmp_path / "b"]) == {"x": 1, "y": 2, "x\u2028": 1, "z": 1}


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_sample_is_spread_evenly_for_any_number_of_workers(tmp_path, workers):
    (tmp_path / "a").write_text("".join(f"w{n}\n" for n in range(100)), encoding="utf-8")
    (tmp_path / "b").write_text("v0\nv1\nv2", encoding="utf-8")
    files = [tmp_path / "a", tmp_path / "b"]
    assert count_words(files, None, workers) == Counter([f"w{n}" for n in range(100)] + ["v0", "v1", "v2"])
    assert count_words(files, 10, workers) == Counter([f"w{n}" for n in range(0, 100, 10)] + ["v0", "v1", "v2"])
    assert list(count_words(files, 7, workers)) == [*(f"w{n}" for n in range(0, 100, 15)), "v0", "v1", "v2"]


@pytest.mark.parametrize("flag", ["--sample", "--workers"])
def test_numbers_must_be_positive(tmp_path, flag):
    (tmp_path / "a").write_text("ab ab\n")
    result = call("learn_bpe.py", "--input", tmp_path / "a", "--merges", 1, "--output", tmp_path / "codes", flag, 0)
    assert (result.returncode, result.stderr) == (2, f"error: {flag} 0: must be at least 1\n")
    assert not (tmp_path / "codes").exists()


@pytest.mark.parametrize(
    ("counts", "merges", "message"),
    [
        (Counter(), 10, "no word of two or more characters"),
        (Counter({"a": 9, "b": 9}), 10, "no word of two or more characters"),
        (PAPER_COUNTS, 0, "--merges 0: must be at least 1"),
    ],
)
def test_nothing_can_be_learned(counts, merges, message):
    with pytest.raises(UserError, match=message):
        learn(counts, merges)


def test_merges_are_applied(tmp_path):
    segment = load_segmenter(write_codes(tmp_path / "codes", PAPER_COUNTS, 3))
    assert segment("lowest newest low x") == "lo@@ w@@ est n@@ e@@ w@@ est lo@@ w x"
    assert segment("  low   low ") == "lo@@ w lo@@ w"
    assert segment("") == ""


def test_segmentation_is_undone_by_joining(tmp_path):
    generator = random.Random(7)
    alphabet = "abcdeäöü&;'日🙂"
    lines = [
        " ".join(
            "".join(generator.choices(alphabet, k=generator.randint(1, 9))) for _ in range(generator.randint(0, 12))
        )
        for _ in range(300)
    ]
    segment = load_segmenter(write_codes(tmp_path / "codes", Counter(" ".join(lines[:100]).split()), 200))
    pieces = [segment(line) for line in lines]
    assert [line.replace("@@ ", "") for line in pieces] == lines
    assert sum(line.count("@@") for line in pieces) > 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not a BPE codes file"),
        ("a b\n", "not a BPE codes file"),
        ("#version: 0.2\na b\nabc\n", "line 3: not a pair of symbols"),
    ],
)
def test_damaged_codes_file(tmp_path, content, message):
    (tmp_path / "codes").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_segmenter(tmp_path / "codes")


def test_command_lines_end_to_end(tmp_path):
    (tmp_path / "de").write_text("lauf laufen läuft\n\nlaufend\n", encoding="utf-8")
    (tmp_path / "en").write_text("laugh laughing\n\nlaughed\n", encoding="utf-8")
    learned = call(
        "learn_bpe.py", "--input", tmp_path / "de", tmp_path / "en", "--merges", 500, "--output", tmp_path / "codes"
    )
    merges = len((tmp_path / "codes").read_text(encoding="utf-8").splitlines()) - 1
    assert 0 < merges < 500
    assert learned.returncode == 0
    assert learned.stdout == ""
    note = f"{tmp_path / 'codes'}: {merges} of 500 merges learned; no other pair of symbols occurs twice\n"
    assert learned.stderr == note

    result = apply(tmp_path, "--split", "train")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    for language in ("de", "en"):
        text = (tmp_path / "out" / language).read_text(encoding="utf-8")
        assert "@@ " in text
        assert text.replace("@@ ", "") == (tmp_path / language).read_text(encoding="utf-8")
    report = json.loads((tmp_path / "report").read_text())
    assert report["accounts"] == [{"step": "bpe", "split": "train", "lines_in": 3, "lines_out": 3, "dropped": {}}]
    assert (report["split"], report["lines"], report["words"]) == ("train", 3, {"de": 4, "en": 3})
    for language in ("de", "en"):
        pieces = [len(line.split()) for line in (tmp_path / "out" / language).read_text().split("\n")[:-1]]
        assert report["pieces"][language] == sum(pieces)
        assert report["lengths"][language] == {str(n): pieces.count(n) for n in sorted(set(pieces))}


def apply(folder: Path, *flags: object) -> subprocess.CompletedProcess[str]:
    files = ["--source", folder / "de", "--target", folder / "en", "--source-lang", "de", "--target-lang", "en"]
    files += ["--output-source", folder / "out" / "de", "--output-target", folder / "out" / "en"]
    return call("apply_bpe.py", "--codes", folder / "codes", *files, "--report", folder / "report", *flags)


def test_shards_add_up_to_the_corpus(tmp_path):
    write_codes(tmp_path / "codes", PAPER_COUNTS, 3)
    for language, line in (("de", "lowest\u2028low"), ("en", "newest")):
        (tmp_path / language).write_text("".join(f"{line} {n}\n" for n in range(7)), encoding="utf-8")
    assert apply(tmp_path).returncode == 0
    whole = [(tmp_path / "out" / language).read_bytes() for language in ("de", "en")]
    index = tmp_path / "shards.json"
    write_json(index, shards.to_index(shards.make_shards(tmp_path / "de", tmp_path / "en", 3)))
    joined = [b"", b""]
    for number in range(3):
        assert apply(tmp_path, "--shards", index, "--shard", number).returncode == 0
        for side, language in enumerate(("de", "en")):
            joined[side] += (tmp_path / "out" / language).read_bytes()
    assert joined == whole


def test_no_output_appears_when_one_side_is_bad(tmp_path):
    write_codes(tmp_path / "codes", PAPER_COUNTS, 3)
    (tmp_path / "de").write_text("low\n", encoding="utf-8")
    (tmp_path / "en").write_bytes(b"low\nl\xf6w\n")
    result = apply(tmp_path)
    assert result.returncode == 2
    assert "en, line 2: not UTF-8" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--shard", "1"], "--shard and --shards belong together"),
        ([], "train: the sides have [1, 2] lines; segment both sides of the same corpus"),
    ],
)
def test_errors_of_apply_bpe(tmp_path, flags, message):
    write_codes(tmp_path / "codes", PAPER_COUNTS, 3)
    (tmp_path / "de").write_text("low\n", encoding="utf-8")
    (tmp_path / "en").write_text("low\nlow\n", encoding="utf-8")
    result = apply(tmp_path, "--split", "train", *flags)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out" / "de").exists()
