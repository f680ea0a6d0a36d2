"""The manifest of public corpora, ``config/datasets.yaml``: where each file comes from and where its text is.

A corpus is an entry: its directions, its files, and for each file the split and how the text is laid out in it. Adding
one is described in ``docs/data.md``.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256

MANIFEST = Path(__file__).parents[3] / "config/datasets.yaml"
RESOURCES = "resources"  # the folder of downloads, {RESOURCES}/{data set}/{file}
WHOLE = "all"  # the split of a corpus from which the workflow holds out validation and test set
LAYOUTS = ("members", "columns", "side", "test_set")
ENDINGS = re.compile(r"(\.(tar|tsv|txt))?\.(tgz|tar|zip|gz|bz2|xz|zst|tsv|txt)$")
NOT_PUBLISHED = ("synthetic", "local")  # values of data.corpus that are not in the manifest

Split = Literal["train", "valid", "test", "all"]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
Direction = Annotated[str, Field(pattern=r"^[a-z]{2,3}-[a-z]{2,3}$")]
DatasetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class DataFile(BaseModel):
    """One file of a data set, as its publisher serves it, and where the text of its languages is."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$")
    url: str = Field(pattern=r"^https?://")
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    md5: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    bytes: int | None = Field(default=None, gt=0)
    mtdata: str | None = Field(default=None, description="id of exactly this URL in the index of mtdata")
    split: Split | None = Field(default=None, description="what its text is for; `all`: the workflow splits it")
    members: dict[Language, Annotated[str, Field(min_length=1)]] | None = Field(
        default=None, description="texts inside an archive: name, or pattern that one name matches", min_length=2
    )
    columns: dict[Language, Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="columns of tab-separated values, from 1", min_length=2
    )
    member: str | None = Field(default=None, min_length=1, description="the member of an archive that has the columns")
    side: Language | None = Field(default=None, description="the file is the text of this one language")
    test_set: str | None = Field(default=None, description="the file is the archive of this test set of sacrebleu")
    recipe: Literal["iwslt14"] | None = Field(
        default=None, description="all three splits are made from this file, by unpack_iwslt14"
    )

    @model_validator(mode="after")
    def _one_layout(self) -> DataFile:
        given = [key for key in (*LAYOUTS, "recipe") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: one file has one layout; keep one of them")
        if (bool(given) and self.recipe is None) != (self.split is not None):
            raise ValueError(f"split: goes together with one of {', '.join(LAYOUTS)}; give both or neither")
        if self.member is not None and self.columns is None:
            raise ValueError("member: says where the columns are; give columns too")
        if self.columns is not None and len(set(self.columns.values())) < len(self.columns):
            raise ValueError("columns: two languages have the same column")
        return self

    @property
    def label(self) -> str:
        """Short name of the text: the file's name without its endings, and without its language if it is one side."""
        stem = ENDINGS.sub("", self.name)
        return stem.removesuffix(f".{self.side}") if self.side else stem

    @property
    def languages(self) -> set[str]:
        """The languages that the entry names; none for a test set or a recipe."""
        return {self.side} if self.side else set(self.members or self.columns or ())


class Dataset(BaseModel):
    """A corpus of the manifest: its terms, its directions, its published sizes and its files."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    licence: str
    citation: str
    home: str
    directions: list[Direction] = Field(default=[], description="of translation: source-target; none: no text yet")
    pairs: dict[Split, Annotated[int, Field(gt=0)]] = Field(default={}, description="published numbers of pairs")
    files: list[DataFile]

    @model_validator(mode="after")
    def _files_belong_together(self) -> Dataset:
        for name, count in Counter(file.name for file in self.files).items():
            if count > 1:
                raise ValueError(f"files: {count} of them have the name {name!r}")
        if WHOLE in self.splits and len(self.splits) > 1:
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
            languages = set().union(*(file.languages for file in files))
            for direction in self.directions if languages else ():
                if missing := set(direction.split("-")) - languages:
                    raise ValueError(
                        f"directions: {direction}, but {files[0].name} has no text in {min(missing)!r}, "
                        f"only in {', '.join(sorted(languages))}"
                    )
        return self

    @model_validator(mode="after")
    def _text_is_complete(self) -> Dataset:
        if self.recipe and (self.splits or sum(file.recipe is not None for file in self.files) > 1):
            raise ValueError(f"files: {self.recipe.name!r} gives all splits by its recipe; leave other texts out")
        if missing := {"train", "valid", "test"} - self.splits if self.splits - {WHOLE} else ():
            raise ValueError(f"files: no text for {', '.join(sorted(missing))}; add it, or give all texts split: all")
        if bool(self.splits or self.recipe) != bool(self.directions):
            raise ValueError(
                "directions: go together with texts; name them as [de-en, en-de], and a split of each file"
            )
        return self

    @property
    def splits(self) -> set[str]:
        """The splits that files are for."""
        return {file.split for file in self.files if file.split is not None}

    @property
    def recipe(self) -> DataFile | None:
        """The file from which a recipe makes all splits, if there is one."""
        return next((file for file in self.files if file.recipe is not None), None)


def load_manifest(path: str | Path = MANIFEST) -> dict[str, Dataset]:
    """Read the manifest: corpus name → :class:`Dataset`.

    Raises:
        UserError: the file cannot be read, is not YAML, or an entry is invalid (the key is named).
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        manifest = TypeAdapter(dict[DatasetName, Dataset]).validate_python(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check --manifest") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({error}); fix it at that place") from error
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}"
        raise UserError(f"{path}: {message}; fix that entry") from error
    for name in NOT_PUBLISHED:
        if name in manifest:
            raise UserError(f"{path}: {name}: data.corpus: {name} is no download; choose another name for this entry")
    return manifest


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
    """How a file differs from its manifest entry, or ``None`` if it does not."""
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
    """How a file that matches its manifest entry was verified."""
    known = entry.sha256 or entry.md5
    return "verified" if known else f"no checksum known, its sha256 is {sha256(path)}"


def _md5(path: Path) -> str:
    with open(path, "rb") as handle:  # against damage, not attack; hence allowed where MD5 is switched off
        return hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
