"""The generated corpus as a whole: reproducible, disjoint, Zipfian, translatable, and the command line."""

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import generate as command
from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import read_lines
from synthetic import corpus as corpora
from synthetic.corpus import distinct_pairs, generate, zipf_slope
from synthetic.dice import Dice
from synthetic.grammar import Grammar, Pair, render
from synthetic.lexicon import Lexicon

SCRIPT = Path(command.__file__)
SMALL = {"train_size": 300, "valid_size": 30, "test_size": 40, "lexicon": 300}


def flags(folder, **options):
    named = {**SMALL, "seed": 1, **options}
    return [*(f"--{name.replace('_', '-')}={value}" for name, value in named.items()), f"--output-dir={folder}"]


def call(folder, **options):
    return subprocess.run([sys.executable, SCRIPT, *flags(folder, **options)], capture_output=True, text=True)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def large():
    """20,000 pairs of the default lexicon."""
    return generate({"train": 18_500, "valid": 500, "test": 1_000}, 1, 1_500, 1.0)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = call(tmp_path / folder, seed=seed)
        assert result.returncode == 0, result.stderr
        assert len(result.stderr.splitlines()) == 1
    first, again, other = (contents(tmp_path / folder) for folder in "abc")
    assert first == again
    assert set(first) == {f"{split}.{side}" for split in ("train", "valid", "test") for side in ("de", "en")} | {
        "stats.json"
    }
    for name, content in first.items():
        assert content != other[name]
    assert not set(first["train.de"].splitlines()) & set(other["train.de"].splitlines())


def test_a_larger_training_set_keeps_the_other_splits():
    small, larger = (generate({"train": size, "valid": 20, "test": 30}, 5, 300, 1.0) for size in (50, 200))
    assert small["test"] == larger["test"]
    assert small["valid"] == larger["valid"]
    assert small["train"] == larger["train"][:50]


def test_no_sentence_occurs_twice_in_either_language(large):
    pairs = [pair for split in large.values() for pair in split]
    assert {split: len(members) for split, members in large.items()} == {"train": 18_500, "valid": 500, "test": 1_000}
    assert len({pair.source.lower() for pair in pairs}) == len(pairs) == 20_000
    assert len({pair.target.lower() for pair in pairs}) == len(pairs)


def test_sentences_look_like_raw_text(large):
    for pair in large["train"]:
        assert pair.source[-1] == pair.target[-1]
        assert pair.source[-1] in ".?"
        for text in (pair.source, pair.target):
            assert text[0].isupper()
            assert text == " ".join(text.split())
            assert not any(double in text for double in (",,", ",.", ",?", " ,", " .", "can not"))
            words = [word.strip(",.?") for word in text.split()]
            assert not any(first == "a" and second[0] in "aeiou" for first, second in itertools.pairwise(words))


def test_cannot_is_one_word_everywhere():
    assert render(["you", "can", "not", "sing", "."]) == "You cannot sing."


def test_the_translation_is_a_function_of_the_source():
    """Undistinguished pairs of a tiny, steep vocabulary: the same sentence comes up often, its translation is one."""
    dice = Dice(1)
    grammar = Grammar(Lexicon(200, 3.0, dice), dice)
    translations: dict[str, set[str]] = {}
    draws = 15_000
    for _ in range(draws):
        pair = grammar.pair()
        translations.setdefault(pair.source.lower(), set()).add(pair.target.lower())
    assert draws - len(translations) > 200  # enough repetitions for the test to be able to fail
    assert {source: found for source, found in translations.items() if len(found) > 1} == {}


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_lemma_frequencies_follow_the_requested_exponent(exponent):
    """Mixing kinds of different size, function-word-like repetition and rejected draws bend the line a little."""
    drawn = generate({"train": 5_000, "valid": 1, "test": 1}, 3, 600, exponent)
    counts = Counter(key for pair in drawn["train"] for key in pair.lexemes)
    frequencies = np.array(sorted((count for count in counts.values() if count >= 5), reverse=True))
    slope = np.polyfit(np.log(np.arange(1, len(frequencies) + 1)), np.log(frequencies), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.3)
    assert zipf_slope(counts.values()) == pytest.approx(slope)


