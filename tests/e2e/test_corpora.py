"""The real workflow from a download or a user's files to the report of the data."""

import gzip
import hashlib
import json
import re
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from workflow import report, snakemake

from ekd_nmt.common.files import write_lines
from ekd_nmt.config.manifest import load_manifest
from ekd_nmt.config.types import SPLITS
from failing_server import ranged, serving, status
from iwslt14_archive import TEST_SETS, published_members, write_tgz
from project_copy import ROOT, copy_project

SMALL = "bpe={merges: 100}"
ADDED = re.findall(
    r"```yaml\n(.*?)```", (ROOT / "docs/data.md").read_text("utf-8"), re.DOTALL
)  # as docs/data.md adds them

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(tmp_path):
    return copy_project(tmp_path / "clone")


def lines(path: Path) -> list[str]:
    return path.read_bytes().decode().split("\n")[:-1]


def overlaps(rows: dict[tuple[str, ...], str]) -> dict[tuple[str, ...], int]:
    return {key: int(value) for key, value in rows.items() if key[0] == "overlap"}


def check_joins(folder: Path, sides: tuple[str, str] = ("de", "en")) -> None:
    """Both sides have the lines that the reports of the steps count, and no file of a shard remains."""
    for split in SPLITS:
        counts = json.loads((folder / f"tok/{split}.json").read_text())["accounts"][-1]
        for step in ("tok", "bpe"):
            assert {len(lines(folder / f"{step}/{split}.{side}")) for side in sides} == {counts["lines_out"]}
    assert not [path for path in folder.rglob("shards/**/*") if path.is_file()]


