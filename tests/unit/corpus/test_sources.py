"""From which files each corpus is collected, and with what flags."""

import shlex

import pytest

from configurations import ROOT, experiment
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.manifest import load_manifest
from ekd_nmt.config.models import Data
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.sources import (
    bitexts,
    check_local_files,
    collect_flags,
    collected,
    input_files,
    is_held_out,
    iwslt14_archive,
)

MANIFEST = load_manifest(ROOT / "config/datasets.yaml")


def data(**options) -> Data:
    return Data(**options)


@pytest.mark.parametrize(
    ("options", "splits", "held_out"),
    [
        ({"corpus": "synthetic"}, (), False),
        ({"corpus": "iwslt14"}, (), False),
        ({"corpus": "multi30k"}, SPLITS, False),
        ({"corpus": "wmt17"}, SPLITS, False),
        ({"corpus": "tatoeba"}, ("all",), True),
        ({"corpus": "local", "local": {"train": ["a"]}}, ("all",), True),
        ({"corpus": "local", "local": {"train": ["a"], "valid": ["b"], "test": ["c"]}}, SPLITS, False),
    ],
)
def test_what_is_collected(options, splits, held_out):
    assert collected(data(**options), MANIFEST) == splits
    assert is_held_out(data(**options), MANIFEST) is held_out


def test_iwslt14_is_unpacked_by_its_recipe():
    assert iwslt14_archive(data(corpus="iwslt14"), MANIFEST) == "resources/iwslt14/de-en.tgz"
    assert iwslt14_archive(data(corpus="multi30k"), MANIFEST) is None
    assert iwslt14_archive(data(), MANIFEST) is None


def test_multi30k_in_either_direction():
    forward, backward = data(corpus="multi30k"), data(corpus="multi30k", source_lang="en", target_lang="de")
    files = ["resources/multi30k/val.de.gz", "resources/multi30k/val.en.gz"]
    assert input_files(forward, MANIFEST, "valid") == files
    assert collect_flags(forward, MANIFEST, "valid") == f"--texts val {' '.join(files)} --skip-malformed --expect 1014"
    assert collect_flags(backward, MANIFEST, "valid").split()[2:4] == files[::-1]


@pytest.mark.parametrize(
    ("corpus", "split", "languages", "expected"),
    [
        ("tatoeba", "all", ("de", "en"), ["--tsv deu-eng resources/tatoeba/deu-eng.zip::deu.txt 2,1"]),
        ("wmt17", "test", ("de", "en"), ["--test-set newstest2017 wmt17 resources/wmt17/newstest2017.tgz"]),
        ("wmt17", "valid", ("de", "en"), ["--test-set newstest2016 wmt16 resources/wmt17/newstest2016.tgz"]),
        (
            "wmt23",
            "train",
            ("en", "cs"),
            [
                "--tsv europarl-v10.cs-en resources/wmt23/europarl-v10.cs-en.tsv.gz 2,1",
                "--tsv news-commentary-v18.cs-en resources/wmt23/news-commentary-v18.cs-en.tsv.gz 2,1",
                "--texts training-parallel-commoncrawl "
                "resources/wmt23/training-parallel-commoncrawl.tgz::commoncrawl.cs-en.en "
                "resources/wmt23/training-parallel-commoncrawl.tgz::commoncrawl.cs-en.cs",
                "--tsv wikititles-v3.cs-en resources/wmt23/wikititles-v3.cs-en.tsv 2,1",
            ],
        ),
    ],
)
def test_what_collect_is_called_with(corpus, split, languages, expected):
    chosen = data(corpus=corpus, source_lang=languages[0], target_lang=languages[1])
    assert [" ".join(text.flag) for text in bitexts(chosen, MANIFEST, split)] == expected


