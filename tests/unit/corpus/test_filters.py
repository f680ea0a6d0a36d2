"""Pairs dropped for their lengths, their language, their script."""

import pytest

from ekd_nmt.common.errors import UserError
from ekd_nmt.corpus.filters import MIN_LETTERS, LanguageFilter, LengthFilter, ScriptFilter

GERMAN = "Ein Mann schläft in einem grünen Zimmer auf einem Sofa."
ENGLISH = "A man is sleeping on a couch in a green room."
FRENCH = "Un homme dort sur un canapé dans une pièce verte."


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
def test_without_limits_everything_is_kept(lengths):
    assert LengthFilter().reason_to_drop(*lengths) is None


@pytest.mark.parametrize("limits", [{"min_tokens": 0}, {"min_tokens": 5, "max_tokens": 4}, {"max_ratio": 0.5}])
def test_limits_that_no_pair_meets_are_refused(limits):
    with pytest.raises(UserError, match="at least"):
        LengthFilter(**limits)


@pytest.fixture(scope="module")
def german_english():
    return LanguageFilter(("de", "en"), 0.9)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (GERMAN, ENGLISH, None),
        (ENGLISH, GERMAN, "language"),
        (ENGLISH, ENGLISH, "language"),
        (GERMAN, GERMAN, "language"),
        (FRENCH, ENGLISH, "language"),
        (GERMAN, FRENCH, "language"),
        (GERMAN.upper(), ENGLISH.upper(), None),
        ("Это совсем не немецкое предложение.", ENGLISH, "language"),
        ("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", ENGLISH, "language"),  # in a script the identifier has never seen
        ("", "", None),
        ("1234567890 1234567890 1234567890", "👍" * 40, None),
    ],
)
def test_a_side_in_another_language(german_english, source, target, reason):
    assert german_english.reason_to_drop(source, target) == reason


def test_short_text_is_kept_in_any_language(german_english):
    short, long = "Je suis ici, chez moi !", "Je suis ici, et elle aussi !"
    assert sum(map(str.isalpha, short)) < MIN_LETTERS < len(short)
    assert sum(map(str.isalpha, long)) == MIN_LETTERS
    assert german_english.reason_to_drop(short, short) is None
    assert german_english.reason_to_drop(long, long) == "language"


def test_a_pair_is_dropped_from_the_given_probability(german_english):
    source, target = "Ein Aisate grillt Fleisch.", ENGLISH  # misspelt: Danish or Dutch at first sight
    probability = 1 - dict(german_english._identifier.rank(source))["de"]
    assert 0.5 < probability < 0.999
    for threshold, reason in ((probability - 0.001, "language"), (probability + 0.001, None)):
        assert LanguageFilter(("de", "en"), threshold).reason_to_drop(source, target) == reason


@pytest.mark.parametrize(
    ("code", "label"),
    [("nb", "no"), ("cmn", "zh"), ("zh-Hant", "zh"), ("pt-BR", "pt"), ("sr-Latn", "sr"), ("iw", "he"), ("deu", "de")],
)
def test_other_codes_of_a_language_that_the_identifier_knows(code, label):
    assert LanguageFilter((code, "en"), 0.9)._labels == (label, "en")


@pytest.mark.parametrize("code", ["nds", "hsb", "und", "tlh"])
def test_languages_that_the_identifier_does_not_know_are_refused(code):
    with pytest.raises(UserError, match=rf"language '{code}'; leave .* out, or use one of .* de .* en "):
        LanguageFilter(("en", code), 0.9)


@pytest.mark.parametrize("probability", [0, -1, 1.01, float("nan")])
def test_probabilities_out_of_range_are_refused(probability):
    with pytest.raises(UserError, match="above 0 and at most 1"):
        LanguageFilter(("de", "en"), probability)


@pytest.mark.parametrize(
    ("code", "text", "share", "reason"),
    [
        ("de", "Straße ºª é", 1, None),
        ("de", "Привет", 0.01, "script"),
        ("de", "Das Wort слово", 0.5, None),  # 7 letters of 12
        ("de", "Das Wort слово", 0.6, "script"),
        ("de", "abc где", 0.5, None),  # a share of exactly one half stays
        ("ru", "Это слово", 1, None),
        ("ru", "This is English", 0.1, "script"),
        ("ja", "これはペンです。カード 漢字", 1, None),
        ("ja", "ーーー", 1, None),
        ("ja", "這是中文", 1, None),
        ("zh", "これはひらがなです", 0.5, "script"),
        ("zh-Hant", "這是中文", 1, None),
        ("ko", "한국어 漢字", 1, None),
        ("sr", "Ово је српски", 1, None),
        ("sr", "Ovo je srpski", 1, "script"),
        ("sr-Latn", "Ovo je srpski", 1, None),
        ("ur-Aran", "یہ اردو ہے", 1, None),
        ("el", "Ελληνικά ἀρχαῖα", 1, None),
        ("hi", "यह हिन्दी है", 1, None),
        ("de", "", 1, None),
        ("de", "12 % 👍 … 3,50 €", 1, None),
        ("de", "Привет", 0, None),
    ],
)
def test_letters_of_another_script(code, text, share, reason):
    assert ScriptFilter((code, "en"), share).reason_to_drop(text, "English") == reason
    assert ScriptFilter(("en", code), share).reason_to_drop("English", text) == reason


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("tlh", "the CLDR names no script of language 'tlh'; name it in the code"),
        ("und", "the CLDR names no script of language 'und'"),
        ("de-Zmth", "Unicode has no script 'Zmth'; fix"),
    ],
)
def test_languages_without_a_known_script_are_refused(code, message):
    with pytest.raises(UserError, match=message):
        ScriptFilter(("en", code), 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan")])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(UserError, match="must be a share, 0 to 1"):
        ScriptFilter(("de", "en"), share)


@pytest.mark.parametrize("code", ["", "xx", "German", "foo bar"])
@pytest.mark.parametrize("build", [LanguageFilter, ScriptFilter])
def test_bad_language_codes_are_refused(build, code):
    with pytest.raises(UserError, match=rf"language '{code}' is not a .*; use one such as de"):
        build((code, "en"), 0.5)
