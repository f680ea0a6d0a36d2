"""split.py: no sentence is in two splits, sizes are exact, the choice depends on seed and text only."""

import errno
import itertools
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from unicodedata import category, normalize

import numpy as np
import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import SPLITS
from split import choose, connect, digest, read_keys, sentence_key, split_corpus

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "split.py"
INNER = "a\u2028b\u0085c\x0cd\re\x1cf"


def write(folder: Path, pairs: list[tuple[str, str]]) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    sides = {"de": folder / "corpus.de", "en": folder / "corpus.en"}
    for path, sentences in zip(sides.values(), zip(*pairs, strict=True), strict=True):
        path.write_bytes("".join(f"{sentence}\n" for sentence in sentences).encode())
    return sides


def read(folder: Path) -> dict[str, list[tuple[str, str]]]:
    def lines(split, language):
        return (folder / f"{split}.{language}").read_bytes().decode().split("\n")[:-1]

    return {split: list(zip(lines(split, "de"), lines(split, "en"), strict=True)) for split in SPLITS}


def divide(folder: Path, pairs: list[tuple[str, str]], valid: int, test: int, seed: int = 1):
    stats = split_corpus(write(folder / "in", pairs), {"valid": valid, "test": test}, seed, folder / "out")
    assert json.loads((folder / "out" / "stats.json").read_text()) == stats
    return read(folder / "out"), stats


def singles(count: int, prefix: str = "") -> list[tuple[str, str]]:
    return [(f"{prefix} deutsch {number}", f"{prefix} english {number}") for number in range(count)]


# --- an independent check of what the module promises ---


def plain_key(sentence: str) -> str:
    folded = normalize("NFKC", sentence).casefold()
    kept = "".join(character for character in folded if category(character)[0] in "LNM")
    return kept or "".join(normalize("NFKC", sentence).split())


def plain_groups(pairs: list[tuple[str, str]]) -> list[list[int]]:
    """Connected pairs, by union-find over the pairs themselves; every pair with an empty side is left out."""
    parents = list(range(len(pairs)))

    def root(pair):
        while parents[pair] != pair:
            pair = parents[pair]
        return pair

    first = {}
    whole = [number for number, pair in enumerate(pairs) if all(map(plain_key, pair))]
    for number in whole:
        for side in (0, 1):
            parents[root(number)] = root(first.setdefault((side, plain_key(pairs[number][side])), number))
    members = defaultdict(list)
    for number in whole:
        members[root(number)].append(number)
    return list(members.values())


def assert_no_sentence_crosses(splits):
    home = {}
    for split, pairs in splits.items():
        for pair in pairs:
            for side, sentence in enumerate(pair):
                if key := plain_key(sentence):
                    assert home.setdefault((side, key), split) == split, sentence


def random_corpus(seed: int) -> list[tuple[str, str]]:
    """Sentences that recur in several spellings, some without letters, some empty."""
    dice = random.Random(seed)
    spellings = ["{}", "{}.", "» {} «", "{}\u2028", "\ufeff{}", "\u3000{}\u0085!"]
    words = ["Straße", "STRASSE", "ﬁn", "Fin", "Ö", "o\u0308", "ten", "１０", "10", "कि", "क"]

    def sentence():
        if (fate := dice.random()) < 0.03:
            return dice.choice(["", " ", "\u2028", "\r"])
        if fate < 0.08:
            return dice.choice(["?!", "…", "...", "? !", "♥"])
        text = f"{dice.choice(words)} {dice.randrange(120)}"
        return dice.choice(spellings).format(dice.choice([text, text.upper()]))

    return [(sentence(), sentence()) for _ in range(400)] + singles(60, "Nur einmal")


