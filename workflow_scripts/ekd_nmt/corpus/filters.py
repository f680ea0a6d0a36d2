"""Rules that drop pairs from a parallel corpus: by length in tokens, by language, by script.

Each filter has a method ``reason_to_drop`` that returns the reason to drop a pair, or ``None`` to keep it. Filters see
one pair at a time and keep no state.

A language code is a BCP 47 tag such as ``de``, ``pt-BR`` or ``sr-Latn``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import langcodes
import regex
from langcodes.data_dicts import LIKELY_SUBTAGS
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from ekd_nmt.common.errors import UserError

LENGTH_REASONS = ("empty", "too_short", "too_long", "ratio")  # why LengthFilter drops a pair, in order

# For shorter text the identifier is too often wrong. At probability 0.9 it calls these shares of Tatoeba's German and
# English sentences foreign: 6 % with less than 15 letters, 0.5 % with 15 to 19, 0.09 % with 20 to 24, 0.02 % with more.
MIN_LETTERS = 20

# Scripts that are several scripts in Unicode, or a style of one. All others have the same code in both.
UNICODE_SCRIPTS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hanb": ("Hani", "Bopo"),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Hrkt": ("Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Aran": ("Arab",),
    "Cyrs": ("Cyrl",),
    "Latf": ("Latn",),
    "Latg": ("Latn",),
}


@dataclass(frozen=True)
class LengthFilter:
    """The rule of ``clean-corpus-n.perl``; a limit of ``None`` is not applied.

    Lengths are in tokens. ``max_ratio`` bounds the longer side divided by the shorter one.
    """

    min_tokens: int | None = None
    max_tokens: int | None = None
    max_ratio: float | None = None

    def __post_init__(self) -> None:
        """Refuse limits that no pair could meet."""
        if self.min_tokens is not None and self.min_tokens < 1:
            raise UserError(f"--min-tokens {self.min_tokens}: must be at least 1")
        if self.max_tokens is not None and self.max_tokens < (self.min_tokens or 1):
            raise UserError(f"--max-tokens {self.max_tokens}: must be at least {self.min_tokens or 1}")
        if self.max_ratio is not None and self.max_ratio < 1:
            raise UserError(f"--max-ratio {self.max_ratio}: the longer side over the shorter one is at least 1")

    def reason_to_drop(self, source_tokens: int, target_tokens: int) -> str | None:
        """Name the first of :data:`LENGTH_REASONS` that applies to a pair of these lengths, or ``None`` to keep it."""
        if self.min_tokens is None and self.max_tokens is None and self.max_ratio is None:
            return None
        shorter, longer = sorted((source_tokens, target_tokens))
        if shorter == 0:
            return "empty"
        if self.min_tokens is not None and shorter < self.min_tokens:
            return "too_short"
        if self.max_tokens is not None and longer > self.max_tokens:
            return "too_long"
        if self.max_ratio is not None and longer / shorter > self.max_ratio:
            return "ratio"
        return None


class LanguageFilter:
    """Drops pairs with a side that is in another language, as identified by py3langid.

    The probability of another language is one minus that of the right one, over all languages of py3langid's model, so
    related languages (for Croatian: Bosnian, Serbian) count as other ones. The text is not tokenised. A side of less
    than :data:`MIN_LETTERS` letters passes.

    Args:
        languages: codes of source and target language.
        probability: lowest probability of another language at which a side is dropped, above 0, at most 1.

    Raises:
        UserError: the probability is out of range, or py3langid does not know a language.
    """

    def __init__(self, languages: tuple[str, str], probability: float) -> None:
        if not 0 < probability <= 1:
            raise UserError(
                f"--other-language {probability}: must be a probability above 0 and at most 1; 0.9 suits most corpora"
            )
        self._identifier = _identifier()
        self._labels = tuple(_label(code, self._identifier.labels) for code in languages)
        self._probability = probability

    def reason_to_drop(self, source: str, target: str) -> str | None:
        """Return ``"language"`` if a side of this pair is in another language, else ``None``."""
        sides = zip((source, target), self._labels, strict=True)
        return "language" if any(self._is_foreign(text, label) for text, label in sides) else None

    def _is_foreign(self, text: str, label: str) -> bool:
        if len(text) < MIN_LETTERS or sum(map(str.isalpha, text)) < MIN_LETTERS:
            return False
        best, confidence = self._identifier.classify(text)
        if best == label:
            return 1 - confidence >= self._probability
        # ranking all languages takes twice the time and is rarely needed
        return confidence >= self._probability or 1 - dict(self._identifier.rank(text))[label] >= self._probability


@cache
def _identifier() -> LanguageIdentifier:
    """The identifier for all languages; loading takes a third of a second."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _label(code: str, labels: list[str]) -> str:
    """The label of py3langid for a language code: its own, or that of the same language under another code."""
    language = _language(code).language
    label = langcodes.closest_supported_match(language, labels, max_distance=1) if language else None
    if label is None:
        raise UserError(
            f"--other-language: py3langid does not know language {code!r}; leave data.filter.other_language out, "
            f"or use one of the languages it knows: {' '.join(sorted(labels))}"
        )
    return label


