"""translate.py on a tiny model trained to translate its six words by heart."""

import argparse
import importlib
import json
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

import translate
from ekd_nmt.common.errors import UserError

# training goes through fairseq, whose warnings are not ours
pytestmark = pytest.mark.filterwarnings("ignore")
WORDS = {"eins": "one", "zwei": "two", "drei": "th@@ ree", "vier": "four", "fünf": "f@@ ive", "sechs": "six"}


@dataclass
class Corpus:
    """A trained model with its data; ``expected`` are its right hypotheses, BPE removed."""

    model: Path
    data: Path
    source: Path
    reference: Path
    expected: list[str]

    def arguments(self, **changes) -> argparse.Namespace:
        named = {"model": self.model, "data": self.data, "source": self.source, "reference": self.reference}
        named |= {"target_lang": "en", "output": self.data.parent / "test.hyp.jsonl"} | changes
        flags = [part for name, value in named.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        return translate.parser().parse_args(flags)


def call(module: str, *flags: object) -> None:
    """Run a fairseq command in this process, which has paid for its imports."""
    main = importlib.import_module(f"fairseq_cli.{module}").cli_main
    with mock.patch.object(sys, "argv", [module, *map(str, flags)]):
        main()


def binarise(folder: Path, sentences: list[list[str]], *flags: object) -> Path:
    folder.mkdir()
    for lang, words in (("de", WORDS.keys()), ("en", WORDS.values())):
        spoken = dict(zip(WORDS, words, strict=True))
        text = "".join(" ".join(spoken[word] for word in sentence) + "\n" for sentence in sentences)
        (folder / f"text.{lang}").write_text(text, encoding="utf-8")
    prefix = folder / "text"
    pairs = [f"--{split}pref={prefix}" for split in ("train", "valid", "test")]
    call("preprocess", "-s", "de", "-t", "en", *pairs, f"--destdir={folder / 'bin'}", *flags)
    return folder / "bin"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    import kd  # noqa: F401  (lets fairseq load its own checkpoints)

    folder = tmp_path_factory.mktemp("translate")
    draw = random.Random(1)
    # lengths are mixed, so batches by length are in another order than the corpus
    sentences = [draw.sample(list(WORDS), k=draw.randint(1, 4)) for _ in range(60)]
    data = binarise(folder / "corpus", sentences)
    parts = ("layers=1", "embed-dim=32", "ffn-embed-dim=64", "attention-heads=2")
    size = [f"--{side}-{part}" for side in ("encoder", "decoder") for part in parts]
    optimizer = ["--criterion=cross_entropy", "--optimizer=adam", "--dropout=0", "--clip-norm=1", "--seed=1", "--cpu"]
    optimizer += ["--lr=5e-3", "--lr-scheduler=polynomial_decay", "--total-num-update=150", "--max-epoch=150"]
    files = [f"--save-dir={folder / 'run'}", "--no-epoch-checkpoints", "--no-progress-bar", "--save-interval=150"]
    files += ["--disable-validation", "--batch-size=60", "--required-batch-size-multiple=1"]
    call("train", data, "--arch=transformer", *size, *optimizer, *files)

    source, reference = folder / "test.de", folder / "test.en"
    source.write_text("".join(" ".join(s) + "\n" for s in sentences), encoding="utf-8")
    expected = [" ".join(WORDS[word].replace("@@ ", "") for word in sentence) for sentence in sentences]
    # capitals tell the raw reference from anything computed
    reference.write_text("".join(f"{line.capitalize()}.\n" for line in expected), encoding="utf-8")
    return Corpus(folder / "run" / "checkpoint_last.pt", data, source, reference, expected)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_every_line_in_order(corpus):
    args = corpus.arguments()
    translate.translate(args)
    rows = read(args.output)
    assert [row["id"] for row in rows] == list(range(60))
    assert [row["source"] for row in rows] == corpus.source.read_text(encoding="utf-8").splitlines()
    assert [row["reference"] for row in rows] == corpus.reference.read_text(encoding="utf-8").splitlines()
    assert [row["hypothesis_tokenized"] for row in rows] == corpus.expected
    assert [row["hypothesis"] for row in rows] == corpus.expected
    assert all(-1 < row["score"] < 0 and row["score"] == round(row["score"], 4) for row in rows)


@pytest.mark.slow
def test_small_batches_change_nothing(corpus, tmp_path):
    # 1 is below every length: each sentence must get a batch all the same
    for max_tokens in (1, 20):
        args = corpus.arguments(max_tokens=max_tokens, output=tmp_path / "out.jsonl")
        translate.translate(args)
        assert [row["hypothesis_tokenized"] for row in read(args.output)] == corpus.expected


def translator_in_doubt(corpus):
    """The trained model with noise on its weights, so that its choices are hard."""
    import torch

    from kd.beam_search import Translator

    translator = Translator(corpus.model, corpus.data, "en", cpu=True)
    torch.manual_seed(1)
    with torch.no_grad():
        for weights in translator.model.parameters():
            weights.add_(0.4 * torch.randn_like(weights))
    return translator


def everything(translator, beam):
    """Translate the test set; returns its translations in corpus order."""
    from kd.beam_search import Search

    search = Search(translator, "test", beam)
    found = {}
    for batch in translator.batches("test", 4096):
        found |= dict(zip(batch.tolist(), search.translate(batch), strict=True))
    return [found[number] for number in range(len(found))]


@pytest.mark.slow
def test_wider_beam_finds_likelier_sentences(corpus):
    from kd.beam_search import Beam

    translator = translator_in_doubt(corpus)
    total = {size: sum(found.score for found in everything(translator, Beam(size, lenpen=0.0))) for size in (1, 8)}
    assert total[8] > total[1] + 1


@pytest.mark.slow
def test_score_is_the_models_probability(corpus):
    import torch

    from kd.beam_search import Beam

    translator = translator_in_doubt(corpus)
    pairs, dictionary = translator.load("test"), translator.task.target_dictionary
    pieces = {word.replace("@@ ", ""): word for word in WORDS.values()}
    checked = 0
    for number, found in enumerate(everything(translator, Beam(4, lenpen=0.6))):
        if not set(found.text.split()) <= set(pieces):
            continue  # "th@@ six" cannot be split into its pieces again
        words = " ".join(pieces[word] for word in found.text.split())
        target = dictionary.encode_line(words, add_if_not_exist=False, append_eos=True).long()
        pair = pairs.collater([{**pairs[number], "target": target}])
        with torch.no_grad():
            logits, _ = translator.model(**pair["net_input"])
        log_probabilities = logits[0].log_softmax(-1).gather(1, target[:, None])
        assert found.score == pytest.approx(float(log_probabilities.sum()) / len(target) ** 0.6, abs=1e-4)
        checked += 1
    assert checked > 10


@pytest.mark.slow
def test_options_reach_the_search(corpus, tmp_path):
    from kd import beam_search

    with mock.patch.object(beam_search, "SequenceGenerator", wraps=beam_search.SequenceGenerator) as generator:
        changes = {"beam": 3, "lenpen": 0.6, "max_len_a": 1.5, "max_len_b": 7}
        translate.translate(corpus.arguments(output=tmp_path / "out.jsonl", **changes))
    expected = {"beam_size": 3, "len_penalty": 0.6, "max_len_a": 1.5, "max_len_b": 7}
    assert generator.call_args.kwargs == expected


@pytest.mark.slow
def test_empty_and_overlong_lines_are_translated(corpus, tmp_path):
    sentences = [["zwei"], [], ["drei"] * 1500, ["eins"]]  # the model is built for 1,024 tokens
    dictionaries = [f"--srcdict={corpus.data / 'dict.de.txt'}", f"--tgtdict={corpus.data / 'dict.en.txt'}"]
    data = binarise(tmp_path / "odd", sentences, *dictionaries)
    raw = tmp_path / "raw"
    raw.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences), encoding="utf-8")
    args = corpus.arguments(data=data, source=raw, reference=raw, max_len_a=0, output=tmp_path / "out.jsonl")
    translate.translate(args)
    rows = read(args.output)
    assert [rows[0]["hypothesis"], rows[3]["hypothesis"]] == ["two", "one"]
    assert len(rows) == 4
    assert rows[2]["hypothesis"]


