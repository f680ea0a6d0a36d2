"""An archive of the layout in which IWSLT'14 German-English is published, with text of the test's choice."""

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

PAIR = "de-en"
TEST_SETS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
Pairs = Sequence[tuple[str, str]]  # German and English


def train_tags(sentences: Iterable[str], title: str) -> bytes:
    """One talk: metadata, title and description, then a sentence a line with spaces around it."""
    return "".join(
        [
            "<url>http://www.ted.com/talks/lang/de/a_talk.html</url>\n",
            "<keywords>talks, music, technology</keywords>\n",
            "<talkid>12</talkid>\n",
            f"<title>{title}</title>\n",
            f"<description>TED Talk: {title}.</description>\n",
            *(f" {sentence} \n" for sentence in sentences),
        ]
    ).encode()


def segments_xml(sentences: Iterable[str]) -> bytes:
    """A test set with the metadata and mark-up around its segments; an empty sentence is an empty segment."""
    segments = (
        f'<seg id="{number}"> {text} </seg>\n' if text else f'<seg id="{number}"></seg>\n'
        for number, text in enumerate(sentences, start=1)
    )
    return "".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>\n<mteval>\n<srcset setid="a-set" srclang="German">\n',
            '<doc docid="69" genre="lectures">\n<url>http://www.ted.com/talks/a_talk</url>\n',
            "<description>not in the test set</description>\n<title>nor this</title>\n<talkid>69</talkid>\n",
            *segments,
            "</doc>\n</srcset>\n</mteval>\n",
        ]
    ).encode()


def published_members(train: Pairs, tests: Mapping[str, Pairs]) -> dict[str, bytes]:
    """Name → content of the archive's members; the title and its description are two more training pairs."""
    members = {f"{PAIR}/README": b"German-English\n"}
    for side, language in enumerate(("de", "en")):
        title = ("Über Musik", "On music")[side]
        members[f"{PAIR}/train.tags.{PAIR}.{language}"] = train_tags([pair[side] for pair in train], title)
        for name in TEST_SETS:
            member = f"{PAIR}/IWSLT14.{name}.{PAIR}.{language}.xml"
            members[member] = segments_xml([pair[side] for pair in tests[name]])
    return members


def write_tgz(path: Path, members: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    """Write a ``.tgz`` of a folder and files, then ``others``, which have no content (links, devices)."""
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo(PAIR)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
        for item in others:
            archive.addfile(item)
    return path