@pytest.mark.parametrize("seed", range(12))
def test_no_sentence_crosses_and_nothing_is_lost(tmp_path, seed):
    pairs = random_corpus(seed)
    splits, stats = divide(tmp_path, pairs, valid=17, test=23, seed=seed)
    assert_no_sentence_crosses(splits)
    assert (len(splits["valid"]), len(splits["test"])) == (17, 23)

    home = {pair: split for split in SPLITS for pair in splits[split]}
    assert {split: [pair for pair in pairs if home[pair] == split] for split in SPLITS} == splits  # order, duplicates

    groups = plain_groups(pairs)
    counts = Counter(home[pairs[group[0]]] for group in groups)
    assert stats["groups"] == {"count": len(groups), "largest": max(map(len, groups))} | counts
    assert max(map(len, groups)) > 10, "no group worth the name; the corpus tests nothing"


def test_the_checker_itself_sees_a_leak():
    with pytest.raises(AssertionError):
        assert_no_sentence_crosses({"train": [("Hallo!", "x")], "test": [("hallo", "y")]})


# --- keys ---


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello!", "hello"),
        ("It's 5 o'clock.", "ITS 5 OCLOCK"),
        ("geht´s", "geht's"),
        ("Straße", "STRASSE"),
        ("Ä\u2028b", "a\u0308b"),
        ("ΐ", "Ϊ́"),
        ("\u1fb4", "α\u0345\u0301"),
        ("１２ ﬁsh", "12 FISH"),
        ("I ❤\ufe0f you", "I ❤ you"),
        ("❤\ufe0f", "❤"),
        ("? !", "?!"),
        ("…", "..."),
        ("\ufeffa\u200bb\u00ad", "AB"),
    ],
)
def test_sentences_that_are_the_same(one, other):
    assert sentence_key(one) == sentence_key(other) != b""


def test_sentences_that_differ():
    sentences = ["a", "b", "a1", "a2", "Öl", "Ol", "कि", "क", "我", "你", "?!", "?", "❤\ufe0f", "☀\ufe0f"]
    sentences += ["❤\u20dd", "☀\u20dd"]  # symbols with an enclosing mark: no letter, so the whole text counts
    assert len({sentence_key(sentence) for sentence in sentences}) == len(sentences)


@pytest.mark.parametrize("sentence", ["", " ", "\r", "\u2028", "\u3000\t\u0085", "\u200b", "\ufeff"])
def test_sentences_without_text_have_no_key(sentence):
    assert sentence_key(sentence) == b""
    assert digest(sentence_key(sentence)) == bytes(8)


def test_the_fast_path_for_ascii_gives_the_same_key():
    dice = random.Random(1)
    for _ in range(300):
        sentence = "".join(map(chr, dice.choices(range(128), k=dice.randrange(12))))
        assert sentence_key(sentence) == sentence_key(f"{sentence}\u3000")  # what a wide space adds is not kept


# --- groups ---


@pytest.mark.parametrize("seed", range(5))
def test_groups_do_not_depend_on_the_order_of_the_corpus(tmp_path, seed):
    pairs = random_corpus(seed)
    described = []
    for corpus in (pairs, random.Random(seed).sample(pairs, len(pairs))):
        groups = connect(read_keys(*write(tmp_path, corpus).values()))
        assert len(set(groups.names.tolist())) == len(groups.names)
        columns = (array.tolist() for array in (groups.names, groups.sizes, groups.bound))
        described.append(sorted(zip(*columns, strict=True)))
    assert described[0] == described[1]


@pytest.mark.parametrize("half", [("Deutsch 3!", ""), (" ", "ENGLISH 3")])
def test_a_pair_with_an_empty_side_keeps_its_group_in_training(tmp_path, half):
    pairs = [*singles(4), half, ("", "\r")]
    for seed in range(8):
        splits, stats = divide(tmp_path, pairs, valid=1, test=2, seed=seed)
        assert {*pairs[3:]} == {*splits["train"]}
        assert stats["groups"] == {"count": 4, "largest": 1, "train": 1, "valid": 1, "test": 2}


