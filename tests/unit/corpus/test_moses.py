"""The same tokens and the same punctuation as sacremoses, for any text."""

import random
import re
import time
from functools import cache
from itertools import product

import pytest
import regex
from sacremoses import MosesPunctNormalizer, MosesTokenizer
from sacremoses.corpus import NonbreakingPrefixes

from ekd_nmt.corpus.moses import (
    CACHED_LENGTH,
    NO_ABBREVIATION,
    NOTEWORTHY,
    make_normalizer,
    make_tokenizer,
    split_off_final_period,
)

LANGUAGES = ("de", "en", "fr", "it", "cs", "fi")

# What rules of the tokeniser or of the normaliser look at, what they might trip over, and ordinary words.
PIECES = [
    *".,'\"`-:;!?()[]&|<>%/@#*_^~{}\\$€",
    *"0159aAsSzZßéñÇŠőσΣİıª²½١٣",
    *("..", "...", "....", "......", ". . .", "--", "''", "``", "´´", "´", "…", "–", "—", "“", "”", "„", "«", "»"),
    *("‘", "’", "‚", "‹", "¿", "°", "nº", "cm", "ºC", "n't", "'s", "'S", "l'", "dell'", "po'", "d’", "'90s"),
    *("z.B.", "Dr.", "Mr.", "No.", "Nr.", "Art.", "č.", "esim.", "ecc.", "U.S.", "a.m.", "usw.", "5.", "3.5"),
    *("&amp;", "&#124;", "&apos;", "DOT", "MULTI", "DOTMULTI", "xDOTDOTMULTI", "_ELLIPSIS_", "THISISPROTECTED000"),
    *("\u00a0", "\u2009", "\u2028", "\u2029", "\u3000", "\u0085", "\x1c", "\x1f", "\t", "\r", "\x0b", "\x0c"),
    *("\x00", "\x07", "\x1b", "\x7f", "\u00ad", "\u200b", "\u200d", "\u200e", "\ufeff", "\ue000", "\u0378"),
    *("\u0301", "\u0345", "\u094d", "\u20e3", "\ufe0f", "👍", "👩‍🔬", "漢字", "か", "カー", "я", "ж", "ع", "한", "𐐀"),
    *("Haus", "house", "Straße", "İstanbul", "ΟΔΟΣ", "well-known", "1,000.50", "http://a.b/c?d=e,f", "x" * 50),
]
SPACES = [" "] * 60
CLASHING = ["'", ",", ".", "..", " ", " ", "a", "A", "5", "s", "-", '"']  # where the rules of the tokeniser meet


def fuzz(seed: object, sentences: int) -> list[str]:
    """Random sentences: some of few kinds of character, so that all their sequences occur, some of everything."""
    rng = random.Random(f"{seed}")
    pools = (CLASHING, PIECES, PIECES + SPACES)
    return ["".join(rng.choices(rng.choice(pools), k=rng.choice((3, 8, 20)))) for _ in range(sentences)]


@cache
def reference(language: str) -> MosesTokenizer:
    return MosesTokenizer(lang=language)


def expected_tokens(language: str, sentence: str) -> list[str]:
    return reference(language).tokenize(sentence, aggressive_dash_splits=False, escape=True)


