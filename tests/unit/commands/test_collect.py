"""collect.py: texts of all kinds in order, the counts of every line, and the errors about bad ones."""

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import collect
from ekd_nmt.common.errors import UserError
from iwslt14_archive import write_tgz

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "collect.py"
TABLE = b"7\tone\teins\tx\n8\ttwo\tzwei\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working folder; one side of each text is compressed or in an archive."""
    monkeypatch.chdir(tmp_path)
    Path("a.de").write_bytes("Grüße\ta\nzwei\n".encode())
    Path("a.en").write_bytes(gzip.compress(b"greetings\ntwo\n"))
    with zipfile.ZipFile("b.zip", "w") as archive:
        archive.writestr("b/b.de", "eins\r\n\r\n")
        archive.writestr("b/b.en", "one\nempty in German\n")
    Path("c.tsv").write_bytes(TABLE)
    sides = {"src.en": "Yes.", "ref.de": "Ja."}
    segments = {end: f'<doc docid="d">\n<seg id="1">{text}</seg>\n</doc>\n'.encode() for end, text in sides.items()}
    write_tgz(tmp_path / "wmt17.tgz", {f"test/newstest2017-ende-{end}.sgm": text for end, text in segments.items()})
    return tmp_path


def run(monkeypatch, *flags: str, languages=("de", "en")) -> dict:
    """The line counts; the command line is split as a shell would."""
    options = ["--source-lang", languages[0], "--target-lang", languages[1], "--report", "out/report.json"]
    options += ["--output-source", "out/source", "--output-target", "out/target"]
    monkeypatch.setattr(sys, "argv", ["collect.py", *options, *(word for flag in flags for word in flag.split())])
    collect.main()
    (counts,) = json.loads(Path("out/report.json").read_text(encoding="utf-8"))["accounts"]
    assert counts["lines_in"] - sum(counts["dropped"].values()) == counts["lines_out"] == sum(counts["parts"].values())
    return counts


def refused(monkeypatch, *flags: str, languages=("de", "en")) -> str:
    """The message; nothing may have been written."""
    with pytest.raises(UserError) as caught:
        run(monkeypatch, *flags, languages=languages)
    assert not Path("out").exists() or list(Path("out").iterdir()) == []
    return str(caught.value)


def written() -> list[tuple[str, str]]:
    sides = [Path("out", side).read_bytes().decode().split("\n") for side in ("source", "target")]
    assert [side.pop() for side in sides] == ["", ""]
    return list(zip(*sides, strict=True))


A = "--texts a a.de a.en"
B = "--texts b b.zip::b/b.de b.zip::*.en"
C = "--tsv c c.tsv 3,2"
A_PAIRS = [("Grüße\ta", "greetings"), ("zwei", "two")]
B_PAIRS = [("eins", "one"), ("", "empty in German")]
C_PAIRS = [("eins", "one"), ("zwei", "two")]


@pytest.mark.parametrize(
    ("flags", "pairs"),
    [((A,), A_PAIRS), ((A, C, B), A_PAIRS + C_PAIRS + B_PAIRS), ((C, B, A), C_PAIRS + B_PAIRS + A_PAIRS)],
)
def test_texts_in_the_order_given(files, monkeypatch, flags, pairs):
    counts = run(monkeypatch, *flags, "--split train")
    assert written() == pairs
    assert counts == {
        "step": "collect",
        "split": "train",
        "lines_in": len(pairs),
        "lines_out": len(pairs),
        "dropped": {"malformed": 0},
        "parts": {flag.split()[1]: 2 for flag in flags},
    }


def test_a_test_set_among_other_texts(files, monkeypatch):
    counts = run(monkeypatch, "--tsv c c.tsv 2,3", "--test-set t wmt17 wmt17.tgz", languages=("en", "de"))
    assert written() == [("one", "eins"), ("two", "zwei"), ("Yes.", "Ja.")]
    assert counts["parts"] == {"c": 2, "t": 1}
    assert counts["references"] == {"t": "ref"}


def test_sentences_are_written_as_they_are(files, monkeypatch):
    odd = ["a\u2028b\x85c\x0cd\re", " \t spaces\u00a0 ", "\ufeffx", "&amp; \x00"]
    Path("odd").write_bytes("".join(f"{line}\n" for line in ["", *odd]).encode())
    run(monkeypatch, "--texts o odd odd")
    assert written() == [("", ""), *((line, line) for line in odd)]
    assert Path("out/source").read_bytes() == Path("odd").read_bytes()


def test_malformed_lines_are_dropped_and_counted_on_request(files, monkeypatch):
    Path("c.tsv").write_bytes(TABLE + b"one column\n\n9\tthree\tdrei\n10\tfour\n")
    counts = run(monkeypatch, A, C, "--skip-malformed")
    assert written() == [*A_PAIRS, *C_PAIRS, ("drei", "three")]
    assert counts["dropped"] == {"malformed": 3}
    assert counts["parts"] == {"a": 2, "c": 3}
    assert counts["lines_in"] == 8