def test_empty_sentences_join_no_groups(tmp_path):
    pairs = [*singles(30), *((f"nur deutsch {number}", "") for number in range(30))]
    splits, stats = divide(tmp_path, pairs, valid=10, test=10)
    assert stats["groups"] == {"count": 30, "largest": 1, "train": 10, "valid": 10, "test": 10}
    assert splits["train"][-30:] == pairs[30:]


# --- the choice ---


def test_the_choice_depends_on_the_seed_alone(tmp_path):
    pairs = random_corpus(3)
    splits, _ = divide(tmp_path / "a", pairs, 20, 20)
    again, _ = divide(tmp_path / "b", pairs, 20, 20)
    other, _ = divide(tmp_path / "c", pairs, 20, 20, seed=2)
    shuffled, _ = divide(tmp_path / "d", random.Random(7).sample(pairs, len(pairs)), 20, 20)
    assert again == splits
    counts = [[Counter(chosen[split]) for split in SPLITS] for chosen in (splits, shuffled, other)]
    assert counts[0] == counts[1] != counts[2]


def test_a_corpus_that_grows_keeps_most_of_its_test_set(tmp_path):
    before, _ = divide(tmp_path / "a", singles(2000), 200, 200)
    after, _ = divide(tmp_path / "b", singles(2000) + singles(200, "neu"), 200, 200)
    kept = len(set(before["test"]) & set(after["test"]))
    assert 160 <= kept < 200  # 10% more pairs: about 18 of 200 are replaced


@pytest.mark.parametrize(("wanted", "limit"), [(1, 1), (199, 1), (200, 2), (1000, 10)])
def test_a_large_group_is_never_held_out(wanted, limit):
    sizes = np.array([limit + 1, limit] + [1] * 2 * wanted)
    chosen = choose(sizes, np.arange(len(sizes)), {"test": wanted, "valid": 1})
    assert [SPLITS[split] for split in chosen[:2]] == ["train", "test"]
    assert sizes[chosen == SPLITS.index("test")].sum() == wanted


def test_a_group_that_does_not_fit_stays_for_the_next_split():
    sizes = np.array([1] * 299 + [2, 2, 2] + [1] * 400)
    chosen = choose(sizes, np.arange(len(sizes)), {"test": 300, "valid": 400})
    by_split = {split: sizes[chosen == number] for number, split in enumerate(SPLITS)}
    assert by_split["test"].tolist() == [1] * 300
    assert by_split["valid"].tolist() == [2, 2, 2] + [1] * 394


@pytest.mark.parametrize(
    ("sizes", "test", "valid", "message"),
    [
        ([2] * 150, 201, 1, "--test-size 201: only 200 can be held out, from groups of at most 2 pairs"),
        ([1] * 5 + [2] * 9, 4, 3, "--valid-size 3: only 1 can be held out"),
    ],
)
def test_sizes_that_cannot_be_filled(sizes, test, valid, message):
    with pytest.raises(UserError, match=message):
        choose(np.array(sizes), np.arange(len(sizes)), {"test": test, "valid": valid})


# --- text, files and errors ---


def test_lines_end_at_newline_alone(tmp_path):
    pairs = [(f"{INNER}{number}", f"{number}{INNER}") for number in range(9)]
    splits, stats = divide(tmp_path, pairs, valid=2, test=3)
    assert sorted(pair for split in splits.values() for pair in split) == sorted(pairs)
    assert stats["accounts"] == [
        {"step": "split", "split": split, "lines_in": lines, "lines_out": lines, "dropped": {}}
        for split, lines in (("train", 4), ("valid", 2), ("test", 3))
    ]
    assert stats["pairs"] == 9


def call(folder: Path, sides: dict[str, Path], **changes: object) -> subprocess.CompletedProcess[str]:
    flags = {"source": sides["de"], "target": sides["en"], "source-lang": "de", "target-lang": "en"}
    flags |= {"valid-size": 2, "test-size": 3, "seed": 1, "output-dir": folder / "out"} | changes
    command = [sys.executable, SCRIPT, *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]
    return subprocess.run(command, capture_output=True, text=True)


