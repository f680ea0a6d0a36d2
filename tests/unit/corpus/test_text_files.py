"""Lines of texts in files and archives, and texts that cannot be read."""

import bz2
import gzip
import lzma
import random
import re
import tracemalloc
import zipfile

import pytest
from backports import zstd

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus import text_files
from ekd_nmt.corpus.text_files import open_text
from iwslt14_archive import write_tgz

LINES = [f"Satz {number}: {random.Random(number).random()} über" for number in range(3000)]
TEXT = "".join(f"{line}\n" for line in LINES).encode()
COMPRESSIONS = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": lambda text: bz2.compress(text, 1),
    "xz": lzma.compress,
    "zst": zstd.compress,
}
ARCHIVES = [*COMPRESSIONS, "zip"]
NOISE = random.Random(1).randbytes(300_000)  # after the text; more than is read at once


def write(path, content):
    path.write_bytes(content)
    return path


def write_archive(path, kind, members):
    """An archive whose name does not show its format, with noise after the members."""
    members = {**members, "noise": NOISE}
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        content = gzip.decompress(write_tgz(path, members).read_bytes())
        path.write_bytes(COMPRESSIONS[kind](content))
    return path


# --- what is read ---


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_the_format_is_recognised_without_the_name(tmp_path, kind):
    path = write(tmp_path / "named.txt", COMPRESSIONS[kind](TEXT))
    assert list(open_text(path)) == list(open_text(str(path))) == LINES


@pytest.mark.parametrize("packed", COMPRESSIONS)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_a_member_of_an_archive_compressed_itself_or_not(tmp_path, kind, packed):
    path = write_archive(tmp_path / "a", kind, {"README": b"not this", "x/a.de": COMPRESSIONS[packed](TEXT)})
    assert list(open_text(f"{path}::x/a.de")) == LINES


@pytest.mark.parametrize("wanted", ["./x/corpus.de-en.de", "*.de", "x/*", "*corpus*.de", "x/corpus.??-en.[cd]e"])
def test_a_pattern_that_fits_one_file(tmp_path, wanted):
    wanted = wanted.removeprefix("./")  # the archive has it, the user need not
    path = write_archive(tmp_path / "a", "gz", {"./x/corpus.de-en.de": b"eins\n", "corpus.de-en.en": b"one\n"})
    assert list(open_text(f"{path}::{wanted}")) == ["eins"]


def test_a_name_that_looks_like_a_pattern(tmp_path):
    path = write_archive(tmp_path / "a", "zip", {"corpus[1].de": b"eins\n"})
    assert list(open_text(f"{path}::corpus[1].de")) == ["eins"]


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"one", ["one"]),
        (b"one\n\ntwo\n\n", ["one", "", "two", ""]),
        (b"one\r\n\r\ntwo\r\r\n", ["one", "", "two\r"]),
        (b"one\rtwo\r", ["one\rtwo\r"]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one", "\ufefftwo"]),
        ("a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\n".encode(), ["a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei"]),
        (b" one\t\xc2\xa0\nt\x00wo \n", [" one\t\xa0", "t\x00wo "]),
    ],
)
@pytest.mark.parametrize("block", [1, 2, 5, 1 << 17])
def test_what_a_line_is(tmp_path, monkeypatch, content, lines, block):
    monkeypatch.setattr(text_files, "BLOCK", block)
    assert list(open_text(write(tmp_path / "a", content))) == lines


def test_memory_does_not_grow_with_the_text(tmp_path):
    path = write_archive(
        tmp_path / "a", "gz", {"a.gz": gzip.compress(b"Ein Satz, der immer wieder kommt.\n" * 400_000)}
    )
    tracemalloc.start()
    try:
        assert sum(1 for _ in open_text(f"{path}::a.gz")) == 400_000
        assert tracemalloc.get_traced_memory()[1] < 4_000_000  # of 13 million bytes
    finally:
        tracemalloc.stop()


# --- what is refused ---


def refused(place, **options):
    """The message of the error."""
    with pytest.raises(UserError) as caught:
        list(open_text(place, **options))
    return str(caught.value)


