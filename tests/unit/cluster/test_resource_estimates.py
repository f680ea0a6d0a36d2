"""Resource requests: the estimate of memory against real trainings, and how requests depend on sizes."""

import importlib
import json
from types import SimpleNamespace

import pytest

import tiny_training as tiny
from binarize import binarize
from configurations import PRESETS, ROOT, SYSTEMS, experiment, merged
from ekd_nmt.cluster.corpus_size import CorpusSize, corpus_size
from ekd_nmt.cluster.resource_estimates import (
    caching_memory,
    parameters,
    training_memory,
    training_minutes,
    translating_memory,
    word_types,
)
from ekd_nmt.cluster.resource_requests import ResourceRequests
from ekd_nmt.cluster.rule_table import RULES
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.config.manifest import load_manifest

MANIFEST = load_manifest(ROOT / "config/datasets.yaml")
SHORT_RULES = {name for name, rule in RULES.items() if not rule.leased} - {"clean_stale"}
IWSLT = CorpusSize(160_000, 7000, 6000, 8848, 6632, tokens=25, longest=220)


def iwslt(overlay: dict | None = None) -> Experiment:
    return Experiment(merged(ROOT / "config/iwslt14.yaml", overlay or {}))


def memory(system, overlay=None, corpus=IWSLT, gpu=False, estimate=training_memory):
    built = iwslt(overlay)
    teacher = built.teacher(system)
    models = built.model(system), built.model(teacher) if teacher else None
    return estimate(built.options(system), *models, corpus, gpu)


def minutes(*arguments, **options):
    return memory(*arguments, **options, estimate=training_minutes)


def job(system="student", **more):
    return SimpleNamespace(system=system, seed="1", variant="top32", **more)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("signal_handlers")
