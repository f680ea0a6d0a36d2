"""WMT test sets read from archives of the published layouts, and refused archives."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import sacrebleu.dataset.base
from sacrebleu.dataset import DATASETS

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus.wmt_test_sets import archive_facts, read_testset
from iwslt14_archive import write_tgz
from wmt_archives import XML_MEMBERS, sgml, sgml_members

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "workflow_scripts"
SOURCE = ["First\u2028sentence &amp; more.", "Second  one .", ""]
TARGET = ["Erster Satz\x85&amp; mehr.", "Der zweite.", "nur hier"]
AS_READ = [("First sentence &amp; more.", "Erster Satz &amp; mehr."), ("Second one .", "Der zweite."), ("", "nur hier")]

XML_DOCS = """
<doc id="a" origlang="en" domain="news">
<src lang="en"><p><seg id="1">One &amp; only.</seg>\n<seg id="2">Two.</seg></p><p><seg id="3">Left out.</seg></p></src>
<ref lang="cs" translator="{other}"><p><seg id="1">jiný 1</seg>\n<seg id="2">jiný 2</seg></p></ref>
<ref lang="cs" translator="{first}"><p><seg id="1">Jeden &amp; jediný.</seg>\n<seg id="2">Dva.</seg></p></ref>
<hyp system="X" language="cs"><p><seg id="1">x</seg>\n<seg id="2">y</seg>\n<seg id="3">z</seg></p></hyp>
</doc>
<doc id="b" origlang="en" testsuite="numbers" domain="news">
<src lang="en"><p><seg id="1">1 2 3</seg></p></src>
<ref lang="cs" translator="{first}"><p><seg id="1">1 2 3</seg></p></ref>
</doc>
<doc id="c" origlang="en" domain="news">
<src lang="en"><p><seg id="1">Three.</seg></p></src>
<ref lang="cs" translator="{first}"><p><seg id="1">Tři.</seg></p></ref>
<ref lang="cs" translator="{other}"><p><seg id="1">jiný 3</seg></p></ref>
<hyp system="X" language="cs"><p><seg id="1">w</seg></p></hyp>
</doc>"""
XML_PAIRS = [("One & only.", "Jeden & jediný."), ("Two.", "Dva."), ("Three.", "Tři.")]


def xml(first: str, other: str) -> bytes:
    docs = XML_DOCS.format(first=first, other=other)
    return f"<?xml version='1.0' encoding='utf-8'?>\n<dataset id=\"set\">{docs}\n</dataset>\n".encode()


@pytest.fixture(autouse=True)
def no_download(monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        pytest.fail("tried to download")

    monkeypatch.setattr(sacrebleu.dataset.base, "download_file", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("year", ["2016", "2017"])
def test_sgml(tmp_path, year):
    path = write_tgz(tmp_path / "a.tgz", {"test/other": b"", **sgml_members(year, SOURCE, TARGET)})
    found = read_testset(f"wmt{year[2:]}", path, "en", "de")
    assert (found.pairs, found.reference) == (AS_READ, "ref")


@pytest.mark.parametrize(
    ("name", "first", "other"),
    [("wmt21", "A", "B"), ("wmt21/AB", "A", "B"), ("wmt23", "refA", "refB")],  # AB allows both references
)
def test_xml_without_test_suites_and_with_the_first_scored_reference(tmp_path, name, first, other):
    path = write_tgz(tmp_path / "a.tgz", {"pax": b"", XML_MEMBERS[name.removesuffix("/AB")]: xml(first, other)})
    found = read_testset(name, path, "en", "cs")
    assert (found.pairs, found.reference) == (XML_PAIRS, f"ref:{first}")


def test_of_several_reference_files_the_first_is_taken(tmp_path):
    texts = dict(zip(DATASETS["wmt20/tworefs"].langpairs["de-en"], (["Eins."], ["One."], ["1."]), strict=True))
    path = write_tgz(tmp_path / "a.tgz", {name: sgml("set", text) for name, text in texts.items()})
    found = read_testset("wmt20/tworefs", path, "de", "en")
    assert (found.pairs, found.reference) == ([("Eins.", "One.")], "ref:0")


def test_sacrebleus_own_tables_are_unchanged(tmp_path):
    dataset = DATASETS["wmt17"]
    before = dict(vars(dataset))
    read_testset("wmt17", write_tgz(tmp_path / "a.tgz", sgml_members("2017", SOURCE, TARGET)), "en", "de")
    assert vars(dataset) == before


def test_nothing_is_written_to_the_home(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", sgml_members("2017", SOURCE, TARGET))
    (home := tmp_path / "home").mkdir()
    code = "from ekd_nmt.corpus.wmt_test_sets import read_testset\n"
    code += f"print(len(read_testset('wmt17', {str(path)!r}, 'en', 'de').pairs))"
    environment = {name: value for name, value in os.environ.items() if name != "SACREBLEU"} | {"HOME": str(home)}
    result = subprocess.run([sys.executable, "-c", code], cwd=SCRIPTS, env=environment, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("3\n", "")
    assert list(home.iterdir()) == []


def test_facts_of_the_archive():
    assert archive_facts("wmt17") == (DATASETS["wmt17"].data[0], "86a1724c276004aa25455ae2a04cef26")
    with pytest.raises(UserError, match=r"'wmt19/google/ar': is made of 2 files"):
        archive_facts("wmt19/google/ar")


# --- what is refused ---


def refused(path, name="wmt17", source_lang="en", target_lang="de") -> str:
    with pytest.raises(UserError) as caught:
        read_testset(name, path, source_lang, target_lang)
    return str(caught.value)


def test_an_unknown_test_set_or_language_pair(tmp_path):
    assert "'wmt99': sacreBLEU has none of this name; it has iwslt17, " in refused(tmp_path / "a", "wmt99")
    message = refused(tmp_path / "a", "wmt16", "de", "fr")
    assert message.startswith("test set 'wmt16': has no de-fr; it has cs-en, de-en, en-cs, en-de, ")


@pytest.mark.parametrize("lost", [["-src.en"], ["-ref.de"], ["-ref.de", "-src.en"]])
def test_an_archive_that_lacks_a_file(tmp_path, lost):
    members = sgml_members("2017", SOURCE, TARGET)
    for end in lost:
        del members[f"test/newstest2017-ende{end}.sgm"]
    names = ", ".join(f"test/newstest2017-ende{end}.sgm" for end in lost)
    path = write_tgz(tmp_path / "a.tgz", members)
    url, _ = archive_facts("wmt17")
    assert refused(path) == f"{path}: lacks {names}; take the archive of test set 'wmt17' ({url})"


@pytest.mark.parametrize(
    ("source", "target", "counts"),
    [(SOURCE, TARGET[:2], "3 source sentences and 2 in ref;"), ([], [], "0 source sentences and 0 in ref;")],
)
def test_sides_that_do_not_match(tmp_path, source, target, counts):
    path = write_tgz(tmp_path / "a.tgz", sgml_members("2017", source, target))
    assert f"{path}: en-de of test set 'wmt17' has {counts} the numbers must match" in refused(path)


def test_sgml_that_is_not_utf8(tmp_path):
    members = sgml_members("2017", SOURCE, TARGET)
    path = write_tgz(tmp_path / "a.tgz", {name: text.replace(b"\xc2\x85", b"\x85") for name, text in members.items()})
    assert "en-de of test set 'wmt17' is malformed (UnicodeDecodeError: " in refused(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"</dataset>", b"", "XMLSyntaxError: "),
        (b"<ref lang", b"<src lang", "XMLSyntaxError: "),
        (b'<src lang="en">', b'<src lang="xx">', "AssertionError: Multiple source languages"),
        (b' origlang="en"', b"", "KeyError: 'origlang'"),
        (b'<seg id="1">', b'<seg id="one">', "ValueError: "),
        (b"One &amp; only.", b"", "AttributeError: "),
    ],
)
def test_malformed_xml(tmp_path, old, new, problem):
    text = xml("A", "B").replace(old, new, 1)
    path = write_tgz(tmp_path / "a.tgz", {XML_MEMBERS["wmt21"]: text})
    message = refused(path, "wmt21", "en", "cs")
    assert message.startswith(f"{path}: en-cs of test set 'wmt21' is malformed ({problem}")
    assert message.endswith("; fetch it again")


def test_xml_without_the_scored_reference(tmp_path):
    path = write_tgz(tmp_path / "a.tgz", {XML_MEMBERS["wmt21"]: xml("C", "B")})
    message = refused(path, "wmt21", "en", "cs")
    assert f"{path}: en-cs of test set 'wmt21' has ref:B, ref:C but not ref:A; fetch it again" in message
