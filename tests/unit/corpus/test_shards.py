"""Shards are whole lines and add up to the corpus, whatever its bytes."""

import json
import random
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus import shards

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "shard_corpus.py"


@pytest.fixture
def corpus(tmp_path):
    """Two sides of unlike widths, with characters that other readers take for line ends, and no final line end."""
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
def test_shards_add_up_to_the_corpus(corpus, monkeypatch, count, block):
    monkeypatch.setattr(shards, "BLOCK", block)
    paths, sides = corpus
    made = shards.make_shards(*paths, count)
    assert len(made) == count
    sizes = [shard.lines for shard in made]
    assert sum(sizes) == 101
    assert max(sizes) - min(sizes) <= 1
    for side, (path, lines) in enumerate(zip(paths, sides, strict=True)):
        read = [list(shard.read(side, path)) for shard in made]
        assert [len(shard) for shard in read] == sizes
        assert [line for shard in read for line in shard] == lines
    assert [shard.first for shard in made] == [1 + sum(sizes[:number]) for number in range(count)]


def test_the_index_is_read_back(corpus, tmp_path):
    made = shards.make_shards(*corpus[0], 4)
    index = tmp_path / "shards.json"
    index.write_text(json.dumps(shards.to_index(made)))
    assert shards.read_index(index) == made
    assert shards.selected_shard(Namespace(shards=index, shard=3)) == made[3]
    with pytest.raises(UserError, match=r"--shard 4: .*shards\.json has shards 0 to 3"):
        shards.selected_shard(Namespace(shards=index, shard=4))


@pytest.mark.parametrize("content", ["", "[]", '{"lines": 1, "shards": [{"lines": 1}]}'])
def test_damaged_index(tmp_path, content):
    (tmp_path / "shards.json").write_text(content)
    with pytest.raises(UserError, match=r"shards\.json: .*; write it again with shard_corpus\.py"):
        shards.read_index(tmp_path / "shards.json")


def test_error_names_the_line_number_in_the_whole_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1\n2\n3\n\xff\n")
    shard = shards.make_shards(tmp_path / "a", tmp_path / "b", 2)[1]
    with pytest.raises(UserError, match="a, line 4: not UTF-8"):
        list(shard.read(0, tmp_path / "a"))


@pytest.mark.parametrize(
    ("source", "target", "count", "message"),
    [
        ("a\nb\n", "a\n", 2, r"de has 2 lines but .*en has 1; both sides must match"),
        ("", "", 2, "are empty; check the step that writes them"),
        ("a\n", "a\n", 0, "--shards 0: must be at least 1"),
        (None, "a\n", 1, r"de: cannot be read \(No such file"),
    ],
)
def test_errors_of_the_command(tmp_path, source, target, count, message):
    for name, text in (("de", source), ("en", target)):
        if text is not None:
            (tmp_path / name).write_text(text)
    flags = ["--source", tmp_path / "de", "--target", tmp_path / "en", "--shards", count, "--output", tmp_path / "o"]
    result = subprocess.run([sys.executable, SCRIPT, *map(str, flags)], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    with pytest.raises(UserError, match=message):
        raise UserError(result.stderr)
    assert not (tmp_path / "o").exists()
