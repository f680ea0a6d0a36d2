"""pair.py: unpacking, pairing, and what it says about bad files."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from cli import UserError
from pair import open_text, pair

SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "pair.py"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def outputs(tmp_path):
    return tmp_path / "out" / "train.de", tmp_path / "out" / "train.en"


def assert_nothing_written(outputs):
    assert list(outputs[0].parent.iterdir()) == []


def test_unpacks_gzip_beside_plain_text(tmp_path, outputs):
    source = write(tmp_path / "a.gz", gzip.compress("Grüße\nzwei\n".encode()))
    target = write(tmp_path / "b", b"greetings\ntwo\n")
    assert pair(source, target, *outputs) == 2
    assert outputs[0].read_text(encoding="utf-8") == "Grüße\nzwei\n"
    assert outputs[1].read_bytes() == target.read_bytes()


def test_gzip_is_recognised_whatever_its_name(tmp_path):
    assert list(open_text(write(tmp_path / "named.txt", gzip.compress(b"one\n")))) == ["one"]


def test_lines_end_at_newline_alone(tmp_path, outputs):
    inner = "a\u2028b\u0085c\x0cd\re"
    source = write(tmp_path / "a", f"{inner}\nzwei\n".encode())
    target = write(tmp_path / "b", b"one\ntwo\n")
    assert pair(source, target, *outputs) == 2
    assert outputs[0].read_bytes() == source.read_bytes()


def test_windows_line_ends_and_byte_order_mark_are_taken_off(tmp_path):
    assert list(open_text(write(tmp_path / "a", b"\xef\xbb\xbfone\r\n\r\ntwo"))) == ["one", "", "two"]


@pytest.mark.parametrize("lines", [(3, 2), (2, 3)])
def test_unequal_sides_are_refused_with_both_counts(tmp_path, outputs, lines):
    source, target = (write(tmp_path / name, b"text\n" * count) for name, count in zip("ab", lines, strict=True))
    with pytest.raises(UserError, match=f"a has {lines[0]} lines but .*b has {lines[1]};"):
        pair(source, target, *outputs)
    assert_nothing_written(outputs)


@pytest.mark.parametrize("content", [b"", b"\n \n\n", gzip.compress(b"")], ids=["empty", "blank", "gzip"])
def test_a_file_without_text_is_refused(tmp_path, outputs, content):
    with pytest.raises(UserError, match="b: holds no text"):
        pair(write(tmp_path / "a", b"1\n2\n3\n"), write(tmp_path / "b", content), *outputs)
    assert_nothing_written(outputs)


def test_truncated_gzip(tmp_path, outputs):
    text = "".join(f"line {number} {hash(str(number))}\n" for number in range(5000)).encode()
    packed = gzip.compress(text)
    source = write(tmp_path / "cut.gz", packed[: len(packed) // 2])
    with pytest.raises(UserError, match=r"cut\.gz: the gzip file is truncated after line \d+; fetch it again"):
        pair(source, write(tmp_path / "b", text), *outputs)
    assert_nothing_written(outputs)


def test_damaged_gzip(tmp_path, outputs):
    packed = bytearray(gzip.compress(b"one two three four\n" * 100))
    packed[-6] ^= 0xFF  # in the checksum
    with pytest.raises(UserError, match=r"bad\.gz: damaged gzip file"):
        pair(write(tmp_path / "bad.gz", bytes(packed)), write(tmp_path / "b", b"1\n"), *outputs)
    assert_nothing_written(outputs)


def test_not_utf8_names_the_line(tmp_path, outputs):
    source = write(tmp_path / "a", "eins\nzwölf\n".encode("latin1"))
    with pytest.raises(UserError, match="a, line 2: not UTF-8"):
        pair(source, write(tmp_path / "b", b"1\n2\n"), *outputs)
    assert_nothing_written(outputs)


def test_command_line_reports_a_missing_file_in_one_line(tmp_path, outputs):
    target = write(tmp_path / "b", b"1\n")
    flags = ["--source", tmp_path / "missing", "--target", target]
    flags += ["--output-source", outputs[0], "--output-target", outputs[1]]
    result = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")
    assert "missing: cannot be read (No such file or directory)" in result.stderr
    assert_nothing_written(outputs)
