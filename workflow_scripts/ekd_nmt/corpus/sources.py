"""Where the raw text of an experiment comes from: the steps that make it, the files they read, the flags of collect."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.manifest import RESOURCES, WHOLE, DataFile, Dataset, Split
from ekd_nmt.config.models import Data
from ekd_nmt.config.types import SPLITS

Manifest = Mapping[str, Dataset]


class Bitext(NamedTuple):
    """A parallel text of a split: the words of the command line of ``collect.py``, and the files that it is in."""

    flag: list[str]
    files: list[str]


def iwslt14_archive(data: Data, manifest: Manifest) -> str | None:
    """The archive from which ``unpack_iwslt14`` makes all splits, if this is such a corpus."""
    file = manifest[data.corpus].recipe if data.corpus in manifest else None
    return None if file is None else _download(data, file)


def is_held_out(data: Data, manifest: Manifest) -> bool:
    """Whether the validation and test set are held out of the corpus by ``split``."""
    if data.corpus == "local":
        return not data.local.valid
    return data.corpus in manifest and WHOLE in manifest[data.corpus].splits


def collected(data: Data, manifest: Manifest) -> tuple[str, ...]:
    """The splits that ``collect`` makes: the three, the whole corpus, or none if another step makes all at once."""
    if data.corpus == "synthetic" or iwslt14_archive(data, manifest):
        return ()
    return (WHOLE,) if is_held_out(data, manifest) else SPLITS


def bitexts(data: Data, manifest: Manifest, split: str) -> list[Bitext]:
    """The parallel texts of a split of a collected corpus, or of the whole, in order."""
    languages = (data.source_lang, data.target_lang)
    if data.corpus == "local":
        places = getattr(data.local, "train" if split == WHOLE else split)
        files = [_file(place) for place in places]
        if len(places) == 1:
            return [Bitext(["--tsv", split, *places, ",".join(map(str, data.local.columns))], files)]
        return [Bitext(["--texts", split, *places], files)]
    found: dict[str, Bitext] = {}
    entries = [entry for entry in manifest[data.corpus].files if entry.split == split]
    for entry in entries:
        path = _download(data, entry)
        if entry.members is not None:
            places = [f"{path}::{entry.members[language]}" for language in languages]
            text = Bitext(["--texts", entry.label, *places], [path])
        elif entry.columns is not None:
            place = path if entry.member is None else f"{path}::{entry.member}"
            columns = ",".join(str(entry.columns[language]) for language in languages)
            text = Bitext(["--tsv", entry.label, place, columns], [path])
        elif entry.test_set is not None:
            text = Bitext(["--test-set", entry.label, entry.test_set, path], [path])
        else:
            sides = {file.side: _download(data, file) for file in entries if file.label == entry.label}
            paths = [sides[language] for language in languages]
            text = Bitext(["--texts", entry.label, *paths], paths)
        found.setdefault(entry.label, text)
    return list(found.values())


def input_files(data: Data, manifest: Manifest, split: str) -> list[str]:
    """The files that hold a split of a collected corpus, or the whole; each once."""
    return list(dict.fromkeys(file for text in bitexts(data, manifest, split) for file in text.files))


def collect_flags(data: Data, manifest: Manifest, split: Split) -> str:
    """Flags of ``collect.py`` for the shell: the texts of the split and what is published about them."""
    words = [word for text in bitexts(data, manifest, split) for word in text.flag]
    if data.corpus != "local":  # published text is taken as it is, broken lines included; one's own is to be fixed
        published = manifest[data.corpus].pairs.get(split)
        words += ["--skip-malformed", *(["--expect", str(published)] if published else [])]
    return shlex.join(words)


def check_local_files(data: Data) -> None:
    """Check that the user's own files exist, before anything runs.

    Raises:
        UserError: names the key and the file.
    """
    if data.corpus == "local":
        for split in SPLITS:
            for path in map(_file, getattr(data.local, split)):
                if "{" in path or "}" in path:
                    raise UserError(
                        f"data.local.{split}: {path} has a brace in it, which Snakemake interprets; rename it"
                    )
                if not os.path.isfile(path):
                    raise UserError(f"data.local.{split}: {path} is not a file; paths start in {os.getcwd()}")


def _file(place: str) -> str:
    """The file that a text is in; ``ARCHIVE::MEMBER`` is in the archive."""
    return place.split("::")[0]


def _download(data: Data, file: DataFile) -> str:
    return f"{RESOURCES}/{data.corpus}/{file.name}"
