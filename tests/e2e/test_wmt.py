"""The presets of WMT on small files of the published names and layouts, from a mirror folder."""

import gzip
from pathlib import Path

import pytest
import yaml
from workflow import report, snakemake

from ekd_nmt.config.manifest import DataFile, load_manifest
from ekd_nmt.config.types import SPLITS
from iwslt14_archive import write_tgz
from project_copy import copy_project
from wmt_archives import sgml_members, xml_members

pytestmark = pytest.mark.slow

TARGET = {"wmt17": "de", "wmt23": "cs"}
PAIRS = 30  # of every file


def pairs_of(order: int) -> list[dict[str, str]]:
    """Sentences by language; no two files share one."""
    texts = [f"{order * 1000 + n} “things” are here…" for n in range(PAIRS)]
    return [{"en": f"English {text}", "de": f"Deutsch {text}", "cs": f"Česky {text}"} for text in texts]


def write_file(path: Path, file: DataFile, target: str, pairs: list[dict[str, str]]) -> None:
    """Write a file as the manifest describes it."""
    if file.members:
        members = {
            member: "".join(f"{pair[language]}\n" for pair in pairs).encode()
            for language, member in file.members.items()
        }
        write_tgz(path, members | {"another/file": b"\n"})
    elif file.columns:
        first, second = sorted(file.columns, key=file.columns.get)
        text = "".join(f"{pair[first]}\t{pair[second]}\n" for pair in pairs) + "a broken line\n\t\n"
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    else:
        sides = [[pair[language] for pair in pairs] for language in ("en", target)]
        name = file.test_set
        write_tgz(path, xml_members(name, *sides) if target == "cs" else sgml_members(f"20{name[-2:]}", *sides))


@pytest.mark.parametrize("name", ["wmt17", "wmt23"])
def test_preset_from_a_mirror_folder(tmp_path, name):
    clone = copy_project(tmp_path / "clone")
    path = clone / "config/datasets.yaml"
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    manifest[name].pop("pairs")
    for file in manifest[name]["files"]:
        for key in ("sha256", "md5", "bytes"):
            file.pop(key, None)
    path.write_text(yaml.safe_dump(manifest, allow_unicode=True), encoding="utf-8")
    files = load_manifest(path)[name].files
    (tmp_path / "mirror" / name).mkdir(parents=True)
    for order, file in enumerate(files):
        write_file(tmp_path / "mirror" / name / file.name, file, TARGET[name], pairs_of(order))

    small = ["data={shards: 3}", "bpe={merges: 50, workers: 1}"]
    options = ["data", "--configfile", f"config/{name}.yaml", "--config", *small]
    run = snakemake(clone, *options, EKD_DATA_MIRROR=str(tmp_path / "mirror"))
    assert run.returncode == 0, run.stderr

    data = clone / f"results/{name}/data"
    texts = sum(file.split == "train" for file in files)
    tables = sum(file.columns is not None for file in files)
    rows = report(data)
    # of each table a line without a tab is left out at once, and an empty pair by the filter
    assert int(rows["collect", "train", "", "lines_in"]) == texts * PAIRS + 2 * tables
    assert int(rows["collect", "train", "", "dropped: malformed"]) == tables
    assert int(rows["prepare", "train", "", "dropped: empty"]) == tables
    sizes = {split: len((data / f"tok/{split}.en").read_bytes().split(b"\n")) - 1 for split in SPLITS}
    assert sizes == {"train": texts * PAIRS, "valid": PAIRS, "test": PAIRS}
    for language, word in (("en", "English"), (TARGET[name], {"de": "Deutsch", "cs": "Česky"}[TARGET[name]])):
        first = (data / f"tok/train.{language}").read_text(encoding="utf-8").split("\n")[0]
        assert first == f"{word} 0 &quot; things &quot; are here ..."
    assert {value for key, value in rows.items() if key[0] == "overlap"} == {"0"}
