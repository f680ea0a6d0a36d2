"""The steps from a download to binarised text, and the report on them; their outputs are the same on every machine."""

import zipfile
from pathlib import Path

from golden_steps import call, contents, step, write, write_json

from iwslt14_archive import TEST_SETS, published_members, write_tgz

LANGUAGES = {"source_lang": "de", "target_lang": "en"}
SPLITS = ("train", "valid", "test")
SIDES = tuple(LANGUAGES.values())
LIMITS = {"min_tokens": 2, "max_tokens": 12, "max_ratio": 1.5}

NOUNS = {"Hund": "dog", "Baum": "tree", "Garten": "garden", "Wagen": "car", "Apfel": "apple", "Fluss": "river"}
PAIRS = [(f"Der {a} sieht den {b}.", f"The {NOUNS[a]} sees the {NOUNS[b]}.") for a in NOUNS for b in NOUNS]
# what normalisation, tokenisation and the filters have to do with
ODD_PAIRS = [
    ("Er sagte: „Guten  Tag!“ & ging.", "He said: “Good  day!” & left."),
    ("Dr. Müller kommt z.B. am 3. Mai usw.", "Dr. Müller isn't coming, e.g. on May 3 etc."),
    ("Siehe https://example.org/a?b=1 dort.", "See https://example.org/a?b=1 there."),
    ("Eine\u2028Zeile, 1.000,5 «Häuser»", "One\u2028line, 1,000.5 «houses»"),
    ("", "Nothing is there."),
    ("Ja.", "Yes."),
    ("Nein", "No"),
    (
        "eins zwei drei vier fünf sechs sieben acht neun zehn elf .",
        "one two three four five six seven eight nine ten .",
    ),
    ("a b c d e f g h i j k .", "a b c d e f g h i j k ."),
    ("a b c d e f g h i j k l .", "a b c d e f g h i j k l ."),
    ("Wir gehen.", "We will go."),
    ("Wir gehen heim.", "All of us are going to go home."),
    ("This sentence was never translated into German.", "This sentence was never translated into German."),
    ("Это предложение не немецкое.", "That sentence is not German."),
    ("Hallo, Welt!", "Hello, world!"),
    ("Hallo, Welt!", "Hello, world!"),
    ("Wir sehen den Wald.", "We see the forest."),
]


def sides(path: str) -> dict[str, str]:
    """The flags of both sides of a text."""
    return {"source": f"{path}.de", "target": f"{path}.en"}


def outputs(path: str) -> dict[str, str]:
    """The flags of both sides and the report that a step writes."""
    return {"output_source": f"{path}.de", "output_target": f"{path}.en", "report": f"{path}.json"}


def both(*paths: str) -> list[str]:
    """The files of both sides of each."""
    return [f"{path}.{code}" for path in paths for code in SIDES]


@step()
def fetch() -> dict:
    """From a mirror folder."""
    write(
        "mirror/golden/pairs.tsv",
        "".join(f"{index}\t{de}\t{en}\n" for index, (de, en) in enumerate(PAIRS)) + "broken\n",
    )
    entry = {"name": "pairs.tsv", "url": "http://127.0.0.1:9/pairs.tsv"}
    write_json("manifest.yaml", {"golden": {"licence": "CC0", "citation": "-", "home": "-", "files": [entry]}})
    named = {"dataset": "golden", "file": "pairs.tsv", "mirror": "mirror"}
    call("fetch", manifest="manifest.yaml", **named, output="pairs.tsv")
    return contents("pairs.tsv")


@step()
def generate() -> dict:
    """A few sentences of a small lexicon, and the corpus of config/config.yaml, whose grammar was checked once."""
    sizes = {"train_size": 12, "valid_size": 2, "test_size": 2, "lexicon": 200}
    call("generate", seed=1, zipf=1.1, **sizes, **LANGUAGES, output_dir="generated")
    sizes = {"train_size": 6000, "valid_size": 200, "test_size": 500, "lexicon": 600}
    call("generate", seed=1, zipf=1.0, **sizes, **LANGUAGES, output_dir="demo")
    texts = both(*(f"{folder}/{split}" for folder in ("generated", "demo") for split in SPLITS))
    return contents(*texts, "generated/stats.json")


@step()
def unpack_iwslt14() -> dict:
    """An archive whose test sets hold two pairs each; every 23rd pair of the rest is for validation."""
    tests = {name: [(f"Satz {n} von {name}.", f"Sentence {n} of {name}.") for n in range(2)] for name in TEST_SETS}
    write_tgz(Path("de-en.tgz"), published_members([*ODD_PAIRS, *PAIRS], tests))
    flags = LIMITS | LANGUAGES
    call("unpack_iwslt14", "--split-final-period", archive="de-en.tgz", **flags, output_dir="iwslt14")
    return contents(*both(*(f"iwslt14/{split}" for split in SPLITS)), "iwslt14/stats.json")


