"""learn_bpe.py and apply_bpe.py: the published example, joint learning, and a lossless round trip."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from apply_bpe import load_segmenter
from cli import UserError
from learn_bpe import count_words, learn

SCRIPTS = Path(__file__).parents[2] / "workflow_scripts"
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


def test_same_input_same_codes_whatever_the_order_of_words():
    words = list(PAPER_COUNTS.items())
    random.Random(1).shuffle(words)
    assert learn(Counter(dict(words)), 10) == learn(PAPER_COUNTS, 10)


def test_counts_are_of_all_files_together(tmp_path):
    (tmp_path / "a").write_text("x  y\n\nx\u2028 z", encoding="utf-8")
    (tmp_path / "b").write_text("y\n", encoding="utf-8")
    assert count_words([tmp_path / "a", tmp_path / "b"]) == {"x": 1, "y": 2, "x\u2028": 1, "z": 1}


@pytest.mark.parametrize("counts", [Counter(), Counter({"a": 9, "b": 9})])
def test_nothing_to_merge_is_an_error(counts):
    with pytest.raises(UserError, match="no word of two or more characters"):
        learn(counts, 10)


def test_number_of_merges_must_be_positive():
    with pytest.raises(UserError, match="--merges 0: must be at least 1"):
        learn(PAPER_COUNTS, 0)


def test_segments_as_the_merges_say(tmp_path):
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
def test_a_file_that_holds_no_codes_is_refused(tmp_path, content, message):
    (tmp_path / "codes").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_segmenter(tmp_path / "codes")


def test_command_lines_end_to_end(tmp_path):
    (tmp_path / "de").write_text("lauf laufen läuft\nlaufend\n", encoding="utf-8")
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

    inputs, outputs = (tmp_path / "de", tmp_path / "en"), (tmp_path / "out" / "de", tmp_path / "out" / "en")
    applied = call("apply_bpe.py", "--codes", tmp_path / "codes", "--input", *inputs, "--output", *outputs)
    assert (applied.returncode, applied.stdout, applied.stderr) == (0, "", "")
    for before, after in zip(inputs, outputs, strict=True):
        text = after.read_text(encoding="utf-8")
        assert "@@ " in text
        assert text.replace("@@ ", "") == before.read_text(encoding="utf-8")


def test_no_output_appears_when_one_input_is_bad(tmp_path):
    write_codes(tmp_path / "codes", PAPER_COUNTS, 3)
    (tmp_path / "good").write_text("low\n", encoding="utf-8")
    (tmp_path / "bad").write_bytes(b"low\nl\xf6w\n")
    flags = ["--codes", tmp_path / "codes", "--input", tmp_path / "good", tmp_path / "bad"]
    result = call("apply_bpe.py", *flags, "--output", tmp_path / "out" / "good", tmp_path / "out" / "bad")
    assert result.returncode == 2
    assert "bad, line 2: not UTF-8" in result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_as_many_outputs_as_inputs(tmp_path):
    result = call("apply_bpe.py", "--codes", "c", "--input", "a", "b", "--output", "o")
    assert result.returncode == 2
    assert result.stderr == "error: 2 files after --input but 1 after --output; give as many\n"
