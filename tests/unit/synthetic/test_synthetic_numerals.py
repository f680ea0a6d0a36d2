"""Number words of the generated corpus, read back by a parser that shares nothing with the generator."""

import re

import pytest

from synthetic import numerals
from synthetic.dice import Dice
from synthetic.grammar import Grammar
from synthetic.lexicon import Lexicon

GERMAN_WORDS = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn "
)
GERMAN_WORDS = (GERMAN_WORDS + "siebzehn achtzehn neunzehn").split()
ENGLISH_WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
ENGLISH_WORDS = (ENGLISH_WORDS + "seventeen eighteen nineteen").split()
GERMAN_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
ENGLISH_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def german_value(word):
    """The number that a German number word means, read from the left; ``None`` for any other word."""
    head, hundred, rest = word.partition("hundert")
    if hundred:
        digit = 1 if head == "ein" else GERMAN_WORDS.index(head) if head in GERMAN_WORDS[2:10] else None
        tail = german_value(rest) if rest else 0
        return None if digit is None or tail is None else 100 * digit + tail
    if word in GERMAN_WORDS:
        return GERMAN_WORDS.index(word)
    for ten, name in enumerate(GERMAN_TENS, start=2):
        unit = word.removesuffix(name)
        if unit != word and unit in ("", "einund", *(f"{digit}und" for digit in GERMAN_WORDS[2:10])):
            unit = unit.removesuffix("und")
            return 10 * ten + (1 if unit == "ein" else GERMAN_WORDS.index(unit) if unit else 0)
    return None


def english_value(text):
    """The number that English number words mean."""
    total = 0
    for word in text.split():
        if word == "hundred":
            total *= 100
        else:
            ten, _, unit = word.partition("-")
            total += 10 * (ENGLISH_TENS.index(ten) + 2) if ten in ENGLISH_TENS else ENGLISH_WORDS.index(ten)
            total += ENGLISH_WORDS.index(unit) if unit else 0
    return total


@pytest.mark.parametrize(
    ("number", "word", "translation"),
    [
        (21, "einundzwanzig", "twenty-one"),
        (30, "dreißig", "thirty"),
        (16, "sechzehn", "sixteen"),
        (101, "einhunderteins", "one hundred one"),
        (777, "siebenhundertsiebenundsiebzig", "seven hundred seventy-seven"),
    ],
)
def test_number_words(number, word, translation):
    assert (numerals.german(number), numerals.english(number)) == (word, translation)


def test_every_number_word_reads_back():
    for number in range(1_000):
        assert german_value(numerals.german(number)) == number == english_value(numerals.english(number))
    for number in (-1, 1_000):
        with pytest.raises(ValueError, match="0 to 999"):
            numerals.german(number)
        with pytest.raises(ValueError, match="0 to 999"):
            numerals.english(number)


def test_numbers_of_a_sentence_are_those_of_its_translation():
    unit = "|".join([*ENGLISH_WORDS, *(f"{ten}(?:-(?:{'|'.join(ENGLISH_WORDS[1:10])}))?" for ten in ENGLISH_TENS)])
    number = re.compile(rf"\b(?:(?:{'|'.join(ENGLISH_WORDS[1:10])}) hundred(?: (?:{unit}))?|(?:{unit}))(?![\w-])")
    dice = Dice(12)
    grammar = Grammar(Lexicon(600, 1.0, dice), dice)
    compared = 0
    for pair in (grammar.pair() for _ in range(3_000)):
        values = [german_value(word.strip(",.?")) for word in pair.source.lower().split()]
        values = sorted(value for value in values if value is not None)
        assert values == sorted(english_value(found) for found in number.findall(pair.target.lower())), pair
        compared += len(values)
    assert compared > 300
