"""The manifest of corpora: the project's own, and the errors about a bad one."""

import hashlib
from pathlib import Path

import pytest
import yaml

from configurations import experiment
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.manifest import DataFile, find_entry, load_manifest, mismatch

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def projects():
    return load_manifest(ROOT / "config" / "datasets.yaml")


def described(**changes) -> dict:
    return {"name": "a", "url": "https://example.org/a"} | changes


def side(language: str, name: str = "a", split: str = "train", ending: str = "gz") -> dict:
    return described(name=f"{name}.{language}.{ending}", split=split, side=language)


def load(folder: Path, *files: dict, **changes):
    content = {"set": {"licence": "l", "citation": "c", "home": "h", "files": list(files)} | changes}
    (folder / "m.yaml").write_text(yaml.safe_dump(content))
    return load_manifest(folder / "m.yaml")


# The project's own


def test_the_projects_manifest_has_the_published_data_sets(projects):
    assert set(projects) == {"multi30k", "iwslt14", "tatoeba", "wmt17", "wmt23"}
    assert projects["multi30k"].pairs == {"train": 29000, "valid": 1014, "test": 1000}
    assert projects["iwslt14"].pairs == {"train": 160239, "valid": 7283, "test": 6750}
    assert projects["tatoeba"].pairs == {"all": 169813}
    assert all(dataset.licence and dataset.citation and dataset.home for dataset in projects.values())


def test_a_name_here_has_the_ending_of_the_published_file(projects):
    files = [item for dataset in projects.values() for item in dataset.files]
    assert [item.name for item in files if not item.url.endswith(item.name.split(".")[-1])] == []


def test_files_without_checksum_are_those_whose_publisher_gives_none(projects):
    files = [(name, item) for name, dataset in projects.items() for item in dataset.files]
    assert {(name, item.name) for name, item in files if not (item.sha256 or item.md5)} == {
        ("iwslt14", "de-en.tgz"),
        ("wmt17", "europarl-v7.de-en.tgz"),
        ("wmt23", "europarl-v10.cs-en.tsv.gz"),
        ("wmt23", "news-commentary-v18.cs-en.tsv.gz"),
        ("wmt23", "wikititles-v3.cs-en.tsv"),
    }


def test_one_archive_in_two_data_sets_is_described_alike(projects):
    by_url = {}
    for item in (item for dataset in projects.values() for item in dataset.files):
        known = (item.sha256, item.md5, item.bytes)
        assert by_url.setdefault(item.url, known) == known


@pytest.mark.parametrize(
    ("dataset", "file", "message"),
    [
        ("wmt18", "a", "data set 'wmt18' is not in the manifest; it has: iwslt14, multi30k, tatoeba, wmt17, wmt23"),
        ("multi30k", "train.fr.gz", "file 'train.fr.gz' is not in data set 'multi30k'; it has: .*train.de.gz"),
    ],
)
def test_unknown_names_are_reported_with_the_known_ones(projects, dataset, file, message):
    with pytest.raises(UserError, match=message):
        find_entry(projects, dataset, file)


# One that a user writes


@pytest.mark.parametrize(
    ("name", "label"),
    [("a.b-c.tar.gz", "a.b-c"), ("v.1.tsv.xz", "v.1"), ("x.txt", "x"), ("plain", "plain"), ("n.de.zip", "n.de")],
)
def test_labels_are_names_without_endings(name, label):
    assert DataFile(**described(name=name)).label == label


COLUMNS = {"columns": {"de": 1, "en": 2}}
SIDES = [side("de"), side("en")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "123"}, r"\.sha256: String should match"),
        ({"md5": "123"}, r"\.md5: String should match"),
        ({"checksum": "1"}, r"\.checksum: Extra inputs are not permitted"),
        ({"name": "../x"}, r"\.name: String should match"),
        ({"url": "file:///etc/passwd"}, r"\.url: String should match"),
        ({"bytes": "1000"}, r"\.bytes: Input should be a valid integer"),
        ({"split": "dev", "test_set": "wmt16"}, r"\.split: Input should be 'train', 'valid', 'test' or"),
        ({"split": "train"}, "split: goes together with one of members, columns, side, test_set"),
        ({"test_set": "wmt16"}, "split: goes together with one of"),
        ({"split": "test", "test_set": "wmt16", "side": "de"}, "side and test_set: one file has one"),
        ({"split": "train", "members": {"de": "x"}}, r"\.members: Dictionary should have at least 2"),
        ({"split": "train", "columns": {"de": 0, "en": 1}}, r"\.columns\.de: Input should be greater"),
        ({"split": "train", "columns": {"de": 1, "en": 1}}, "columns: two languages have the same"),
        ({"split": "train", "columns": {"German": 1, "en": 2}}, r"\.columns\.German.*: String should"),
        ({"split": "test", "test_set": "wmt16", "member": "x"}, "member: says where the columns are"),
    ],
)
def test_a_bad_file_is_named(tmp_path, change, message):
    with pytest.raises(UserError, match=rf"set\.files\.0(: )?{message}.*; fix that entry"):
        load(tmp_path, described(**change))