class ScriptFilter:
    """Drops pairs with a side that is not written in the script of its language.

    The script is that of the code (``sr-Latn``), or else the usual one of the language according to the CLDR (``sr``:
    Cyrillic). Japanese has Han, Hiragana and Katakana, Korean has Hangul and Han. Only letters count, except those that
    scripts share, such as the Japanese ー. A side without letters (numbers, emoji) passes.

    Args:
        languages: codes of source and target language.
        share: of a side's letters that must be in its script, 0 to 1.

    Raises:
        UserError: the share is out of range, or a language or its script is unknown.
    """

    def __init__(self, languages: tuple[str, str], share: float) -> None:
        if not 0 <= share <= 1:
            raise UserError(f"--min-script {share}: must be a share, 0 to 1; 0.5 suits most corpora")
        self._letters = tuple(_letters(code) for code in languages)
        self._share = share

    def reason_to_drop(self, source: str, target: str) -> str | None:
        """Return ``"script"`` if a side of this pair of sentences has too many letters of other scripts, else None."""
        sides = zip((source, target), self._letters, strict=True)
        return "script" if any(self._is_foreign(text, *letters) for text, letters in sides) else None

    def _is_foreign(self, text: str, own: regex.Pattern, foreign: regex.Pattern) -> bool:
        if not foreign.search(text):
            return False
        own_letters, foreign_letters = len(own.findall(text)), len(foreign.findall(text))
        return own_letters < self._share * (own_letters + foreign_letters)


def _letters(code: str) -> tuple[regex.Pattern, regex.Pattern]:
    """Patterns of a letter in the script of a language, and of one in another script."""
    script = _script(code)
    classes = "".join(rf"\p{{Script={name}}}" for name in UNICODE_SCRIPTS.get(script, (script,)))
    try:
        own = regex.compile(rf"[\p{{L}}&&[{classes}]]", regex.V1)
    except regex.error as error:
        raise UserError(
            f"--min-script: language {code!r}: Unicode has no script {script!r}; fix the script in the code"
        ) from error
    return own, regex.compile(rf"[\p{{L}}--[{classes}\p{{Script=Zyyy}}\p{{Script=Zinh}}]]", regex.V1)


def _script(code: str) -> str:
    """ISO 15924 code of the script of a language."""
    language = _language(code)
    known = [tag for tag in language.broader_tags() if tag in LIKELY_SUBTAGS and not tag.startswith("und")]
    if language.script is None and not known:  # `maximize` would guess Latin
        raise UserError(
            f"--min-script: the CLDR names no script of language {code!r}; "
            "name it in the code, as in sr-Latn, or leave data.filter.min_script out"
        )
    script = language.script or language.maximize().script
    assert script is not None
    return script


def _language(code: str) -> langcodes.Language:
    try:
        language = langcodes.Language.get(code)
    except langcodes.LanguageTagError as error:
        raise UserError(f"language {code!r} is not a language code ({error}); use one such as de or sr-Latn") from error
    if not language.is_valid():
        raise UserError(f"language {code!r} is not a registered language code; use one such as de or sr-Latn")
    return language
