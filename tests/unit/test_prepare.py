"""prepare.py: Moses' tokenisation and lowercasing, clean-corpus-n's rule, alignment and its report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli import UserError
from prepare import LengthFilter, Side, make_tokenizer, prepare

SCRIPT = Path(__file__).parents[2] / "workflow_scripts" / "prepare.py"


def tokenized(sentence, language="en", **options):
    return " ".join(make_tokenizer(language, **options)(sentence))


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        ("en", "Don't stop, it's 3.5% (well-known).", "Don &apos;t stop , it &apos;s 3.5 % ( well-known ) ."),
        ("en", 'A "tab|pipe" & <b> [x]', "A &quot; tab &#124; pipe &quot; &amp; &lt; b &gt; &#91; x &#93;"),
        ("en", "Mr. Smith paid 1,000.50 dollars...", "Mr. Smith paid 1,000.50 dollars ..."),
        ("de", "Ein Mann, z.B. Dr. Müller, fährt.", "Ein Mann , z.B. Dr. Müller , fährt ."),
        ("de", "Das  ist\u00a0der\u2028Weg\r.", "Das ist der Weg ."),
        ("en", "", ""),
    ],
)
def test_tokenises_as_moses(language, sentence, expected):
    assert tokenized(sentence, language) == expected


@pytest.mark.parametrize(
    ("language", "sentence", "kept", "parted"),
    [
        ("en", "in the U.S.", "in the U.S.", "in the U.S ."),
        ("en", "We saw Mr.", "We saw Mr.", "We saw Mr ."),
        ("de", "Obst, Gemüse usw.", "Obst , Gemüse usw.", "Obst , Gemüse usw ."),
        ("de", "Er wurde 75.", "Er wurde 75.", "Er wurde 75 ."),
        ("de", "Am 3. Mai z.B. ging es.", "Am 3. Mai z.B. ging es .", "Am 3. Mai z.B. ging es ."),
        ("en", "Well...", "Well ...", "Well ..."),
        ("en", "...", "...", "..."),
        ("en", ".", ".", "."),
        ("en", "He said “etc.”", "He said “ etc . ”", "He said “ etc . ”"),
        ("en", "", "", ""),
    ],
)
def test_a_final_period_is_parted_from_an_abbreviation_only_on_request(language, sentence, kept, parted):
    assert tokenized(sentence, language) == kept
    assert tokenized(sentence, language, split_final_period=True) == parted


def test_lowercase_knows_umlauts():
    assert tokenized("ÄRGER & Über", "de", lowercase=True) == "ärger &amp; über"


def test_punctuation_stays_as_it_is():
    assert tokenized("“so”") == "“ so ”"


@pytest.mark.parametrize(
    ("lengths", "reason"),
    [
        ((1, 1), "too_short"),
        ((2, 2), None),
        ((2, 1), "too_short"),
        ((10, 10), None),
        ((10, 11), "too_long"),
        ((11, 10), "too_long"),
        ((6, 4), None),  # a ratio of exactly 1.5 stays
        ((7, 4), "ratio"),
        ((4, 7), "ratio"),
        ((0, 5), "empty"),
        ((5, 0), "empty"),
    ],
)
def test_rule_of_clean_corpus_n(lengths, reason):
    assert LengthFilter(min_tokens=2, max_tokens=10, max_ratio=1.5).reason_to_drop(*lengths) == reason


@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (1, 500)])
def test_without_limits_everything_stays(lengths):
    assert LengthFilter().reason_to_drop(*lengths) is None


@pytest.mark.parametrize("limits", [{"min_tokens": 0}, {"min_tokens": 5, "max_tokens": 4}, {"max_ratio": 0.5}])
def test_limits_that_no_pair_meets_are_refused(limits):
    with pytest.raises(UserError, match="at least"):
        LengthFilter(**limits)


@pytest.fixture
def sides(tmp_path):
    def build(source: str, target: str) -> tuple[Side, Side]:
        both = []
        for language, text in (("de", source), ("en", target)):
            path = tmp_path / f"raw.{language}"
            path.write_text(text, encoding="utf-8", newline="")
            tokenize = make_tokenizer(language, lowercase=True)
            both.append(Side(path, tmp_path / "tok" / f"train.{language}", tokenize))
        return both[0], both[1]

    return build


def written(side: Side) -> list[str]:
    return side.output.read_text(encoding="utf-8").split("\n")[:-1]


def test_both_sides_of_a_pair_go_or_stay(sides):
    source, target = sides("Ja.\n\nEins zwei drei vier fünf.\nHallo!\n", "Yes.\nNothing.\nOne.\nHello!\n")
    report = prepare(source, target, LengthFilter(1, 175, 1.5))
    assert written(source) == ["ja .", "hallo !"]
    assert written(target) == ["yes .", "hello !"]
    dropped = {"empty": 1, "too_short": 0, "too_long": 0, "ratio": 1}
    assert report == {"lines_in": 4, "lines_out": 2, "dropped": dropped}


def test_a_test_set_keeps_every_line(sides):
    source, target = sides("a b c d e f g h\n\nx\n", "a\nb\n\n")
    assert prepare(source, target, LengthFilter())["lines_out"] == 3
    assert written(source) == ["a b c d e f g h", "", "x"]
    assert written(target) == ["a", "b", ""]


def test_separators_inside_a_sentence_do_not_shift_the_alignment(sides):
    source, target = sides("eins\u2028zwei\nd\rr\x0ce\x85i\n", "one two\nthree\n")
    prepare(source, target, LengthFilter())
    assert written(source) == ["eins zwei", "d r e i"]
    assert source.output.read_text(encoding="utf-8").splitlines() == written(source)


@pytest.mark.parametrize(("source", "target"), [("a\nb\n", "a\n"), ("a\n", "a\nb\n")])
def test_unequal_sides_are_refused(sides, source, target):
    both = sides(source, target)
    with pytest.raises(UserError, match="differ in length: one ends after line 1;"):
        prepare(*both, LengthFilter())
    assert list(both[0].output.parent.iterdir()) == []


def test_all_filtered_is_an_error_that_says_why(sides):
    both = sides("a\nb c\n", "a\nb\n")
    with pytest.raises(UserError, match=r"all 2 pairs were filtered out \(empty 0, too_short 2"):
        prepare(*both, LengthFilter(min_tokens=3))
    assert list(both[0].output.parent.iterdir()) == []


def test_command_line_parts_the_final_period(tmp_path):
    (tmp_path / "a").write_text("Und so weiter usw.\n", encoding="utf-8")
    (tmp_path / "b").write_text("Made in the U.S.\n", encoding="utf-8")
    flags = ["--source", tmp_path / "a", "--target", tmp_path / "b", "--source-lang", "de", "--target-lang", "en"]
    flags += ["--output-source", tmp_path / "o.de", "--output-target", tmp_path / "o.en", "--report", tmp_path / "r"]
    subprocess.run([sys.executable, SCRIPT, *flags, "--lowercase", "--split-final-period"], check=True)
    assert (tmp_path / "o.de").read_text(encoding="utf-8") == "und so weiter usw .\n"
    assert (tmp_path / "o.en").read_text(encoding="utf-8") == "made in the u.s .\n"


def test_command_line(tmp_path):
    (tmp_path / "a").write_text("Das war's!\nx\n", encoding="utf-8")
    (tmp_path / "b").write_text("That's it.\nfar too long here\n", encoding="utf-8")
    flags = ["--source", tmp_path / "a", "--target", tmp_path / "b", "--source-lang", "de", "--target-lang", "en"]
    flags += ["--lowercase", "--min-tokens", "1", "--max-tokens", "175", "--max-ratio", "1.5"]
    flags += ["--output-source", tmp_path / "o.de", "--output-target", tmp_path / "o.en", "--report", tmp_path / "r"]
    result = subprocess.run([sys.executable, SCRIPT, *flags], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "o.de").read_text(encoding="utf-8") == "das war &apos; s !\n"
    assert (tmp_path / "o.en").read_text(encoding="utf-8") == "that &apos;s it .\n"
    dropped = {"empty": 0, "too_short": 0, "too_long": 0, "ratio": 1}
    assert json.loads((tmp_path / "r").read_text()) == {"lines_in": 2, "lines_out": 1, "dropped": dropped}
