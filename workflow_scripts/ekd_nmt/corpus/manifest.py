"""The manifest of public data sets: where each file comes from, how to know it, and where the text lies in it.

A file says what it is for with ``split``, and how its text is laid out with one of ``members``, ``columns``, ``side``
and ``testset``. :func:`parts` turns that into what ``collect.py`` is called with, for one direction of translation. A
file without them has a step of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256

RESOURCES = "resources"  # the folder of downloads, {RESOURCES}/{data set}/{file}
LAYOUTS = ("members", "columns", "side", "testset")
ENDINGS = re.compile(r"(\.(tar|tsv|txt))?\.(tgz|tar|zip|gz|bz2|xz|zst|tsv|txt)$")

Value = TypeVar("Value")
Split = Literal["train", "valid", "test", "all"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class DataFile(BaseModel):
    """One file of a data set, as its publisher serves it, and where the text of its languages lies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    url: str = Field(pattern=r"^https?://")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    bytes: int | None = Field(default=None, gt=0)
    mtdata: str | None = Field(default=None, description="id of exactly this URL in the index of mtdata")
    split: Split | None = Field(default=None, description="what its text is for; `all`: the workflow splits it")
    members: dict[Language, Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="texts inside an archive: name, or pattern that one name fits", min_length=2
    )
    columns: dict[Language, Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="columns of tab-separated values, from 1", min_length=2
    )
    member: str | None = Field(default=None, min_length=1, description="the member of an archive that `columns` means")
    side: Language | None = Field(default=None, description="the file is the text of this one language")
    testset: str | None = Field(default=None, description="the file is the archive of this test set of sacrebleu")

    @model_validator(mode="after")
    def _one_layout(self) -> DataFile:
        given = [key for key in LAYOUTS if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: one file has one layout; keep one of them")
        if bool(given) != (self.split is not None):
            raise ValueError(f"split: goes together with one of {', '.join(LAYOUTS)}; give both or neither")
        if self.member is not None and self.columns is None:
            raise ValueError("member: says where the columns lie; give columns too")
        if self.columns is not None and len(set(self.columns.values())) < len(self.columns):
            raise ValueError("columns: two languages have the same column")
        return self

    @property
    def label(self) -> str:
        """Short name of the text: the file's name without its endings, and without its language if it is one side."""
        stem = ENDINGS.sub("", self.name)
        return stem.removesuffix(f".{self.side}") if self.side else stem


class Dataset(BaseModel):
    """A data set of the manifest: its terms, its published sizes and its files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    licence: str
    citation: str
    home: str
    pairs: dict[Split, Annotated[int, Field(gt=0)]] = Field(default={}, description="published numbers of pairs")
    files: list[DataFile]

    @model_validator(mode="after")
    def _files_belong_together(self) -> Dataset:
        for name, count in Counter(file.name for file in self.files).items():
            if count > 1:
                raise ValueError(f"files: {count} of them have the name {name!r}")
        splits = {file.split for file in self.files} - {None}
        if "all" in splits and len(splits) > 1:
            raise ValueError("files: split all next to others would put a sentence pair into two splits")
        labels: dict[str, list[DataFile]] = defaultdict(list)
        for file in self.files:
            labels[file.label].append(file)
        for label, files in labels.items():
            sides = [file.side for file in files]
            if sides == [files[0].side] and sides[0] is not None:
                raise ValueError(f"files: {files[0].name!r} is one side, and {files[0].split} has no other side of it")
            if len(files) > 1 and (None in sides or len({file.split for file in files}) > 1):
                raise ValueError(f"files: {files[0].name!r} and {files[1].name!r} are both called {label!r} for short")
            if len(set(sides)) < len(sides):
                raise ValueError(f"files: {label!r} has two files of one side")
        return self


class Part(NamedTuple):
    """One text of a split: a flag of ``collect.py`` is ``--{kind} {label} {arguments}``."""

    label: str
    kind: Literal["part", "tsv", "testset"]
    arguments: list[str]
    files: list[str]  # the downloads that the arguments lie in

    @property
    def flag(self) -> list[str]:
        """The words of the command line."""
        return [f"--{self.kind}", self.label, *self.arguments]


def load_manifest(path: str | Path) -> dict[str, Dataset]:
    """Read the manifest: data set name → :class:`Dataset`.

    Raises:
        UserError: the file cannot be read, is not YAML, or an entry is not as it should be (the key is named).
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return TypeAdapter(dict[DatasetName, Dataset]).validate_python(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check --manifest") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({error}); mend it at that place") from error
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(f"{path}: {message}; mend that entry") from error


def find_dataset(manifest: Mapping[str, Dataset], dataset: str) -> Dataset:
    """Look up one data set; :class:`UserError` lists those there are."""
    if dataset not in manifest:
        raise UserError(f"data set {dataset!r} is not in the manifest; it has: {', '.join(sorted(manifest))}")
    return manifest[dataset]


def find_entry(manifest: Mapping[str, Dataset], dataset: str, file: str) -> DataFile:
    """Look up one file.

    Raises:
        UserError: the manifest has no such data set or file; the message lists those it has.
    """
    files = {entry.name: entry for entry in find_dataset(manifest, dataset).files}
    if file not in files:
        raise UserError(f"file {file!r} is not in data set {dataset!r}; it has: {', '.join(sorted(files))}")
    return files[file]


def mismatch(path: Path, entry: DataFile) -> str | None:
    """Say how a file differs from its manifest entry, or return ``None`` when it does not."""
    size = path.stat().st_size
    if entry.bytes is not None and size > entry.bytes:
        return f"more than the {entry.bytes} bytes that the manifest gives"
    if entry.bytes is not None and size < entry.bytes:
        return f"{size} bytes instead of {entry.bytes}"
    if entry.sha256 is not None and (actual := sha256(path)) != entry.sha256:
        return f"sha256 {actual} instead of {entry.sha256}"
    if entry.md5 is not None and (actual := _md5(path)) != entry.md5:
        return f"md5 {actual} instead of {entry.md5}"
    return None


def verdict(path: Path, entry: DataFile) -> str:
    """Say how a file that does not differ from its manifest entry is known to be the right one."""
    known = entry.sha256 or entry.md5
    return "verified" if known else f"no checksum known, its sha256 is {sha256(path)}"


def parts(
    manifest: Mapping[str, Dataset], dataset: str, split: Split, source_lang: str, target_lang: str
) -> list[Part]:
    """The texts of a split, in the order of the manifest; empty if no file is described as being for that split.

    Raises:
        UserError: there is no such data set, or a file of the split lacks one of the languages.
    """
    found: dict[str, Part] = {}
    for entry in find_dataset(manifest, dataset).files:
        if entry.split == split and entry.label not in found:
            found[entry.label] = _part(manifest[dataset], dataset, entry, (source_lang, target_lang))
    return list(found.values())


def needed_files(
    manifest: Mapping[str, Dataset], dataset: str, split: Split, source_lang: str, target_lang: str
) -> list[str]:
    """Paths of the downloads that :func:`parts` names, each once; raises as it does."""
    found = parts(manifest, dataset, split, source_lang, target_lang)
    return list(dict.fromkeys(path for part in found for path in part.files))


def _part(content: Dataset, dataset: str, entry: DataFile, languages: tuple[str, str]) -> Part:
    def choose(values: Mapping[str, Value]) -> Iterator[Value]:
        for language in languages:
            if language not in values:
                raise UserError(
                    f"data set {dataset!r}: {entry.name} has no text in {language!r}, only in "
                    f"{', '.join(sorted(values))}; mend data.source_lang and data.target_lang"
                )
            yield values[language]

    path = f"{RESOURCES}/{dataset}/{entry.name}"
    if entry.members is not None:
        return Part(entry.label, "part", [f"{path}::{member}" for member in choose(entry.members)], [path])
    if entry.columns is not None:
        place = path if entry.member is None else f"{path}::{entry.member}"
        return Part(entry.label, "tsv", [place, ",".join(map(str, choose(entry.columns)))], [path])
    if entry.testset is not None:
        return Part(entry.label, "testset", [entry.testset, path], [path])
    sides = {file.side: f"{RESOURCES}/{dataset}/{file.name}" for file in content.files if file.label == entry.label}
    paths = list(choose(sides))
    return Part(entry.label, "part", paths, list(paths))


def _md5(path: Path) -> str:
    with open(path, "rb") as handle:  # against damage, not attack; hence allowed where MD5 is switched off
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
