"""The manifest's entries of published corpora agree with those of mtdata and sacrebleu. Needs no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.dataset import DATASETS

from ekd_nmt.config.manifest import load_manifest

FILES = [
    (name, item)
    for name, dataset in load_manifest(Path(__file__).parents[3] / "config" / "datasets.yaml").items()
    for item in dataset.files
]
INDEXED = [pytest.param(item, id=f"{name}-{item.name}") for name, item in FILES if item.mtdata]
TEST_SETS = [pytest.param(item, id=f"{name}-{item.name}") for name, item in FILES if item.test_set]

# Importing mtdata.index builds and caches an index of 290,000 entries. This replaces that module by a stand-in and lets
# mtdata's own code load the entries of one group into it.
DUMP = r"""
import importlib, json, sys, types
import mtdata
from mtdata.entry import DatasetId, Entry
from mtdata.iso.bcp47 import bcp47

class Index:
    def __init__(self):
        self.entries = []
    def add_entry(self, entry):
        self.entries.append(entry)
    def __add__(self, entry):
        self.add_entry(entry)
        return self

stand_in = types.ModuleType("mtdata.index")
stand_in.__path__ = [mtdata.__path__[0] + "/index"]
stand_in.Entry, stand_in.Index, stand_in.DatasetId, stand_in.bcp47 = Entry, Index, DatasetId, bcp47
sys.modules["mtdata.index"] = stand_in
index = Index()
importlib.import_module("mtdata.index." + sys.argv[1]).load_all(index)
entries = {
    str(entry.did): {
        "url": entry.url,
        "in_paths": entry.in_paths,
        "columns": entry.cols or (0, 1),  # mtdata's reader of TSV takes the first two, in the order of the languages
        "languages": [str(language) for language in entry.did.langs],
    }
    for entry in index.entries
}
codes = {code: str(bcp47(code)) for code in ("cs", "de", "en")}
json.dump({"entries": entries, "codes": codes}, sys.stdout)
"""


@pytest.fixture(scope="module")
def mtdata(tmp_path_factory):
    """Entries of the group Statmt by id, and mtdata's codes for our languages."""
    folder = tmp_path_factory.mktemp("mtdata")
    environment = os.environ | {"MTDATA": str(folder / "cache"), "HOME": str(folder)}
    command = [sys.executable, "-c", DUMP, "statmt"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert result.returncode == 0, result.stderr
    assert list(folder.iterdir()) == []  # nothing was cached
    return json.loads(result.stdout)


def without_scheme(url: str) -> str:
    return url.split("://")[1]


def test_the_index_has_the_group_of_every_id(mtdata):
    assert len(mtdata["entries"]) > 1000
    assert {item.mtdata.split("-")[0] for _, item in FILES if item.mtdata} == {"Statmt"}


@pytest.mark.parametrize("item", INDEXED)
def test_an_id_has_the_same_url_and_texts(mtdata, item):
    published = mtdata["entries"][item.mtdata]
    assert without_scheme(published["url"]) == without_scheme(item.url)
    if item.members:
        texts = dict(zip(published["languages"], published["in_paths"], strict=True))
        assert {mtdata["codes"][language]: member for language, member in item.members.items()} == texts
    else:
        assert item.columns
        assert item.member is None
        columns = {name: place + 1 for name, place in zip(published["languages"], published["columns"], strict=True)}
        assert {mtdata["codes"][language]: column for language, column in item.columns.items()} == columns


def test_files_without_id_are_not_in_the_index(mtdata):
    indexed = {without_scheme(entry["url"]) for entry in mtdata["entries"].values() if isinstance(entry["url"], str)}
    plain = [item for _, item in FILES if not item.mtdata and not item.test_set]
    assert [item.url for item in plain if without_scheme(item.url) in indexed] == []


@pytest.mark.parametrize("item", TEST_SETS)
def test_a_test_set_is_the_archive_that_sacrebleu_verifies(item):
    known = DATASETS[item.test_set]
    assert (known.data, known.md5) == ([item.url], [item.md5])


@pytest.mark.parametrize(("dataset", "pair"), [("wmt17", "de-en"), ("wmt23", "en-cs")])
def test_the_test_sets_of_a_data_set_have_its_languages(dataset, pair):
    names = [item.test_set for name, item in FILES if name == dataset and item.test_set]
    assert len(names) == 2
    assert all(pair in DATASETS[name].langpairs for name in names)