def test_command_line_writes_seven_files(tmp_path):
    pairs = random_corpus(1)
    result = call(tmp_path, write(tmp_path, pairs), seed=-4)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    names = {f"{split}.{language}" for split in SPLITS for language in ("de", "en")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"stats.json"}
    expected, _ = divide(tmp_path, pairs, valid=2, test=3, seed=-4)
    assert read(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("source", "target", "changes", "message"),
    [
        (b"a\n" * 7, b"b\n" * 9, {}, r"\S+corpus.de has 7 lines but \S+corpus.en has 9; "),
        (b"a\n" * 9, b"", {}, r"\S+corpus.de has 9 lines but \S+corpus.en has 0; "),
        (b"", b"", {}, r"\S+corpus.de and \S+corpus.en are empty; there is nothing to split"),
        (b"1\n2\n3\n4\n5", b"1\n2\n3\n4\n5\n", {}, r"--test-size 3 and --valid-size 2 leave no training pair: .* 5"),
        (b"1\n2\n3\n4\n5\n", b"1\n2\n3\n4\n\n", {"valid-size": 1}, r"--test-size 3 .* 4 pairs with text on both sides"),
        (b"a\n" * 9, b"b\n" * 9, {}, r"--test-size 3: only 0 can be held out"),
        (b"1\n" * 9, b"1\n\xff\n", {}, r"\S+corpus.en, line 2: not UTF-8"),
        (b"1\n" * 9, b"1\n" * 9, {"source": "missing"}, "missing: cannot be read"),
        (b"1\n" * 9, b"1\n" * 9, {"valid-size": 0}, "--valid-size 0: must be at least 1"),
        (b"1\n" * 9, b"1\n" * 9, {"test-size": -1}, "--test-size -1: must be at least 1"),
        (b"1\n" * 9, b"1\n" * 9, {"target-lang": "de"}, "--source-lang and --target-lang are both de"),
    ],
)  # fmt: skip
def test_command_line_refuses_in_one_line(tmp_path, source, target, changes, message):
    sides = {"de": tmp_path / "corpus.de", "en": tmp_path / "corpus.en"}
    sides["de"].write_bytes(source)
    sides["en"].write_bytes(target)
    result = call(tmp_path, sides, **changes)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert re.match(f"error: {message}", result.stderr)
    assert not (tmp_path / "out").exists()


def test_the_corpus_is_not_overwritten(tmp_path):
    sides = write(tmp_path, singles(9))
    sides["en"] = sides["en"].rename(tmp_path / "valid.en")
    with pytest.raises(UserError, match=r"valid\.en would be overwritten; name another folder"):
        split_corpus(sides, {"valid": 1, "test": 1}, 1, tmp_path / "in" / "..")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.de", "valid.en"]


@pytest.mark.parametrize("lines", [8, 10])
def test_a_corpus_that_changes_between_the_readings(tmp_path, monkeypatch, lines):
    sides = write(tmp_path, singles(9))

    def read_then_change(*paths):
        keys = read_keys(*paths)
        write(tmp_path, singles(lines))
        return keys

    monkeypatch.setattr("split.read_keys", read_then_change)
    with pytest.raises(UserError, match="other lines when read for the second time; name files, not pipes"):
        split_corpus(sides, {"valid": 1, "test": 1}, 1, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("room", [0, 3, 6])
def test_a_full_disk_leaves_no_file(tmp_path, monkeypatch, room):
    files = itertools.count()

    def full_after_some_files(descriptor):
        if next(files) >= room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sides = write(tmp_path, singles(9))
    monkeypatch.setattr("os.fsync", full_after_some_files)
    with pytest.raises(OSError, match="No space left"):
        split_corpus(sides, {"valid": 1, "test": 1}, 1, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