def test_parameters_are_those_of_the_real_model(tiny_corpus, tmp_path):
    from fairseq.data import Dictionary

    tiny.run_training(tiny_corpus, tmp_path / "run", tiny.options(max_epoch=1))
    symbols = [len(Dictionary.load(str(tiny_corpus / f"dict.{language}.txt"))) for language in ("de", "en")]
    sizes = CorpusSize(32, 16, 8, *symbols, tokens=5, longest=10)
    shape = SimpleNamespace(**tiny.MODELS["small"])
    assert parameters(shape, sizes) == json.loads((tmp_path / "run/train.json").read_text())["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["student", "senior_teacher"])
def test_estimate_fits_a_real_training(system, tmp_path, monkeypatch):
    """With Multi30k's sizes, where a batch of the larger model takes more than the imports."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    case = importlib.import_module("memory").Case("multi30k", tmp_path, updates=4)
    case.write_corpus()
    found = case.train(system)
    assert found.measured > 400, "a training has torch in memory"
    assert found.fits, found


def test_memory_grows_with_model_batch_and_corpus():
    sizes = [memory(system) for system in ("student", "junior_teacher", "senior_teacher")]
    assert sizes == sorted(sizes)
    assert sizes[2] > 2 * sizes[0]
    assert memory("student", {"training": {"max_tokens": 8192}}) > 1.5 * memory("student")
    online = memory("senior_student", {"distillation": {"teacher_mode": "online"}})
    assert memory("student") < memory("senior_student") < online - 200
    assert memory("student", corpus=IWSLT._replace(target_symbols=40_000)) > memory("student") + 1000
    assert memory("student", corpus=IWSLT._replace(longest=1000)) > memory("student")
    assert memory("student", corpus=IWSLT._replace(train=5_000_000)) > memory("student") + 500
    # the host of a GPU needs no memory for batches
    larger = {"training": {"max_tokens": 16_384}}
    assert memory("senior_teacher", gpu=True) == memory("senior_teacher", larger, gpu=True)
    assert memory("senior_teacher", larger) > 2 * memory("senior_teacher", larger, gpu=True)


def test_memory_of_caching_and_translating():
    built = iwslt()
    student, senior = built.model("student"), built.model("senior_teacher")
    sizes = [caching_memory(senior, IWSLT, 4096, full, False) for full in (False, True)]
    assert sizes[0] < sizes[1]
    assert caching_memory(student, IWSLT, 4096, False, False) < sizes[0]
    wide = built.config.decoding.model_copy(update={"beam": 10})
    searches = [
        translating_memory(model, IWSLT, decoding, False)
        for model, decoding in ((student, built.config.decoding), (senior, built.config.decoding), (senior, wide))
    ]
    assert searches == sorted(searches)
    assert searches[2] > 1.5 * searches[1]
    few = IWSLT._replace(test=10)
    assert translating_memory(senior, few, wide, False) < searches[0]


def test_time_grows_with_the_work():
    assert minutes("senior_teacher") > 2 * minutes("student")
    assert minutes("senior_student", {"distillation": {"teacher_mode": "online"}}) > 1.3 * minutes("senior_student")
    # the control has the epochs of the whole chain, and a limit of updates ends a training before its epochs
    assert minutes("senior_student_matched") > minutes("master_student")
    assert minutes("student", {"training": {"max_update": 100}}) < minutes("student") / 100
    assert minutes("student", gpu=True) < minutes("student")
    beam = {"training": {"validation": {"beam": 1}}}
    assert minutes("student", beam, gpu=True) == pytest.approx(minutes("student", gpu=True), rel=0.05)
    assert 2 * 60 < minutes("student", gpu=True) < 8 * 60, "30 epochs of 1,200 updates, 0.1 s each"
    assert minutes("student", beam) < minutes("student")


def test_requests_grow_with_the_attempt_up_to_a_limit():
    requests = ResourceRequests(iwslt({"cluster": {"max_runtime": 700}}), MANIFEST)
    first, *later = (requests.memory("train")(job("student"), attempt=attempt) for attempt in (1, 2, 3, 4, 9))
    assert [round(size / first, 1) for size in later] == [1.5, 2.0, 2.0, 2.0]
    times = [requests.runtime("translate")(job(), attempt=attempt) for attempt in range(1, 100)]
    assert times[1] == 2 * times[0]
    assert times[-1] == 700
    limited, usual = (ResourceRequests(iwslt(overlay), MANIFEST) for overlay in ({"cluster": {"max_mem_mb": 1000}}, {}))
    assert usual.memory("train")(job("student"), attempt=1) > 1000
    assert limited.memory("train")(job("student"), attempt=3) == 1000
    assert limited.memory("score")(job(), attempt=1) == usual.memory("score")(job(), attempt=1) < 1000


def test_corpus_steps_of_the_demo_take_less_than_an_hour_together():
    requests = ResourceRequests(Experiment(merged(ROOT / "config/config.yaml")), MANIFEST)
    rules = SHORT_RULES - {"unpack_iwslt14", "collect", "split"}
    assert sum(requests.runtime(rule)(job(), attempt=1) for rule in rules) <= 60


def test_memory_and_threads_are_those_of_one_node():
    overlay = {"systems": {"senior_teacher": {"gpus": 4, "nodes": 2}}, "threads": 2}
    requests = ResourceRequests(iwslt(overlay), MANIFEST)
    senior, student = job("senior_teacher"), job("student")
    assert [requests.threads(each) for each in (senior, student)] == [4, 2]
    alone = ResourceRequests(iwslt(), MANIFEST).memory("train")(senior, attempt=1)
    assert 3.5 < requests.memory("train")(senior, attempt=1) / alone <= 4


def test_training_without_gpus_needs_more_memory_and_time():
    requests, usual = (ResourceRequests(iwslt({"cluster": {"request_gpus": gpus}}), MANIFEST) for gpus in (False, True))
    senior = job("senior_teacher")
    assert requests.memory("train")(senior, attempt=1) > usual.memory("train")(senior, attempt=1)
    assert requests.runtime("train")(senior, attempt=1) >= usual.runtime("train")(senior, attempt=1)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_request_of_every_preset_is_an_integer_that_fits_a_node(preset, tmp_path):
    (tmp_path / "my_text").mkdir()
    for language in ("de", "en"):
        (tmp_path / f"my_text/corpus.{language}").write_text("ein Satz\n" * 50_000)
    requests = ResourceRequests(Experiment(merged(preset)), MANIFEST)
    wanted = [(rule, job(system)) for rule in ("train", "cache_teacher", "translate") for system in SYSTEMS]
    left_out = {"config": {"unpack_iwslt14"}, "iwslt14": {"generate"}}.get(preset.stem, {"generate", "unpack_iwslt14"})
    wanted += [(rule, job()) for rule in SHORT_RULES - left_out]
    wanted += [("fetch", job(dataset=name, file=file.name)) for name, each in MANIFEST.items() for file in each.files]
    for rule, wildcards in wanted:
        size, time = (ask(rule)(wildcards, attempt=1) for ask in (requests.memory, requests.runtime))
        assert type(size) is type(time) is int, rule
        assert 300 < size <= 32_000, (rule, size)
        assert (10 if RULES[rule].leased else 3) <= time <= 1440, (rule, time)


def test_corpus_size_is_published_until_it_is_measured(tmp_path):
    from fairseq.data.indexed_dataset import MMapIndexedDataset

    built = experiment("{data: {corpus: multi30k}}")
    published = corpus_size(built, MANIFEST)
    assert published[:3] == (29_000, 1014, 1000)
    report = tmp_path / built.data_path("binarize.json")
    report.parent.mkdir(parents=True)
    for split, lines in {"train": "a b c\nb c\n", "valid": "c c\n", "test": "a\n"}.items():
        (tmp_path / f"{split}.de").write_text("x\n" * lines.count("\n"))
        (tmp_path / f"{split}.en").write_text(lines)
    content = binarize(tmp_path, ("de", "en"), tmp_path / "bin")
    report.write_text(json.dumps(content))
    symbols = [content["dictionaries"][language] for language in ("de", "en")]
    datasets = (MMapIndexedDataset(str(tmp_path / f"bin/{split}.de-en.en")) for split in ("train", "valid"))
    counted = tuple(int(dataset.sizes.sum()) for dataset in datasets)
    assert counted == (5 + 2, 2 + 1)
    assert corpus_size(built, MANIFEST) == CorpusSize(2, 1, 1, *symbols, 3.5, published.longest, counted)
    for split in content["splits"].values():
        split["de"] |= {"sentences": 0}
        split["en"] |= {"sentences": 0}
    other_language = {"splits": {"train": {"cs": {"sentences": 1, "tokens": 1}}}, "dictionaries": {"cs": 4}}
    for damaged in ("", "{}", '{"splits": {"train": {"en": {"sentences": 0}}}}', "[]", content, other_language):
        report.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
        assert corpus_size(built, MANIFEST) == published
    report.unlink()
    assert corpus_size(built, MANIFEST) == published


@pytest.mark.parametrize(
    ("overlay", "pairs", "tokens"),
    [
        ("data: {synthetic: {train_size: 40000, valid_size: 1000, test_size: 9}}", (40_000, 1000, 9), 15),
        # without the held-out pairs
        ("data: {corpus: tatoeba, holdout: {valid_size: 813, test_size: 9000}}", (160_000, 813, 9000), 25),
    ],
)
def test_corpus_size_before_it_is_binarised(overlay, pairs, tokens):
    corpus = corpus_size(experiment(overlay), MANIFEST)
    assert (corpus[:3], corpus.tokens, corpus.target_tokens) == (pairs, tokens, None)


def test_corpus_size_is_estimated_from_the_files_of_a_user(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"x" * 2_000_000)
    (tmp_path / "train.tsv.gz").write_bytes(b"x" * 2_000_000)
    # missing files are an error elsewhere
    for file, pairs in {"train.tsv": 10_000, "train.tsv.gz": 20_000, "lost.tsv": 1}.items():
        corpus = corpus_size(experiment(f"{{data: {{corpus: local, local: {{train: [{file}]}}}}}}"), MANIFEST)
        assert corpus[:3] == (pairs, 1000, 1000)


def test_large_corpora_need_more_memory_for_splitting_and_bpe():
    small, large = (
        ResourceRequests(experiment(f"{{data: {{corpus: {name}}}}}"), MANIFEST) for name in ("multi30k", "wmt17")
    )
    for rule in ("split", "learn_bpe", "binarize"):
        assert large.memory(rule)(job(), attempt=1) > small.memory(rule)(job(), attempt=1)
    sampled = ResourceRequests(experiment("{data: {corpus: wmt17}, bpe: {sample: 100000}}"), MANIFEST)
    assert sampled.memory("learn_bpe")(job(), attempt=1) < large.memory("learn_bpe")(job(), attempt=1)
    assert word_types(10) == 10
    assert 8600 < word_types(6000 * 19) < 4 * 8600