def lines_before_error(place):
    lines = []
    with pytest.raises(UserError):
        lines.extend(open_text(place))  # a list keeps what it was given
    return lines


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zst"])
def test_a_truncated_file_yields_its_lines_and_reports_their_number(tmp_path, kind):
    text = "".join(f"{random.Random(number).random()}\n" for number in range(30_000))
    packed = COMPRESSIONS[kind](text.encode())
    path = write(tmp_path / f"cut.{kind}", packed[: len(packed) * 9 // 10])
    number = len(lines_before_error(path))
    assert 20_000 < number < 30_000
    assert refused(path) == f"{path}: the archive is truncated after line {number}; fetch it again"


@pytest.mark.parametrize("kind", ["plain", "gz", "bz2", "xz", "zst", "zip"])
@pytest.mark.parametrize("lost", [1500, 100_000])  # after the text
def test_a_truncated_archive_is_noticed_after_the_member(tmp_path, kind, lost):
    path = write_archive(tmp_path / "a", kind, {"a.de": TEXT})
    path.write_bytes(path.read_bytes()[: -lost - 10_240 * (kind == "plain")])
    assert re.search(r"a::a\.de: (the archive is truncated|damaged, cut off)", refused(f"{path}::a.de"))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_damaged_archive_is_noticed_after_the_member(tmp_path, kind):
    path = write_archive(tmp_path / "a", kind, {"a.de": TEXT})
    packed = bytearray(path.read_bytes())
    packed[-6] ^= 1
    path.write_bytes(packed)
    assert lines_before_error(f"{path}::a.de") == LINES
    assert "a::a.de: damaged, cut off or not an archive after line 3000" in refused(f"{path}::a.de")


@pytest.mark.parametrize("block", [4, 1 << 17])
def test_not_utf8_names_line_and_byte(tmp_path, monkeypatch, block):
    monkeypatch.setattr(text_files, "BLOCK", block)
    path = write(tmp_path / "a", "eins\u2028\n\r\n".encode() + "ü zwölf".encode("latin1") + b"\n")
    assert refused(path).startswith(f"{path}, line 3: not UTF-8 (byte 1); convert the file")
    path = write(tmp_path / "b.gz", gzip.compress(TEXT + b"zw\xf6lf\n" + TEXT))
    assert refused(path).startswith(f"{path}, line 3001: not UTF-8 (byte 3); convert the file")
    for encoding in ("utf-16-le", "utf-16-be"):
        text = "\ufeffüber\n".encode(encoding)
        assert "UTF-16, not UTF-8 text; convert it with iconv -f utf-16" in refused(write(tmp_path / "u", text))
    assert refused(write(tmp_path / "cut", b"eins\nzw\xc3")).startswith(f"{tmp_path}/cut, line 2: not UTF-8 (byte 3)")


def test_a_missing_file_or_a_folder(tmp_path):
    missing, there = tmp_path / "a.zip", "check the path and its permissions"
    assert refused(missing) == f"{missing}: cannot be read (No such file or directory); {there}"
    assert refused(f"{missing}::x") == f"{missing}::x: cannot be read (No such file or directory); {there}"
    assert refused(tmp_path) == f"{tmp_path}: cannot be read (Is a directory); {there}"


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_whose_text_is_not_named(tmp_path, kind):
    path = write_archive(tmp_path / "a", kind, {"a.de": TEXT})
    assert "a: is an archive, not a text; name a text in it as ARCHIVE::MEMBER" in refused(path)
    outer = write_archive(tmp_path / "outer", "gz", {"a": path.read_bytes()})
    assert "outer::a: is an archive, not a text" in refused(f"{outer}::a")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("Books.de-en.fr", "has no such member; of Books.de-en it has .de, .en, .ids; fix the language or the name"),
        ("Books.*.fr", "has no such member; of Books.* it has .de, .en, .ids; fix the language or the name"),
        ("Books", "has no such member; it has Books.de-en."),
        ("OpenBooks.de-en.de", "has no such member; it has Books.de-en.de, Books.de-en."),
        ("", "has no such member; it has "),
        ("Books*", "has both 'Books.de-en.de' and 'Books.de-en.en'; name the one that is meant"),
    ],
)
@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_a_missing_or_ambiguous_member(tmp_path, kind, wanted, message):
    names = ["Books.de-en.de", "Books.de-en.en", "Books.de-en.ids", "LICENSE", "README", "THANKS"]
    path = write_archive(tmp_path / "a", kind, dict.fromkeys(names, b"text\n"))
    error = refused(f"{path}::{wanted}")
    assert f"a::{wanted}: {message}" in error
    if "it has Books" in message:
        assert error.endswith(" and 2 more; fix the name or take another archive")


def test_a_bomb_in_each_layer(tmp_path):
    bomb = gzip.compress(b"x" * 5_000_000)
    places = [write(tmp_path / "bomb", bomb)]
    places += [f"{write_archive(tmp_path / kind, kind, {'a': bomb})}::a" for kind in ("plain", "gz", "zip")]
    places += [f"{write_archive(tmp_path / 'zip2', 'zip', {'a': gzip.decompress(bomb)})}::a"]
    places += [f"{write_archive(tmp_path / 'gz2', 'gz', {'bomb': gzip.decompress(bomb), 'a': b''})}::a"]
    for place in places:
        assert f"{place}: unpacks to more than 1000000 bytes" in refused(place, limit=1_000_000)
