"""Read WMT test sets as sacreBLEU reads them, from an archive that was downloaded before.

sacreBLEU has the URL of each test set, the files of each language pair, the readers of their formats, and the choice
among several references. It would also download the archive, unpack all of it without checks, and keep the text in the
user's home. Here its classes get the files they need in a temporary folder, read by ``archives.py``.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sacrebleu.dataset import DATASETS
from sacrebleu.dataset.base import Dataset
from sacrebleu.dataset.wmt_xml import WMTXMLDataset

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines
from ekd_nmt.corpus.archives import read_members

Pair = tuple[str, str]  # source and target sentence

# What sacreBLEU raises for a malformed file: it uses assertions and unchecked lookups. lxml raises a SyntaxError.
FORMAT_ERRORS = (SyntaxError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class TestSet:
    """Sentence pairs in the published order, and sacreBLEU's name of the reference that is their target side."""

    pairs: list[Pair]
    reference: str


def archive_facts(name: str) -> tuple[str, str]:
    """URL and MD5 of the archive in which a test set is published.

    Raises:
        UserError: sacreBLEU has no such test set, or it is not published as one archive.
    """
    dataset = _find(name)
    urls = dataset.data or []
    if len(urls) != 1 or not dataset.md5:
        raise UserError(f"test set {name!r}: is made of {len(urls)} files; take one that is a single archive")
    return urls[0], dataset.md5[0]


def read_testset(name: str, archive: str | Path, source_lang: str, target_lang: str) -> TestSet:
    """Read one language pair of a test set.

    Of several references, the first in sacreBLEU's list of allowed ones is used, or the first of the files if there is
    no such list.

    Args:
        name: as ``sacrebleu --list`` prints it, such as ``wmt16``.
        archive: the file at the URL of :func:`archive_facts`.
        source_lang: code of the source language, as in sacreBLEU's language pairs.
        target_lang: code of the target language.

    Raises:
        UserError: sacreBLEU has no such test set, the set has no such pair, or the archive is unreadable, unsafe
            (see :func:`archives.read_members`), lacks a file, or has a malformed one.
    """
    dataset = copy.copy(_find(name))
    langpair = f"{source_lang}-{target_lang}"
    if langpair not in dataset.langpairs:
        raise UserError(
            f"test set {name!r}: has no {langpair}; it has {', '.join(sorted(dataset.langpairs))}; "
            "fix the languages or take another test set"
        )
    with tempfile.TemporaryDirectory(prefix="testset.") as folder:
        dataset._outdir, dataset._rawdir = folder, str(Path(folder, "raw"))
        dataset.maybe_download = lambda: None  # type: ignore[method-assign]  # on this copy alone
        _write_raw_files(dataset, langpair, archive)
        try:
            fields = dict(zip(dataset.fieldnames(langpair), dataset.get_files(langpair), strict=True))
        except FORMAT_ERRORS as error:
            raise UserError(
                f"{archive}: {langpair} of test set {name!r} is malformed ({type(error).__name__}: {error}); "
                "fetch it again"
            ) from error
        reference = _reference(dataset, langpair, list(fields), archive)
        sides = [list(read_lines(fields[field])) for field in ("src", reference)]
    if len(sides[0]) != len(sides[1]) or not sides[0]:
        raise UserError(
            f"{archive}: {langpair} of test set {name!r} has {len(sides[0])} source sentences and {len(sides[1])} "
            f"in {reference}; the numbers must match and not be 0, so fetch it again"
        )
    return TestSet(list(zip(*sides, strict=True)), reference)


def _find(name: str) -> Dataset:
    if name not in DATASETS:
        raise UserError(f"test set {name!r}: sacreBLEU has none of this name; it has {', '.join(sorted(DATASETS))}")
    return DATASETS[name]


def _write_raw_files(dataset: Dataset, langpair: str, archive: str | Path) -> None:
    """Write the files of a language pair to ``dataset._rawdir``, where sacreBLEU would have unpacked them."""
    files = dataset.langpairs[langpair]
    names = {files["path"]} if isinstance(files, dict) else set(files)
    contents, _ = read_members(Path(archive), names)
    if missing := sorted(names - set(contents)):
        raise UserError(
            f"{archive}: lacks {', '.join(missing)}; "
            f"take the archive of test set {dataset.name!r} ({' '.join(dataset.data or [])})"
        )
    for name, content in contents.items():
        path = Path(dataset._rawdir, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _reference(dataset: Dataset, langpair: str, fields: list[str], archive: str | Path) -> str:
    present = [field for field in fields if field.startswith("ref")]
    allowed = dataset._get_langpair_allowed_refs(langpair) if isinstance(dataset, WMTXMLDataset) else present
    reference = next((field for field in allowed if field in present), None)
    if reference is None:
        raise UserError(
            f"{archive}: {langpair} of test set {dataset.name!r} has {', '.join(sorted(present)) or 'no reference'} "
            f"but not {' or '.join(allowed)}; fetch it again, or take another test set"
        )
    return reference
