"""shards.py and cut.py: parts of whole lines that add up to the corpus, whatever its bytes."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus import shards

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "shard_corpus.py"


@pytest.fixture
def corpus(tmp_path):
    """Two sides of unlike widths, with what other readers take for line ends, and no line end at the very end."""
    generator = random.Random(3)
    odd = ["", "a\u2028b", "c\x85", "d\rd", "\x0c", "straße"]
    sides = [[generator.choice(odd) * generator.randint(0, width) for _ in range(101)] for width in (3, 90)]
    sides = [[*lines[:-1], "last"] for lines in sides]
    paths = [tmp_path / name for name in ("t.de", "t.en")]
    for path, lines in zip(paths, sides, strict=True):
        path.write_bytes("\n".join(lines).encode())
    return paths, sides


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("count", [1, 2, 3, 100, 101, 150])
def test_parts_add_up_to_the_corpus(corpus, monkeypatch, count, block):
    monkeypatch.setattr(shards, "BLOCK", block)
    paths, sides = corpus
    parts = shards.cut(*paths, count)
    assert len(parts) == count
    sizes = [part.lines for part in parts]
    assert sum(sizes) == 101
    assert max(sizes) - min(sizes) <= 1
    for side, (path, lines) in enumerate(zip(paths, sides, strict=True)):
        read = [list(part.read(side, path)) for part in parts]
        assert [len(part) for part in read] == sizes
        assert [line for part in read for line in part] == lines
    assert [part.first for part in parts] == [1 + sum(sizes[:number]) for number in range(count)]


def test_the_index_is_read_back(corpus, tmp_path):
    parts = shards.cut(*corpus[0], 4)
    (tmp_path / "parts.json").write_text(json.dumps(shards.index(parts)))
    assert shards.load(tmp_path / "parts.json") == parts
    assert shards.find(tmp_path / "parts.json", 3) == parts[3]
    with pytest.raises(UserError, match=r"--part 4: .*parts\.json has parts 0 to 3"):
        shards.find(tmp_path / "parts.json", 4)


@pytest.mark.parametrize("content", ["", "[]", '{"parts": [{"lines": 1}]}'])
def test_what_is_no_index_is_told(tmp_path, content):
    (tmp_path / "parts.json").write_text(content)
    with pytest.raises(UserError, match=r"parts\.json: is no index of parts"):
        shards.load(tmp_path / "parts.json")


def test_a_line_that_is_not_utf8_has_its_number_in_the_whole_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1\n2\n3\n\xff\n")
    part = shards.cut(tmp_path / "a", tmp_path / "b", 2)[1]
    with pytest.raises(UserError, match="a, line 4: not UTF-8"):
        list(part.read(0, tmp_path / "a"))


@pytest.mark.parametrize(
    ("source", "target", "count", "message"),
    [
        ("a\nb\n", "a\n", 2, r"de has 2 lines but .*en has 1; both sides must match"),
        ("", "", 2, "are empty; there is nothing to cut"),
        ("a\n", "a\n", 0, "--parts 0: must be at least 1"),
        (None, "a\n", 1, r"de: cannot be read \(No such file"),
    ],
)
def test_command_line_tells_what_is_wrong(tmp_path, source, target, count, message):
    for name, text in (("de", source), ("en", target)):
        if text is not None:
            (tmp_path / name).write_text(text)
    flags = ["--source", tmp_path / "de", "--target", tmp_path / "en", "--parts", count, "--output", tmp_path / "o"]
    result = subprocess.run([sys.executable, SCRIPT, *map(str, flags)], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(UserError, match=message):
        raise UserError(result.stderr)
    assert not (tmp_path / "o").exists()