@step("fetch")
def collect() -> dict:
    """Two texts in an archive, then columns of a table."""
    with zipfile.ZipFile("odd.zip", "w") as archive:
        for side, code in enumerate(SIDES):
            archive.writestr(f"odd.{code}", "".join(f"{pair[side]}\n" for pair in ODD_PAIRS))
    words = [
        "--texts",
        "odd",
        "odd.zip::odd.de",
        "odd.zip::odd.en",
        "--tsv",
        "table",
        "pairs.tsv",
        "2,3",
        "--skip-malformed",
    ]
    call("collect", *words, **LANGUAGES, **outputs("raw/all"))
    return contents(*both("raw/all"), "raw/all.json")


@step("collect")
def split() -> dict:
    """Two sets of whole groups are held out."""
    call("split", **sides("raw/all"), **LANGUAGES, valid_size=5, test_size=5, seed=1, output_dir="raw")
    return contents(*both(*(f"raw/{split}" for split in SPLITS)), "raw/stats.json")


@step("split")
def shard_corpus() -> dict:
    """The training text in two."""
    call("shard_corpus", **sides("raw/train"), shards=2, output="raw/shards.json")
    return contents("raw/shards.json")


@step("split", "shard_corpus")
def prepare() -> dict:
    """The held-out sets whole, the training text in shards and through every filter."""
    options = ("--normalize", "--lowercase")
    for name in ("valid", "test"):
        call("prepare", *options, **sides(f"raw/{name}"), **LANGUAGES, split=name, **outputs(f"tok/{name}"))
    held_out = [write("held.de", "wir sehen den wald .\n"), write("held.en", "unseen\n")]
    filters = LIMITS | {"min_script": 0.5, "other_language": 0.9, "held_out": held_out}
    for number in range(2):
        shard = {"shards": "raw/shards.json", "shard": number, "split": "train"}
        flags = sides("raw/train") | LANGUAGES | filters | shard | outputs(f"tok/{number}")
        call("prepare", *options, "--split-final-period", **flags)
    paths = [f"tok/{name}" for name in ("valid", "test", 0, 1)]
    return contents(*both(*paths), *(f"{path}.json" for path in paths))


@step("shard_corpus", "prepare")
def join_shards() -> dict:
    """Duplicates are dropped, and the result is cut again."""
    shards = {
        "source": ["tok/0.de", "tok/1.de"],
        "target": ["tok/0.en", "tok/1.en"],
        "reports": ["tok/0.json", "tok/1.json"],
        "shards": "raw/shards.json",
    }
    call("join_shards", "--deduplicate", **shards, **outputs("tok/train"), output_shards="tok/shards.json")
    return contents(*both("tok/train"), "tok/train.json", "tok/shards.json")


@step("join_shards")
def learn_bpe() -> dict:
    """From every second line."""
    call("learn_bpe", input=both("tok/train"), merges=60, sample=20, output="codes")
    return contents("codes")


@step("learn_bpe", "join_shards", "prepare")
def apply_bpe() -> dict:
    """All three sets whole, and a shard of the training text."""
    for name in SPLITS:
        call("apply_bpe", codes="codes", **sides(f"tok/{name}"), **LANGUAGES, split=name, **outputs(f"bpe/{name}"))
    shard = {"shards": "tok/shards.json", "shard": 1, "split": "train"}
    call("apply_bpe", codes="codes", **sides("tok/train"), **LANGUAGES, **shard, **outputs("bpe/1"))
    paths = [f"bpe/{name}" for name in (*SPLITS, 1)]
    return contents(*both(*paths), *(f"{path}.json" for path in paths))


@step("apply_bpe")
def binarize() -> dict:
    """A dictionary for each language, and one for both."""
    call("binarize", bpe_dir="bpe", **LANGUAGES, output_dir="bin", report="binarize.json")
    call("binarize", "--joined-dictionary", bpe_dir="bpe", **LANGUAGES, output_dir="joined", report="joined.json")
    files = [path for folder in ("bin", "joined") for path in sorted(Path(folder).iterdir())]
    return contents(*files, "binarize.json", "joined.json")


@step("collect", "split", "prepare", "join_shards", "apply_bpe", "binarize")
def data_report() -> dict:
    """Of the files of all steps before."""
    reports = {
        "line_counts": ["raw/all.json", "raw/stats.json", *(f"tok/{name}.json" for name in SPLITS)],
        "bpe": [f"bpe/{name}.json" for name in SPLITS],
        "binarized": "binarize.json",
    }
    written = {"csv": "report/report.csv", "lengths": "report/lengths.csv", "page": "report/report.html"}
    call("data_report", experiment="golden", **LANGUAGES, data_dir=".", **reports, **LIMITS, **written)
    return contents(*written.values())