def test_slope_of_an_exact_power_law():
    assert zipf_slope([1000 / rank**2 for rank in range(1, 11)]) == pytest.approx(-2)
    assert zipf_slope([7]) is None
    assert zipf_slope([4, 3, 2]) is None
    assert zipf_slope([8, 4], minimum=1) == pytest.approx(math.log(0.5) / math.log(2))


def test_statistics_count_what_was_written(tmp_path):
    assert call(tmp_path, seed=4).returncode == 0
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert (stats["seed"], stats["lexicon"], stats["zipf"]) == (4, 300, 1.0)
    assert stats["sentences"] == {"train": 300, "valid": 30, "test": 40}
    for side, suffix in (("source", "de"), ("target", "en")):
        lines = {split: list(read_lines(tmp_path / f"{split}.{suffix}")) for split in stats["sentences"]}
        assert {split: len(found) for split, found in lines.items()} == stats["sentences"]
        words = [line.split() for found in lines.values() for line in found]
        assert stats["mean_words"][side] == round(sum(map(len, words)) / len(words), 3)
        assert stats["word_types"][side] == len({word for sentence in words for word in sentence})
        assert -2 < stats["zipf_slope_words"][side] < -0.5
    assert 200 < stats["lemmas_used"] <= 330
    assert -1.3 < stats["zipf_slope"] < -0.5


def test_languages_name_the_files(tmp_path):
    assert call(tmp_path, source_lang="gx", target_lang="ex").returncode == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".gx", ".ex", ".json"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_size": 0}, "--train-size 0"),
        ({"valid_size": 0}, "--valid-size 0"),
        ({"test_size": -3}, "--test-size -3"),
        ({"lexicon": 199}, "--lexicon 199: choose between 200 and 20000"),
        ({"lexicon": 20_001}, "--lexicon 20001"),
        ({"zipf": "nan"}, "--zipf nan"),
        ({"zipf": -0.1}, "--zipf -0.1"),
        ({"zipf": 3.1}, "--zipf 3.1"),
        ({"source_lang": "../de"}, "--source-lang '../de'"),
        ({"source_lang": "xx", "target_lang": "xx"}, "--target-lang xx"),
        ({"source_lang": "en", "target_lang": "de"}, "swap them"),
    ],
)
def test_bad_options_give_one_line_and_write_nothing(tmp_path, monkeypatch, capsys, options, words):
    folder = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["generate.py", *flags(folder, **options)])
    with pytest.raises(SystemExit) as stopped:
        run(command.main)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert len(message.splitlines()) == 1
    assert words in message
    assert not folder.exists()


def test_more_sentences_than_the_grammar_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpora, "PATIENCE", 0)  # the first repetition counts as exhaustion: the real limit takes long
    folder = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["generate.py", *flags(folder, train_size=20_000, lexicon=200, zipf=3)])
    with pytest.raises(SystemExit) as stopped:
        run(command.main)
    message = capsys.readouterr().err
    assert stopped.value.code == 2
    assert len(message.splitlines()) == 1
    assert "20070 sentences" in message
    assert "fewer sentences or a larger --lexicon" in message
    assert not folder.exists()


def test_repetitions_are_skipped_then_refused():
    source_twice = [Pair("Da.", "There.", ()), Pair("da.", "Here.", ()), Pair("Dort.", "THERE.", ())]
    fresh = Pair("Hier.", "Here.", ())
    drawn = iter([*source_twice, fresh])
    assert distinct_pairs(lambda: next(drawn), 2, "x") == [source_twice[0], fresh]
    with pytest.raises(UserError, match="gave only 1 distinct"):
        distinct_pairs(lambda: fresh, 2, "x")