def assert_same_tokens(language: str, sentences: list[str]) -> None:
    tokenize = make_tokenizer(language)
    for sentence in sentences:
        assert tokenize(sentence) == expected_tokens(language, sentence), (language, sentence)


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        ("en", "Don't stop, it's 3.5% (well-known).", "Don &apos;t stop , it &apos;s 3.5 % ( well-known ) ."),
        ("en", 'A "tab|pipe" & <b> [x]', "A &quot; tab &#124; pipe &quot; &amp; &lt; b &gt; &#91; x &#93;"),
        ("en", "Mr. Smith paid 1,000.50 dollars...", "Mr. Smith paid 1,000.50 dollars ..."),
        ("de", "Ein Mann, z.B. Dr. Müller, fährt.", "Ein Mann , z.B. Dr. Müller , fährt ."),
        ("de", "Das  ist\u00a0der\u2028Weg\r.", "Das ist der Weg ."),
        ("fr", "L'homme d'aujourd'hui", "L&apos; homme d&apos; aujourd&apos; hui"),
        ("en", "“so”", "“ so ”"),
        ("en", "", ""),
    ],
)
def test_tokenises_as_moses(language, sentence, expected):
    assert " ".join(make_tokenizer(language)(sentence)) == expected


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "sentence",
    [
        "No. 5 is No. five is No. Five is No.",  # abbreviations that only a number makes one
        "Am 3. Mai, am 3. oder 5. 6. usw. Und so weiter.",
        "The U.S. is in the U.S. And in the a.m. 5 p.m.",
        "word. lower word. Upper word. 5 word. ٣ word. ªx word. -x word. 'x word. .5 word. ..x word. (x word.",
        "ends in z.B.'",
        "it's 'so' he said.' 'No.' ' '' ' 'x",
        "a' 'b a'  'b a'\u00a0'b a', 'b 'tis 'n' rock'n'roll '90s 90's",
        ", ,, ,x x, 5,5 5, ,5 ,,5 x,,y , . ,. ., 1,000, 1.000,00",
        "....a . .. ... .... x.. x... x.y.. ..",
        "'", ",", ".", "..", "'s", "-", "--", "`", "``", " ", "\u2028", "x", "&", "x.'", ".'", "'.",
        "&amp; &lt;b&gt; a&b |x| [y] <z>",
        "DOTMULTI xDOTMULTI DOT.. ..MULTI 'DOTDOTMULTI'.",
        "a \x00 b a\x00b a' \x07 'b , \x1b , \x7f \x85 \x1c",
        "e\u0301te\u0301, n\u0303. क्षि। ١٢٣, ½. ²x Σ. 漢字。か、カー 한국어. 👩‍🔬👍🏽! \ufeffx",
        "x" * 300 + ", " + "y," * 200 + " (" + "z" * CACHED_LENGTH + ")." + "u.v" * 50 + ".",
    ],
)  # fmt: skip
def test_nasty_sentences(language, sentence):
    assert_same_tokens(language, [sentence])


@pytest.mark.parametrize("language", [*LANGUAGES, "ru", "el", "ta", "pt", "tlh", "ko", "zh"])
def test_random_sentences(language):
    # sacremoses is slow at Chinese
    assert_same_tokens(language, fuzz(language, 2000 if language in LANGUAGES else 10 if language == "zh" else 300))


@pytest.mark.parametrize("language", ["en", "it", "de"])
def test_every_short_sequence_of_clashing_characters(language):
    between_words = ["x " + "".join(characters) + " y" for characters in product("', .a", repeat=4)]
    assert_same_tokens(language, [*map("".join, product("', .as5", repeat=4)), *between_words])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_abbreviation_before_every_kind_of_word(language):
    abbreviations = sorted({entry.split()[0] for entry in NonbreakingPrefixes().words(language)})
    chosen = random.Random(0).sample(abbreviations, min(60, len(abbreviations)))
    followers = ("", " lower", " Upper", " 5", " (", "’", ", x")
    assert_same_tokens(language, [f"A {word}.{follower}" for word in chosen for follower in followers])


def test_the_replacement_is_not_an_abbreviation_in_any_language():
    prefixes = NonbreakingPrefixes()
    for language in set(prefixes.available_langs.values()):
        assert NO_ABBREVIATION not in {entry.split()[0] for entry in prefixes.words(language)}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_rule_touches_a_plain_character(language):
    words = [character * 2 for character in reference(language).IsAlnum]
    assert expected_tokens(language, " ".join(words)) == words


def test_white_space_is_the_same_for_split_and_for_regular_expressions():
    characters = "".join(map(chr, range(0x110000)))
    assert re.findall(r"\s", characters) == [character for character in characters if not character.split()]


