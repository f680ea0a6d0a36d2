"""The manifest of data sets: the project's own, and what is said about a bad one."""

from pathlib import Path

import pytest
import yaml

from cli import UserError
from fetch import find_entry, load_manifest

ROOT = Path(__file__).parents[2]


def test_the_projects_manifest_is_well_formed():
    manifest = load_manifest(ROOT / "config" / "datasets.yaml")
    names = {f"{split}.{language}.gz" for split in ("train", "val", "test_2016_flickr") for language in ("de", "en")}
    assert {item.name for item in manifest["multi30k"].files} == names
    assert {item.name for item in manifest["iwslt14"].files} == {"de-en.tgz"}
    files = [item for dataset in manifest.values() for item in dataset.files]
    assert all(item.bytes and item.url.endswith(item.name) for item in files)
    assert [item.name for item in files if not item.sha256] == ["de-en.tgz"]  # its publisher gives none


@pytest.mark.parametrize(
    ("dataset", "file", "message"),
    [
        ("multi31k", "train.de.gz", "data set 'multi31k' is not in the manifest; it has: iwslt14, multi30k"),
        ("multi30k", "train.fr.gz", "file 'train.fr.gz' is not in data set 'multi30k'; it has: .*train.de.gz"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(dataset, file, message):
    with pytest.raises(UserError, match=message):
        find_entry(load_manifest(ROOT / "config" / "datasets.yaml"), dataset, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "123"}, r"set\.files\.0\.sha256: String should match"),
        ({"checksum": "1"}, r"set\.files\.0\.checksum: Extra inputs are not permitted"),
        ({"name": "../x"}, r"set\.files\.0\.name: String should match"),
        ({"url": "file:///etc/passwd"}, r"set\.files\.0\.url: String should match"),
    ],
)
def test_a_bad_manifest_entry_is_named(tmp_path, change, message):
    files = [{"name": "a", "url": "https://example.org/a"} | change]
    content = {"set": {"licence": "l", "citation": "c", "home": "h", "files": files}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        load_manifest(tmp_path / "m.yaml")


def test_a_manifest_that_is_not_yaml_is_told(tmp_path):
    (tmp_path / "m.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"m\.yaml: is not YAML"):
        load_manifest(tmp_path / "m.yaml")