def test_an_empty_column_is_not_malformed(files, monkeypatch):
    Path("c.tsv").write_bytes(b"eins\tone\n\t\nzwei\t\n")
    assert run(monkeypatch, "--tsv c c.tsv 1,2")["lines_out"] == 3
    assert written() == [("eins", "one"), ("", ""), ("zwei", "")]


def test_the_number_expected(files, monkeypatch):
    Path("c.tsv").write_bytes(TABLE + b"malformed\n")
    assert run(monkeypatch, A, C, "--skip-malformed", "--expect 4")["expected"] == 4


# --- what is refused ---


@pytest.mark.parametrize("lines", [(3, 2), (2, 5), (3, 0), (0, 1), (1, 100_000), (100_000, 1)])
def test_sides_of_unequal_length(files, monkeypatch, lines):
    Path("x").write_bytes(b"text\n" * lines[0])
    Path("y").write_bytes(gzip.compress(b"text\n" * lines[1]))
    message = f"x has {lines[0]} lines but y has {lines[1]}; the sides of a parallel corpus must match"
    assert refused(monkeypatch, A, "--texts p x y").startswith(message)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ((b"", b""), "x and y: is empty;"),
        ((b"text\n", b"\n"), "x and y: the target side is blank;"),
        ((b" \n\xe2\x80\xa8\t\n", b"text\ntext\n"), "x and y: the source side is blank;"),
        ((b"\n", b"\n"), "x and y: the source side is blank;"),
    ],
)
def test_a_side_without_text(files, monkeypatch, contents, message):
    for name, content in zip("xy", contents, strict=True):
        Path(name).write_bytes(content)
    assert refused(monkeypatch, A, "--texts p x y") == f"text 'p', {message} fetch it again or name other files"


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            TABLE + b"9\tthree\n",
            "3,2",
            "c.tsv, line 3: lacks column 3, it has 2; columns are separated by tabs, so fix",
        ),
        (TABLE, "1,4", "c.tsv, line 2: lacks column 4, it has 3; "),
        (TABLE + b"\n", "2,1", "c.tsv, line 3: lacks column 2, it has 1; "),
        (TABLE + "9\tdr\xfcben\tx\n".encode("latin1"), "1,2", "c.tsv, line 3: not UTF-8 (byte 5); "),
        (TABLE + b"\t\t\n" * 9, "3,4", "c.tsv, line 2: lacks column 4, it has 3; "),
        (b"", "1,2", "text 'c', c.tsv: is empty; "),
        (b"1\t\n", "1,2", "text 'c', c.tsv: the target side is blank; "),
    ],
)
def test_a_bad_table(files, monkeypatch, content, columns, message):
    Path("c.tsv").write_bytes(content)
    assert refused(monkeypatch, A, f"--tsv c c.tsv {columns}").startswith(message)


@pytest.mark.parametrize("columns", ["1", "1,1", "0,1", "1,2,3", "a,b", "1,-2", ",", "1.0,2"])
def test_bad_columns(files, monkeypatch, columns):
    message = f"columns {columns!r}: must be two different numbers from 1, source and target, such as 1,2"
    assert refused(monkeypatch, f"--tsv c c.tsv {columns}").startswith(message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "nothing to collect; name a text with --texts, --tsv or --test-set"),
        ((A, "--tsv a c.tsv 1,2"), "two texts are called 'a'; give each a label"),
        ((A, "--test-set t wmt17 wmt17.tgz"), "test set 'wmt17': has no de-fr; it has cs-en, de-en, "),
        (("--tsv c c.tsv 1,9", "--skip-malformed"), "text 'c', c.tsv: all its 2 lines are malformed; "),
        ((A, C, "--expect 5"), "4 pairs instead of the 5 that are published (a 2, c 2; 0 malformed); fetch the files"),
    ],
)
def test_bad_requests(files, monkeypatch, flags, message):
    assert refused(monkeypatch, *flags, languages=("de", "fr")).startswith(message)


# --- the command ---


def command(*words) -> subprocess.CompletedProcess:
    flags = ["--source-lang", "de", "--target-lang", "en", "--report", "out/report.json"]
    flags += ["--output-source", "out/source", "--output-target", "out/target"]
    return subprocess.run([sys.executable, SCRIPT, *flags, *words], capture_output=True, text=True)


def test_the_command_reports_an_error_in_one_line(files):
    result = command(*A.split(), "--texts", "b", "b.zip::b/b.de", "b.zip::b/b.fr")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        "error: b.zip::b/b.fr: has no such member; of b/b it has .de, .en; fix the language or the name\n"
    )
    assert list(Path("out").iterdir()) == []