def test_wmt_has_several_texts_and_a_file_is_needed_once():
    wmt = data(corpus="wmt17", source_lang="en", target_lang="de")
    assert input_files(wmt, MANIFEST, "train") == [
        "resources/wmt17/europarl-v7.de-en.tgz",
        "resources/wmt17/training-parallel-commoncrawl.tgz",
        "resources/wmt17/training-parallel-nc-v12.tgz",
        "resources/wmt17/rapid2016.tgz",
    ]
    words = shlex.split(collect_flags(wmt, MANIFEST, "train"))
    assert words.count("--texts") == 4
    assert "--expect" not in words
    first = words.index("--texts")
    assert words[first + 2].endswith("europarl-v7.de-en.tgz::europarl-v7.de-en.en")
    test = collect_flags(wmt, MANIFEST, "test")
    assert test == "--test-set newstest2017 wmt17 resources/wmt17/newstest2017.tgz --skip-malformed --expect 3004"


@pytest.mark.parametrize(
    ("local", "split", "flags"),
    [
        ({"train": ["a b.de", "c.en"]}, "all", "--texts all 'a b.de' c.en"),
        ({"train": ["a.tsv"], "columns": [3, 1]}, "all", "--tsv all a.tsv 3,1"),
        ({"train": ["a"], "valid": ["v.de", "v.en"], "test": ["t"]}, "valid", "--texts valid v.de v.en"),
        ({"train": ["a"], "valid": ["v.de", "v.en"], "test": ["t"]}, "test", "--tsv test t 1,2"),
        ({"train": ["my.zip::a/c.de", "my.zip::a/c.en"]}, "all", "--texts all my.zip::a/c.de my.zip::a/c.en"),
    ],
)
def test_ones_own_files(local, split, flags):
    """A broken line of one's own is to be fixed, so nothing is skipped."""
    own = data(corpus="local", local=local)
    assert collect_flags(own, {}, split) == flags
    assert ("my.zip" in flags) == (input_files(own, {}, split) == ["my.zip"])


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").touch()
    own = data(corpus="local", local={"train": ["here", "there"]})
    with pytest.raises(UserError, match=f"data.local.train: there is not a file; paths start in {tmp_path}"):
        check_local_files(own)
    with pytest.raises(UserError, match=r"data.local.train: a\{x\} has a brace in it"):
        check_local_files(data(corpus="local", local={"train": ["here", "a{x}"]}))
    (tmp_path / "there").touch()
    check_local_files(own)
    check_local_files(data(corpus="multi30k", local={"train": ["nowhere"]}))


@pytest.mark.parametrize(
    ("local", "message"),
    [
        ("{}", "data.local.train: is empty; name the two files of your text, source first, or one TSV"),
        ("{train: [a], valid: [b]}", "data.local.test: is empty but valid is given; name both, or neither"),
        ("{train: [a], test: [b]}", "data.local.valid: is empty but test is given; name both, or neither"),
        ("{train: [a], columns: [2, 2]}", "data.local.columns: 2 is both sides; name two columns"),
        ("{train: [a, a]}", "data.local.train: a is both sides; name two files, source first"),
        ("{train: [a, b, c]}", r"data.local.train: \['a', 'b', 'c'\] is not valid"),
    ],
)
def test_mistakes_in_the_configuration_of_ones_own_files(local, message):
    with pytest.raises(UserError, match=f"^{message}"):
        experiment(f"data: {{corpus: local, local: {local}}}")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("xx", "'xx' is no registered language code; use one such as de"),
        ("deu", "'deu' is usually written 'de'"),
        ("EN", "'EN' is usually written 'en'"),
    ],
)
def test_language_codes_of_ones_own_text(code, message):
    with pytest.raises(UserError, match=f"^data.source_lang: {message}"):
        experiment(f"data: {{corpus: local, source_lang: {code}, target_lang: fi, local: {{train: [a]}}}}")


def test_ones_own_text_may_be_in_any_two_languages():
    text = "data: {corpus: local, source_lang: fi, target_lang: sv, local: {train: [a]}}"
    assert experiment(text).sides("raw", "train") == (
        "results/demo/data/raw/train.fi",
        "results/demo/data/raw/train.sv",
    )