def manifest_with(clone: Path, dataset: str, url: str, content: bytes, pairs: dict[str, int]) -> None:
    """Let the manifest name a file that a test has made."""
    path = clone / "config/datasets.yaml"
    manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    (entry,) = manifest[dataset]["files"]
    entry |= {"url": url, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest[dataset]["pairs"] = pairs
    path.write_text(yaml.safe_dump(manifest, allow_unicode=True), encoding="utf-8")
    load_manifest(path)


def sentence(number: int) -> tuple[str, str]:
    return (
        f"Satz {number} &amp; „mehr“: wir haben {number}\u2028 z.B. gelacht usw.",
        f"Sentence {number} &amp; “more”: we had {number}\u2028 laughs, e.g. It’s fine etc.",
    )


def test_iwslt14_from_a_bad_server_to_the_report(clone, tmp_path):
    train = [pair for number in range(459) for pair in ([("", "lost")] if number % 50 == 7 else [sentence(number)])]
    tests = {
        name: [sentence(10_000 + 10 * order + number) for number in range(4)] for order, name in enumerate(TEST_SETS)
    }
    tests[TEST_SETS[0]].append(("", ""))
    content = write_tgz(tmp_path / "de-en.tgz", published_members(train, tests)).read_bytes()
    # the title and the description are two more pairs; ten of the others have an empty side
    sizes = {"train": 432, "valid": 19, "test": 21}
    with serving() as server:
        server.answers = [
            status(503),
            lambda handler: ranged(handler, content, send=len(content) // 2),
            lambda handler: ranged(handler, content),
        ]
        manifest_with(clone, "iwslt14", server.url, content, sizes)
        run = snakemake(clone, "data", "--configfile", "config/iwslt14.yaml", "--config", SMALL)
    assert run.returncode == 0, run.stderr
    assert len(server.requests) == 3
    assert server.requests[2][1].startswith("bytes=")

    data = clone / "results/iwslt14/data"
    assert {split: len(lines(data / f"raw/{split}.de")) for split in SPLITS} == sizes
    check_joins(data)
    assert lines(data / "tok/test.de")[0] == "satz 10000 &amp; amp ; „ mehr “ : wir haben 10000 z.b. gelacht usw ."
    assert lines(data / "raw/test.en")[0].startswith(
        "Sentence 10000 &amp; “more”: we had 10000\u2028 laughs, e.g. It's"
    )
    rows = report(data)
    assert rows["unpack", "", "", "dropped: empty"] == "10"
    assert rows["split", "train", "", "expected"] == rows["split", "train", "", "lines_out"] == "432"


def test_tatoeba_keeps_every_sentence_in_one_split(clone, tmp_path):
    pairs = [(f"Dies ist Satz Nummer {n}.", f"This is sentence number {n}.") for n in range(300)]
    pairs += [("Hallo!", f"Hello there {n}!") for n in range(30)]  # one group, too large to be held out
    pairs += [(f"Hallo {n}!", f"hello, there {n}") for n in range(0, 30, 3)]  # of the same group by their targets
    pairs += pairs[:20]  # duplicates
    text = "".join(f"{english}\t{german}\n" for german, english in pairs)
    mirror = tmp_path / "mirror"
    (mirror / "tatoeba").mkdir(parents=True)
    with zipfile.ZipFile(mirror / "tatoeba/deu-eng.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_about.txt", "about")
        archive.writestr("deu.txt", text)
    content = (mirror / "tatoeba/deu-eng.zip").read_bytes()
    manifest_with(clone, "tatoeba", "http://127.0.0.1:9/deu-eng.zip", content, {"all": len(pairs)})
    sizes = "data={holdout: {valid_size: 40, test_size: 40}}"
    target = "results/tatoeba/data/report.csv"
    arguments = [target, "--configfile", "config/tatoeba.yaml", "--config", sizes, SMALL]
    run = snakemake(clone, *arguments, EKD_DATA_MIRROR=str(mirror))
    assert run.returncode == 0, run.stderr

    data = clone / "results/tatoeba/data"
    check_joins(data)
    assert {split: len(lines(data / f"raw/{split}.de")) for split in SPLITS} == {"train": 280, "valid": 40, "test": 40}
    raw = {
        split: list(zip(lines(data / f"raw/{split}.de"), lines(data / f"raw/{split}.en"), strict=True))
        for split in SPLITS
    }
    assert Counter(pair for split in SPLITS for pair in raw[split]) == Counter(pairs)
    assert sum("Hallo" in pair[0] for pair in raw["train"]) == 40
    rows = report(data)
    assert set(overlaps(rows).values()) == {0}
    assert len(overlaps(rows)) == 9  # three pairs of splits: source, target, both sides
    duplicates = 20 - sum(count - 1 for split in ("valid", "test") for count in Counter(raw[split]).values())
    assert int(rows["join", "train", "", "dropped: duplicate"]) == duplicates
    assert not (data / "raw/all.de").exists()


def add_corpus(clone: Path, entry: str, *configuration: str, **files: bytes) -> subprocess.CompletedProcess[str]:
    """Append an entry to the manifest of a clone, put its files into a mirror folder, and run ``data``."""
    name = next(iter(yaml.safe_load(entry)))
    with (clone / "config/datasets.yaml").open("a", encoding="utf-8") as manifest:
        manifest.write(f"\n{entry}")
    for file, content in files.items():
        path = clone / "mirror" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    options = ["--configfile", "config/tatoeba.yaml", "--config", f"experiment={name}", *configuration, SMALL]
    return snakemake(clone, "data", *options, EKD_DATA_MIRROR=str(clone / "mirror"))


def test_an_added_corpus_in_a_table_of_an_archive(clone):
    pairs = [(f"Satu numero {n}.", f"Saga nummer {n}.") for n in range(300)]
    with zipfile.ZipFile(clone / "fi-sv.zip", "w") as archive:
        archive.writestr("tales.tsv", "".join(f"{finnish}\tid\t{swedish}\n" for finnish, swedish in pairs))
    data = "data={corpus: fairytales, source_lang: fi, target_lang: sv, holdout: {valid_size: 40, test_size: 30}}"
    run = add_corpus(clone, ADDED[0], data, **{"fi-sv.zip": (clone / "fi-sv.zip").read_bytes()})
    assert run.returncode == 0, run.stderr
    results = clone / "results/fairytales/data"
    check_joins(results, ("fi", "sv"))
    assert [len(lines(results / f"raw/{split}.fi")) for split in SPLITS] == [230, 40, 30]
    raw = [[line for split in SPLITS for line in lines(results / f"raw/{split}.{side}")] for side in ("fi", "sv")]
    assert sorted(zip(*raw, strict=True)) == sorted(pairs)
    assert (results / "report.html").is_file()


def test_an_added_corpus_with_a_file_a_side(clone):
    sizes, files, pairs = {"train": 100, "more": 80, "dev": 60, "test": 50}, {}, {}
    for name, size in sizes.items():
        pairs[name] = [(f"Laulu {name} {n}.", f"Visa {name} {n}.") for n in range(size)]
        for side, language in enumerate(("fi", "sv")):
            text = "".join(f"{pair[side]}\n" for pair in pairs[name])
            files[f"{name}.{language}.gz"] = gzip.compress(text.encode())
    data = "data={corpus: songs, source_lang: sv, target_lang: fi}"
    run = add_corpus(clone, ADDED[1], data, **files)
    assert run.returncode == 0, run.stderr
    results = clone / "results/songs/data"
    check_joins(results, ("sv", "fi"))
    assert lines(results / "raw/train.fi") == [finnish for finnish, _ in pairs["train"] + pairs["more"]]
    assert lines(results / "raw/valid.sv") == [swedish for _, swedish in pairs["dev"]]
    rows = report(results)
    assert rows["collect", "train", "", "part: more"] == "80"
    assert rows["collect", "test", "", "expected"] == "50"


def test_ones_own_text_in_two_files(clone):
    """As docs/own-data.md describes, but compressed, from Windows, and with other names."""
    folder = clone / "my_text"
    folder.mkdir()
    pairs = [(f"Mein Satz {n} hat {n % 7} Wörter.", f"My sentence {n} has {n % 7} words.") for n in range(400)]
    for side, name in enumerate(("a.gz", "b.gz")):
        text = "\ufeff" + "".join(f"{pair[side]}\r\n" for pair in pairs)
        (folder / name).write_bytes(gzip.compress(text.encode()))
    own = "data={local: {train: [my_text/a.gz, my_text/b.gz]}, holdout: {valid_size: 30, test_size: 20}}"
    run = snakemake(clone, "data", "--configfile", "config/local.yaml", "--config", own, SMALL)
    assert run.returncode == 0, run.stderr
    data = clone / "results/local/data"
    check_joins(data)
    assert sorted(line for split in SPLITS for line in lines(data / f"raw/{split}.en")) == sorted(p[1] for p in pairs)
    assert set(overlaps(report(data)).values()) == {0}


def test_ones_own_splits_as_tsv_and_training_sentences_of_the_test_set(clone):
    folder = clone / "my_text"
    folder.mkdir()
    sets = {"train": range(0, 200), "valid": range(190, 210), "test": range(195, 225)}
    for split, numbers in sets.items():
        write_lines(folder / f"{split}.tsv", [f"id{n}\tThing {n} here.\tDing {n} da.\tnote" for n in numbers])
    local = {split: [f"my_text/{split}.tsv"] for split in sets} | {"columns": [3, 2]}
    run = snakemake(
        clone, "data", "--configfile", "config/local.yaml", "--config", f"data={json.dumps({'local': local})}", SMALL
    )
    assert run.returncode == 0, run.stderr
    data = clone / "results/local/data"
    check_joins(data)
    assert lines(data / "tok/train.de") == [f"Ding {n} da ." for n in range(190)]
    rows = report(data)
    assert rows["prepare", "train", "", "dropped: in valid or test"] == "10"
    found = {key[1]: value for key, value in overlaps(rows).items() if key[2:] == ("", "pairs")}
    assert set(found.values()) == {0, 15}, "validation and test set share pairs, and the report shows it"
