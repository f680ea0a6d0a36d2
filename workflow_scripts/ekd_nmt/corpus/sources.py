"""How the raw text of an experiment comes about: from which files its corpus is collected, and how they are read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.manifest import Dataset, needed_files, parts

if TYPE_CHECKING:
    from ekd_nmt.config.models import Data

WHOLE = "all"  # a corpus without splits of its own is collected under this name, and then split


def is_made_at_once(data: Data) -> bool:
    """Whether one step makes all splits by itself: the generator, or the unpacking of IWSLT'14."""
    return data.corpus in ("synthetic", "iwslt14")


def is_held_out(data: Data) -> bool:
    """Whether validation and test set have to be held out of the corpus."""
    return data.corpus == "tatoeba" or (data.corpus == "local" and not data.local.valid)


def collected(data: Data) -> tuple[str, ...]:
    """What is collected from files: nothing, the three splits, or the whole."""
    if is_made_at_once(data):
        return ()
    return (WHOLE,) if is_held_out(data) else SPLITS


def input_files(data: Data, manifest: Mapping[str, Dataset], split: str) -> list[str]:
    """The files that hold a split of a collected corpus, or the whole."""
    if data.corpus == "local":
        return list(dict.fromkeys(_file(place) for place in _local(data, split)))
    return needed_files(manifest, data.corpus, split, data.source_lang, data.target_lang)


def collect_flags(data: Data, manifest: Mapping[str, Dataset], split: str) -> str:
    """Flags of ``collect.py`` for the shell: each text of the split and how it is read, and what is known of them."""
    if data.corpus == "local":
        files = _local(data, split)
        one_file = ["--tsv", split, *files, ",".join(map(str, data.local.columns))]
        return shlex.join(one_file if len(files) == 1 else ["--part", split, *files])
    found = parts(manifest, data.corpus, split, data.source_lang, data.target_lang)
    words = [word for part in found for word in part.flag]
    published = manifest[data.corpus].pairs.get(split)
    # what is published is as it is, broken lines included; a user's own file is to be mended
    return shlex.join([*words, "--skip-malformed", *(["--expect", str(published)] if published else [])])


def check_local_files(data: Data) -> None:
    """Tell of files that are not there before anything runs.

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
    """The file in which a text lies; ``ARCHIVE::MEMBER`` lies in the archive."""
    return place.split("::")[0]


def _local(data: Data, split: str) -> list[str]:
    return getattr(data.local, "train" if split == WHOLE else split)
