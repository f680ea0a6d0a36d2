"""Test sets of the layouts in which WMT publishes them, with text of the test's choice."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

XML_MEMBERS = {
    "wmt21": "test/newstest2021.en-cs.xml",
    "wmt23": "wmt23-news-systems-v.0.1/xml/wmttest2023.en-cs.all.xml",
}
FIRST_REFERENCE = {"wmt21": "A", "wmt23": "refA"}  # the one that sacrebleu scores with


def sgml(kind: str, sentences: Sequence[str]) -> bytes:
    """One side of a set until 2020; ``kind`` is srcset or refset."""
    segments = "".join(f'<seg id="{number}">{text}</seg>\n' for number, text in enumerate(sentences, start=1))
    docs = f'<doc docid="d" genre="news" origlang="en">\n<p>\n{segments}</p>\n</doc>\n'
    return f'<{kind} setid="a-set" srclang="any">\n{docs}</{kind}>\n'.encode()


def sgml_members(year: str, source: Sequence[str], target: Sequence[str]) -> dict[str, bytes]:
    """The members of both sides, English to German, in the archive of a year."""
    stem = f"test/newstest{year}-ende"
    return {f"{stem}-src.en.sgm": sgml("srcset", source), f"{stem}-ref.de.sgm": sgml("refset", target)}


def xml_members(name: str, source: Sequence[str], target: Sequence[str]) -> dict[str, bytes]:
    """The member of a set since 2021, English to Czech, with one document and its scored reference."""
    sides = [
        "".join(f'<seg id="{number}">{escape(text)}</seg>' for number, text in enumerate(side, start=1))
        for side in (source, target)
    ]
    document = f'<src lang="en">{sides[0]}</src><ref lang="cs" translator="{FIRST_REFERENCE[name]}">{sides[1]}</ref>'
    text = f'<dataset id="set"><doc id="a" origlang="en" domain="news">{document}</doc></dataset>'
    return {XML_MEMBERS[name]: f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()}
