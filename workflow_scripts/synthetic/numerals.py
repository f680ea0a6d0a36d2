"""Number words. German says the units before the tens and writes one word; both are composed, not listed."""

from __future__ import annotations

GERMAN_SMALL = (
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
)
GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
ENGLISH_SMALL = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
ENGLISH_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
LARGEST = 999


def german(number: int) -> str:
    """``dreihunderteinundzwanzig`` for 321.

    Raises:
        ValueError: the number is outside 0 to 999.
    """
    _check(number)
    hundreds, rest = divmod(number, 100)
    head = f"{'ein' if hundreds == 1 else GERMAN_SMALL[hundreds]}hundert" if hundreds else ""
    if head and not rest:
        return head
    if rest < 20:
        return head + GERMAN_SMALL[rest]
    tens, units = divmod(rest, 10)
    before = f"{'ein' if units == 1 else GERMAN_SMALL[units]}und" if units else ""
    return head + before + GERMAN_TENS[tens - 2]


def english(number: int) -> str:
    """``three hundred twenty-one`` for 321.

    Raises:
        ValueError: the number is outside 0 to 999.
    """
    _check(number)
    hundreds, rest = divmod(number, 100)
    head = f"{ENGLISH_SMALL[hundreds]} hundred" if hundreds else ""
    if head and not rest:
        return head
    tens, units = divmod(rest, 10)
    tail = ENGLISH_SMALL[rest] if rest < 20 else ENGLISH_TENS[tens - 2] + (f"-{ENGLISH_SMALL[units]}" if units else "")
    return f"{head} {tail}".strip()


def _check(number: int) -> None:
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{number}: number words reach from 0 to {LARGEST}")