@pytest.mark.parametrize(
    ("language", "sentence", "kept", "split"),
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
def test_a_final_period_is_split_from_an_abbreviation_only_on_request(language, sentence, kept, split):
    assert " ".join(make_tokenizer(language)(sentence)) == kept
    assert " ".join(make_tokenizer(language, split_final_period=True)(sentence)) == split


def test_lowercases_tokens_one_by_one():
    assert make_tokenizer("de", lowercase=True)("ÄRGER & Über") == ["ärger", "&amp;", "über"]
    tokenize = make_tokenizer("el", lowercase=True, split_final_period=True)
    for sentence in fuzz("lowercase", 500):
        expected = [token.lower() for token in split_off_final_period(expected_tokens("el", sentence))]
        assert tokenize(sentence) == expected, sentence


def test_callers_may_change_the_returned_tokens():
    tokenize = make_tokenizer("en")
    for sentence in ("Yes, (it's) so.", "A B"):
        first = tokenize(sentence)
        first[0] = "changed"
        assert tokenize(sentence) == expected_tokens("en", sentence)


def test_is_faster_than_sacremoses():
    sentences = [f"A man in a {colour} shirt doesn't sleep, he reads." for colour in ("red", "green", "blue")] * 200

    def seconds(tokenize) -> float:
        start = time.process_time()
        for sentence in sentences:
            tokenize(sentence)
        return time.process_time() - start

    assert 2 * seconds(make_tokenizer("en")) < seconds(lambda sentence: expected_tokens("en", sentence))


def expected_normal(language: str, sentence: str) -> str:
    """The documented composition, without skipping."""
    visible = "".join(character for character in sentence if character == "\u200b" or not is_format(character))
    return normal_reference(language).normalize(regex.sub(r"[\p{C}\p{Zl}\p{Zp}]", " ", visible))


def is_format(character: str) -> bool:
    return regex.match(r"\p{Cf}", character) is not None


@cache
def normal_reference(language: str) -> MosesPunctNormalizer:
    return MosesPunctNormalizer(lang=language)


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        ("de", "„Das ist’s“ – sagte er …", '"Das ist\'s" - sagte er ...'),
        ("de", "5\u00a0000 „so,“ x", '5,000 "so", x'),
        ("en", "5\u00a0000 “so”, x", '5.000 "so," x'),
        ("fr", "«\u00a0Oui\u00a0»\u00a0!", '"Oui"!'),
        ("en", " two  spaces ( here ) : 5 % ", "two spaces (here): 5%"),
        ("en", "tab\tbell\x07next\x85line\u2028end", "tab bell next line end"),
        ("en", "co\u00adop\u200eer\u200date \ufeff", "cooperate"),
        ("en", "zero\u200bwidth", "zero width"),
        ("en", "\x00", ""),
        ("en", "It's nothing, at all; is it?", "It's nothing, at all; is it?"),
    ],
)
def test_normalises_punctuation(language, sentence, expected):
    assert make_normalizer(language)(sentence) == expected


@pytest.mark.parametrize("language", ["de", "en", "fr", "cs", "fi", "zh"])
def test_normalises_random_sentences_as_sacremoses(language):
    normalize = make_normalizer(language)
    sentences = fuzz(f"normal {language}", 1500)
    for sentence in sentences:
        assert normalize(sentence) == expected_normal(language, sentence), (language, sentence)
        assert len(normalize(sentence).splitlines()) <= 1
    passed_by = [sentence for sentence in sentences if not NOTEWORTHY.search(sentence)]
    assert 100 < len(passed_by) < len(sentences)


def test_no_skipped_sentence_would_be_changed_by_a_rule():
    for language in ("en", "de"):
        for characters in product("aº5 .,:;?!%'\"&-<", repeat=3):
            sentence = "".join(characters)
            if not NOTEWORTHY.search(sentence):
                assert normal_reference(language).normalize(sentence) == sentence.strip(), sentence


def test_no_skipped_character_is_removed_or_replaced():
    passed_by = [chr(code) for code in range(0x110000) if not NOTEWORTHY.search(chr(code))]
    text = "".join(passed_by)
    assert not regex.search(r"[\p{C}\p{Zl}\p{Zp}]", text)
    text = text.replace("'", "x").replace('"', "x")  # rules know these two in company only
    for language in ("en", "de"):
        assert normal_reference(language).normalize(text) == text.strip()
