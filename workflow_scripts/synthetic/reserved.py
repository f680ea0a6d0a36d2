"""What invented words may not look like: closed-class words, and words nobody wants to read in a table of examples."""

import re

from synthetic import german
from synthetic.numerals import ENGLISH_SMALL, ENGLISH_TENS, GERMAN_SMALL, GERMAN_TENS

_DETERMINERS = ("ein", "kein", "mein", "dein", "sein", "ihr", "unser", "dies", "jed", "all")
_GERMAN = """
ich du er sie wir mich dich ihn uns mir dir ihm und aber denn weil obwohl während bevor wenn dass ob nicht als so wie
wann warum wo in auf an hinter neben unter über mit nach von vor bei zu um los ab aus weg zurück heute gestern jetzt
morgen bald oft immer nie manchmal gewesen herr herrn frau woche jahr monat tag hundert
"""
_ENGLISH = """
a an the this these every all no not i you he she we they me him us my your his her its our their who whom whose which
that and but because although while before if whether than as more in into on onto at to behind beside under about over
with by after for from of back away out up off when why where today yesterday now tomorrow soon often always never
sometimes do does did has have will can cannot must should may want wants wanted be am is are was were been mr mrs last
next week month year day hundred
"""
GERMAN = frozenset(
    [
        *(form for table in (german.DEFINITE, german.RELATIVE) for forms in table.values() for form in forms),
        *(stem + ending for stem in _DETERMINERS for ending in ("", "e", "er", "en", "em", "es")),
        *(form for forms in (*german.HABEN, *german.SEIN, german.WERDEN, *german.MODALS.values()) for form in forms),
        *german.CONTRACTIONS.values(),
        *_GERMAN.split(),
        *GERMAN_SMALL,
        *GERMAN_TENS,
    ]
)
ENGLISH = frozenset([*_ENGLISH.split(), *ENGLISH_SMALL, *ENGLISH_TENS])
# fragments of coarse words and slurs of either language; they would come up by chance
_COARSE = """
arsch bastar bitch cock coon crap cunt dick fag fick fotz fuck gook hur jew jud kike nazi neger nig nutt penis pimmel
piss porn rape schei schwul shit slut spas spic tit trann turd twat wank whor
"""
COARSE = re.compile("|".join(_COARSE.split()))
