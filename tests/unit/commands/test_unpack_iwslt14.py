"""unpack_iwslt14.py on archives of the published layout: the recipe's text, its splits, and refused archives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import SPLITS
from ekd_nmt.corpus.filters import LENGTH_REASONS, LengthFilter
from ekd_nmt.corpus.moses import make_tokenizer
from iwslt14_archive import PAIR, TEST_SETS, published_members, write_tgz
from prepare import Screen, Side, prepare
from unpack_iwslt14 import load, main, segment, size_warning, training_sentence, unpack

SCRIPT = Path(__file__).parents[3] / "workflow_scripts" / "unpack_iwslt14.py"
RECIPE = LengthFilter(1, 175, 1.5)
LANGUAGES = ("de", "en")
PUBLISHED = {"train": 160_239, "valid": 7_283, "test": 6_750}

BAD = [("", "Nothing."), ("Ja.", "Yes, that is so."), ("wort " * 176, "word " * 176)]  # empty, ratio, too long
GOOD = [(f"Das ist Satz {number}.", f"This is sentence {number}.") for number in range(60)]
TRAIN = [pair for number, pair in enumerate(GOOD) for pair in ([BAD[number % 3], pair] if number % 7 == 3 else [pair])]
TITLE = [("Über Musik", "On music"), ("TED Talk: Über Musik.", "TED Talk: On music.")]
TESTS = {name: [(f"{name} eins.", f"{name} one."), ("zwei", "two")] for name in TEST_SETS}
QUOTES = [("Es ist’s &amp; &quot;Ende&quot;", "it’s &amp; &quot;over&quot;"), ("", "gone"), ("x " * 200 + "x", "")]
TESTS["TED.dev2010"] = QUOTES


@pytest.fixture
def archive(tmp_path):
    def build(changes=(), train=TRAIN):
        members = {**published_members(train, TESTS), **dict(changes)}
        return write_tgz(tmp_path / "de-en.tgz", {name: text for name, text in members.items() if text is not None})

    return build


def written(folder: Path, split: str) -> list[tuple[str, str]]:
    sides = [(folder / f"{split}.{language}").read_bytes().decode().split("\n") for language in LANGUAGES]
    assert [side.pop() for side in sides] == ["", ""]
    return list(zip(*sides, strict=True))


def unpacked(path: Path, folder: Path, kept: LengthFilter = RECIPE, **options) -> dict:
    tokenizers = {language: make_tokenizer(language, **options) for language in LANGUAGES}
    return unpack(load(path, *LANGUAGES), tokenizers, kept, folder)["accounts"]


def sizes(counts: list[dict]) -> dict[str, int]:
    return {count["split"]: count["lines_out"] for count in counts if count["step"] == "split"}


def test_splits_what_the_filter_keeps_as_the_recipe_does(archive, tmp_path):
    line_counts = unpacked(archive(), tmp_path / "raw")
    kept = TITLE + GOOD
    assert written(tmp_path / "raw", "valid") == [kept[22], kept[45]]
    assert written(tmp_path / "raw", "train") == kept[:22] + kept[23:45] + kept[46:]
    counts = dict.fromkeys(LENGTH_REASONS, 0) | {"empty": 3, "too_long": 3, "ratio": 3}
    lines = {"lines_in": len(TRAIN) + 2 + 11, "lines_out": 62 + 11}
    assert line_counts[0] == {"step": "unpack", "split": "", **lines, "dropped": counts}
    assert sizes(line_counts) == {"train": 60, "valid": 2, "test": 11}


def test_the_test_set_is_five_sets_in_order_and_never_filtered(archive, tmp_path):
    counts = unpacked(archive(), tmp_path / "raw")
    first = [tuple(text.replace("’", "'") for text in pair) for pair in QUOTES]
    assert written(tmp_path / "raw", "test") == first + [pair for name in TEST_SETS[1:] for pair in TESTS[name]]
    assert sizes(counts)["test"] == 11
    assert counts[-1]["parts"] == dict(zip(TEST_SETS, (3, 2, 2, 2, 2), strict=True))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("<url>http://www.ted.com</url>", None),
        ("<talkid>1</talkid>", None),
        ("<keywords>talks, science</keywords>", None),
        ("<speaker>Al Gore</speaker>", None),
        ('<translator href="http://www.ted.com">A B</translator>', None),
        ("  <reviewer>C D</reviewer>", None),
        ("</doc>", None),
        ("<title>Al Gore: Über das Klima</title>", "Al Gore: Über das Klima"),
        ("<description>A &amp; B</description>", "A &amp; B"),
        (" He’s the speaker <Applause> \r", "He’s the speaker <Applause>"),
        ("", ""),
    ],
)
def test_a_line_of_train_tags(line, text):
    assert training_sentence(line) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('<seg id="12"> Ja, das geht’s. </seg>', "Ja, das geht's."),
        ('  <seg id="1">a < b</seg>  ', "a < b"),
        ('<seg id="3"></seg>', ""),
        ('<seg id="3"> </seg>', ""),
        ("<title>not text</title>", None),
        ('<doc docid="1">', None),
    ],
)
def test_a_line_of_a_test_set(line, text):
    assert segment(line) == text


def test_the_other_direction_has_the_same_split(archive, tmp_path):
    path = archive()
    forward, backward = load(path, "de", "en"), load(path, "en", "de")
    assert backward.train == [pair[::-1] for pair in forward.train]
    assert backward.test == {name: [pair[::-1] for pair in pairs] for name, pairs in forward.test.items()}


def test_separators_inside_a_sentence_do_not_shift_the_alignment(archive, tmp_path):
    odd = [("eins\u2028zwei\x85drei", "one\rtwo\x0cthree")]
    unpacked(archive(train=odd + GOOD), tmp_path / "raw")
    assert written(tmp_path / "raw", "train")[2:4] == [odd[0], GOOD[0]]


@pytest.mark.parametrize("split_final_period", [True, False])
def test_the_filter_of_prepare_finds_nothing_left_to_drop(archive, tmp_path, split_final_period):
    """The option decides on two of the pairs: it makes 3 to 2 tokens 4 to 2, and 2 to 4 tokens 3 to 4."""
    edge = [("Obst Gemüse usw.", "Fruit etcetera"), ("Ja usw.", "Yes and so on")]
    raw, tok = tmp_path / "raw", tmp_path / "tok"
    unpacked(archive(train=edge + TRAIN), raw, split_final_period=split_final_period)
    assert [pair in written(raw, "train") for pair in edge] == [not split_final_period, split_final_period]
    tokenizers = [make_tokenizer(language, True, split_final_period=split_final_period) for language in LANGUAGES]
    for split in ("train", "valid"):
        names = [f"{split}.{language}" for language in LANGUAGES]
        both = zip(LANGUAGES, names, tokenizers, strict=True)
        sides = [Side(language, raw / name, tok / name, tokenize) for language, name, tokenize in both]
        count = prepare(*sides, Screen(RECIPE))["accounts"][0]
        assert count["lines_in"] == count["lines_out"] == len(written(raw, split))


DE, EN = (f"{PAIR}/train.tags.{PAIR}.{language}" for language in LANGUAGES)
TST = f"{PAIR}/IWSLT14.TED.tst2011.{PAIR}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({EN: None}, rf"lacks {EN}; it is not the published archive"),
        ({f"{TST}.de.xml": None, f"{TST}.en.xml": None}, rf"lacks {TST}\.de\.xml, {TST}\.en\.xml; it is not"),
        ({DE: b"eins\nzwei\n"}, rf"{DE} has 2 sentences but {EN} has {len(TRAIN) + 2}; both sides must match"),
        ({f"{TST}.en.xml": b'<seg id="1">1</seg>\n'}, rf"{TST}\.de\.xml has 2 sentences but .*\.en\.xml has 1;"),
        ({DE: "eins\nzwölf\n".encode("latin1")}, rf"{DE}, line 2: not UTF-8 \(byte 3\); fetch it again"),
    ],
)
def test_a_bad_archive_is_refused(archive, changes, message):
    with pytest.raises(UserError, match=rf"de-en\.tgz: {message}"):
        load(archive(changes), *LANGUAGES)


def test_a_language_pair_that_the_archive_lacks(archive):
    with pytest.raises(UserError, match=r"has no fr-en, it has de-en; fix data\.source_lang and"):
        load(archive(), "fr", "en")


def test_nothing_is_written_when_the_filter_leaves_too_little(archive, tmp_path):
    with pytest.raises(UserError, match=r"only 0 of 71 training pairs pass the filter"):
        unpacked(archive(), tmp_path / "raw", LengthFilter(min_tokens=300))
    assert list((tmp_path / "raw").iterdir()) == []


def arguments(path: Path, folder: Path, *more: str) -> list[str]:
    flags = ["--archive", path, "--source-lang", "de", "--target-lang", "en", "--output-dir", folder]
    flags += ["--min-tokens", "1", "--max-tokens", "175", "--max-ratio", "1.5", *more]
    return [str(argument) for argument in (SCRIPT, *flags)]


def command(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments(*args)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("sizes", "recipe", "message"),
    [
        ((160_240, 7_283, 6_750), True, "train 160240 (not 160239)"),
        ((160_239 - 160, 7_283 + 7, 6_750), True, "train 160079 (not 160239), valid 7290 (not 7283)"),
        ((160_239, 7_283, 6_750), True, None),
        ((150_000, 7_000, 6_750), False, None),
    ],
)
def test_the_tokeniser_may_move_a_few_pairs(sizes, recipe, message):
    found = size_warning(dict(zip(SPLITS, sizes, strict=True)), PUBLISHED, recipe)
    assert found == (message and f"split sizes differ from the published ones: {message}")


@pytest.mark.parametrize(
    ("sizes", "recipe"),
    [((160_239 - 161, 7_283, 6_750), True), ((160_239, 7_283 + 8, 6_750), True), ((1, 1, 6_749), False)],
)
def test_other_sizes_mean_another_archive(sizes, recipe):
    with pytest.raises(UserError, match="it is not the published archive"):
        size_warning(dict(zip(SPLITS, sizes, strict=True)), PUBLISHED, recipe)


def test_command_line_refuses_an_archive_of_another_size(archive, tmp_path):
    path = archive()
    result = command(path, tmp_path / "raw", "--expect", "60", "2", "6750")
    assert (result.returncode, result.stdout) == (2, "")
    problem = "split sizes differ from the published ones: test 11 (not 6750); it is not the published archive"
    assert result.stderr == f"error: {path}: {problem}\n"
    assert list((tmp_path / "raw").iterdir()) == []


def test_published_sizes_are_reported(archive, tmp_path):
    result = command(archive(), tmp_path / "raw", "--split-final-period", "--expect", "60", "2", "11")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    counts = json.loads((tmp_path / "raw" / "stats.json").read_text())["accounts"]
    assert {count["split"]: count["expected"] for count in counts[1:]} == {"train": 60, "valid": 2, "test": 11}


def test_no_warning_without_published_sizes(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", arguments(archive(), tmp_path / "raw"))
    main()
    assert capsys.readouterr() == ("", "")