@pytest.mark.parametrize(
    ("files", "changes", "message"),
    [
        ([described(), described()], {}, "files: 2 of them have the name 'a'"),
        (SIDES[:1], {}, r"files: 'a\.de\.gz' is one side, and train has no other side of it"),
        ([side("de"), side("en", name="b")], {}, r"files: 'a\.de\.gz' is one side, and train has no other"),
        ([side("de"), side("en", split="valid")], {}, r".*'a\.de\.gz' and 'a\.en\.gz' are both called 'a' for short"),
        ([*SIDES, side("en", ending="xz")], {}, "files: 'a' has two files of one side"),
        (
            [described(name=name, split="train", **COLUMNS) for name in ("a.tsv", "a.tsv.gz")],
            {},
            r".*'a\.tsv' and 'a\.tsv\.gz' are both called 'a' for short",
        ),
        (
            [described(name=name, split=name, **COLUMNS) for name in ("all", "test")],
            {},
            "files: split all next to others would put a sentence pair into two splits",
        ),
        (
            [described(split="all", **COLUMNS), described(name="b", recipe="iwslt14")],
            {},
            "files: 'b' gives all splits by its recipe; leave other texts out",
        ),
        (SIDES, {}, "files: no text for test, valid; add it, or give all texts split: all"),
        ([described(split="all", **COLUMNS)], {}, "directions: go together with texts"),
        (
            SIDES,
            {"directions": ["de-fr"]},
            r"directions: de-fr, but a\.de\.gz has no text in 'fr', only in de, en",
        ),
        (
            [described(split="all", **COLUMNS)],
            {"directions": ["fr-de"]},
            "directions: fr-de, but a has no text in 'fr', only in de, en",
        ),
        (
            [described(split="all", members={"de": "x", "en": "y"})],
            {"directions": ["de-cs"]},
            "directions: de-cs, but a has no text in 'cs', only in de",
        ),
        ([described(split="all", **COLUMNS)], {"directions": ["de"]}, r"directions\.0: String should match pattern"),
        ([described()], {"directions": ["de-en"]}, "directions: go together with texts; name them as"),
        ([], {"pairs": {"dev": 3}}, r"pairs\.dev.*: Input should be 'train', 'valid', 'test' or 'all'"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path, files, changes, message):
    with pytest.raises(UserError, match=rf"set(\.|: ){message}"):
        load(tmp_path, *files, **changes)


EMPTY = "{licence: l, citation: c, home: h, files: []}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read \(No such file or directory\)"),
        ("a: [", "is not YAML"),
        (f"local: {EMPTY}", "local: .*; choose another name"),
        (f"synthetic: {EMPTY}", "synthetic: .*; choose another name"),
        (f"../set: {EMPTY}", r"\.\./set.*: String should match"),
    ],
    ids=["missing", "not YAML", "local", "synthetic", "no name of a folder"],
)
def test_a_bad_manifest_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "m.yaml").write_text(content)
    with pytest.raises(UserError, match=rf"m\.yaml: {message}"):
        load_manifest(tmp_path / "m.yaml")


# Verification


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_every_sum_that_is_given_is_compared(tmp_path, algorithm):
    path = tmp_path / "a"
    path.write_bytes(b"text")
    sums = {name: hashlib.new(name, b"text").hexdigest() for name in ("sha256", "md5")}
    assert mismatch(path, DataFile(**described(bytes=4, **sums))) is None
    wrong = hashlib.new(algorithm, b"other").hexdigest()
    found = mismatch(path, DataFile(**described(**sums | {algorithm: wrong})))
    assert found == f"{algorithm} {sums[algorithm]} instead of {wrong}"


@pytest.mark.parametrize(("size", "problem"), [(5, "4 bytes instead of 5"), (3, "more than the 3 bytes")])
def test_a_wrong_size_is_reported_before_sums_are_computed(tmp_path, size, problem):
    (tmp_path / "a").write_bytes(b"text")
    assert mismatch(tmp_path / "a", DataFile(**described(bytes=size, sha256="0" * 64))).startswith(problem)


# The corpus of an experiment


@pytest.mark.parametrize(
    ("files", "directions", "message"),
    [
        ([described(split="all", columns={"cz": 1, "en": 2})], ["cz-en"], "data.source_lang: 'cz' is no registered"),
        ([described()], [], "data: the corpus 'set' has no cz to en; it has no text"),
    ],
)
def test_a_corpus_that_cannot_be_used(tmp_path, monkeypatch, files, directions, message):
    manifest = load(tmp_path, *files, directions=directions)
    monkeypatch.setattr("ekd_nmt.config.experiment.load_manifest", lambda: manifest)
    with pytest.raises(UserError, match=f"^{message}"):
        experiment("data: {corpus: set, source_lang: cz}")