def refuse(corpus, message: str, **changes) -> None:
    args = corpus.arguments(**{"output": corpus.data.parent / "refused.jsonl"} | changes)
    with pytest.raises(UserError, match=message):
        translate.translate(args)
    assert not args.output.exists()


@pytest.mark.slow
def test_lines_must_match_the_data(corpus, tmp_path):
    short = tmp_path / "short"
    short.write_text("eins\n", encoding="utf-8")
    refuse(corpus, r"test\.de has 60 lines, .*short has 1", reference=short)
    refuse(corpus, r"short has 1 lines, split test in .* has 60", source=short, reference=short)


@pytest.mark.slow
def test_model_must_match_the_data(corpus, tmp_path):
    words = [[word] for word in list(WORDS)[:4]]
    other = binarise(tmp_path / "other", words)
    raw = tmp_path / "raw"
    raw.write_text("x\n" * 4, encoding="utf-8")
    refuse(
        corpus, r"its source dictionary has 16 symbols, that of .* has \d+; pass", data=other, source=raw, reference=raw
    )
    refuse(corpus, "is translated to en, not to fr", target_lang="fr")


@pytest.mark.slow
def test_unusable_files_are_named(corpus, tmp_path):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(corpus.model.read_bytes()[:5000])
    foreign = tmp_path / "foreign.pt"
    foreign.write_text("no checkpoint", encoding="utf-8")
    refuse(corpus, r"damaged\.pt: is not a readable fairseq checkpoint", model=damaged)
    refuse(corpus, r"foreign\.pt: is not a readable fairseq checkpoint", model=foreign)
    refuse(corpus, r"none\.pt: cannot be read \(No such file", model=tmp_path / "none.pt")
    refuse(corpus, "has no split 'dev'", split="dev")
    refuse(corpus, "holds no binarised data", data=tmp_path)
    refuse(corpus, "nowhere: not found", data=tmp_path / "nowhere")
    shutil.copytree(corpus.data, tmp_path / "bin")
    (tmp_path / "bin" / "dict.en.txt").unlink()
    refuse(corpus, r"dict\.en\.txt: not found", data=tmp_path / "bin")


def test_hypotheses_are_detokenised():
    translation = argparse.Namespace(text="&quot; it &apos;s 5 % , no ? &quot; a &amp; b", score=-0.123456)
    (record,) = translate.records(["quelle"], ["Reference"], [translation], "en")
    assert record["hypothesis"] == '"it\'s 5%, no?" a & b'
    assert record["hypothesis_tokenized"] == translation.text
    assert record["score"] == -0.1235


@pytest.mark.parametrize(("flag", "value"), [("--beam", "0"), ("--max-tokens", "-1"), ("--threads", "x")])
def test_numbers_are_checked(flag, value):
    files = ["--model", "m", "--data", "d", "--source", "s", "--reference", "r", "--target-lang", "en", "--output", "o"]
    with pytest.raises(UserError, match=f"^{flag}: needs a number.* above 0, got '{value}'; correct it"):
        translate.parser().parse_args([*files, flag, value])
