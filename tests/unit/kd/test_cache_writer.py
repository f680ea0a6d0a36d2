"""kd/cache_writer.py and kd/cache_layout.py: the records, shards and batches, and errors."""

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import tiny_cache as tiny
import tiny_training
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import sha256
from kd.binarized_corpus import load_task
from kd.cache import TeacherCache, record_type
from kd.cache_layout import batches, coverage, mass_statistics, plan_shards, to_records
from kd.cache_writer import CacheWriter

pytestmark = pytest.mark.filterwarnings("ignore")  # models are built by fairseq, whose warnings are not ours


def stored(cache) -> dict[str, list[np.ndarray]]:
    """Records of each sentence, by split, read from the files."""
    meta = json.loads((cache / "meta.json").read_text())
    found = {}
    for split, entry in meta["splits"].items():
        records = np.concatenate([np.load(cache / shard["file"]) for shard in entry["shards"]])
        starts = np.load(cache / entry["starts"]["file"])
        assert starts[-1] == len(records) == entry["tokens"]
        found[split] = np.split(records, starts[1:-1])
        assert len(found[split]) == entry["sentences"]
    return found


# Records


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [5, 1000, "full"], ids=["top 5", "more than there are", "full"])
def test_records_are_the_teachers_probabilities(cached_model, tiny_corpus, tmp_path, k, temperature):
    cache = tiny.write(
        tiny.request(cached_model, tiny_corpus, top_k=k, temperature=temperature, shard_bytes=3000), tmp_path
    )
    expected = tiny.reference(cached_model, tiny_corpus, temperature)
    found = stored(cache)
    size = expected["train"][0].size(1)
    for split, sentences in expected.items():
        assert len(found[split]) == len(sentences) == tiny_training.SIZES[split]
        for records, log_probs in zip(found[split], sentences, strict=True):
            assert len(records) == len(log_probs), "a position is missing"
            if k == "full":
                torch.testing.assert_close(torch.from_numpy(records["logp"]).double(), log_probs, atol=1e-5, rtol=1e-5)
                continue
            ids = torch.from_numpy(records["id"].astype(np.int64))
            assert ids.size(1) == min(k, size)
            kept = torch.from_numpy(records["logp"].astype(np.float64))
            best = log_probs.topk(min(k, size), dim=1).values
            torch.testing.assert_close(log_probs.gather(1, ids), best, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(kept, best, atol=1e-5, rtol=2**-11)
            rest = log_probs.scatter(1, ids, -math.inf).logsumexp(dim=1)
            torch.testing.assert_close(torch.from_numpy(records["tail"].astype(float)), rest, atol=1e-5, rtol=2**-11)
    if k != "full":
        assert np.isfinite(found["train"][0]["tail"]).all() == (k == 5)


def test_a_confident_teachers_tail_keeps_its_digits():
    logits = torch.tensor([[40.0, 0.0, 1.0, -1.0], [0.0, 1.0, 30.0, 2.0]])
    records = to_records(logits.log_softmax(1), record_type(1, 4))
    assert records["id"][:, 0].tolist() == [0, 2]
    expected = [np.log(np.exp([0.0, 1.0, -1.0]).sum()) - 40, np.log(np.exp([0.0, 1.0, 2.0]).sum()) - 30]
    assert records["tail"].astype(float) == pytest.approx(expected, rel=1e-3)


def test_large_vocabularies_have_wide_ids():
    log_probs = torch.full((1, 70_000), -20.0).index_fill(1, torch.tensor([69_999]), -0.1)
    assert to_records(log_probs, record_type(2, 70_000))["id"][0, 0] == 69_999


def test_blocks_of_rows_change_nothing(monkeypatch):
    log_probs = torch.randn(23, 11, generator=torch.Generator().manual_seed(1)).log_softmax(1)
    record = record_type(4, 11)
    whole = to_records(log_probs, record)
    monkeypatch.setattr("kd.cache_layout._BLOCK_BYTES", 5 * 4 * 11)
    assert to_records(log_probs, record).tobytes() == whole.tobytes()


def test_meta_identifies_teacher_and_lists_all_files(cached_model, tiny_corpus, cache_request, uninterrupted_cache):
    meta = json.loads(uninterrupted_cache["meta.json"])
    task = load_task(tiny_corpus)
    expected = {"format": 1, "top_k": 5, "vocabulary": len(task.target_dictionary), "temperature": 1.0}
    assert {key: meta[key] for key in expected} == expected
    assert meta["teacher"] == sha256(cached_model)
    shards = meta["splits"]["train"]["shards"]
    assert len(shards) > 3
    assert [shard["file"] for shard in shards] == [f"train.{number:05d}.npy" for number in range(len(shards))]
    size = record_type(5, meta["vocabulary"]).itemsize
    assert all(shard["tokens"] * size <= tiny.SHARD_BYTES for shard in shards)
    listed = {file["file"] for entry in meta["splits"].values() for file in (entry["starts"], *entry["shards"])}
    assert uninterrupted_cache.keys() == listed | {"meta.json", meta["tails"]["file"]}, "other files are published"


@pytest.mark.parametrize("k", [5, 1000, "full"], ids=["top 5", "more than there are", "full"])
def test_tails_are_the_average_of_what_the_training_records_leave_out(cached_model, tiny_corpus, tmp_path, k):
    cache = tiny.write(tiny.request(cached_model, tiny_corpus, top_k=k), tmp_path)
    tails = TeacherCache(cache).tails().double()
    log_probs = torch.cat(tiny.reference(cached_model, tiny_corpus)["train"])
    size = log_probs.size(1)
    expected = torch.full((size,), 1 / size, dtype=torch.float64)  # every token is stored
    if k == 5:
        left_out = log_probs.scatter(1, log_probs.topk(5, dim=1).indices, -math.inf).exp().sum(dim=0)
        expected = 0.99 * left_out / left_out.sum() + 0.01 / size
        assert expected.max() > 3 * expected.min(), "the teacher's tails are too uniform for this test"
    torch.testing.assert_close(tails, expected, rtol=1e-5, atol=1e-8)


def test_coverage_is_mean_and_percentile_of_all_positions(cached_model, tiny_corpus, tmp_path):
    cache = tiny.write(tiny.request(cached_model, tiny_corpus), tmp_path)
    meta, expected = TeacherCache(cache).meta, tiny.reference(cached_model, tiny_corpus)
    for split, sentences in expected.items():
        mass = torch.cat([log_probs.topk(5, dim=1).values.exp().sum(dim=1) for log_probs in sentences]).numpy()
        found = meta["splits"][split]["coverage"]
        assert found["mean"] == pytest.approx(mass.mean(), abs=5e-4)
        assert found["p5"] == pytest.approx(np.percentile(mass, 5, method="inverted_cdf"), abs=1e-3)


def test_coverage_of_several_shards_is_that_of_one():
    draw = np.random.default_rng(3)
    records = np.zeros(1000, record_type(2, 9))
    records["tail"] = np.log(draw.uniform(0.01, 0.99, len(records)))
    shards = [json.loads(json.dumps(mass_statistics(shard))) for shard in np.split(records, [300, 301, 900])]
    assert coverage(shards) == coverage([mass_statistics(records)])
    mass = 1 - np.exp(records["tail"].astype(float))
    assert coverage(shards)["mean"] == pytest.approx(mass.mean(), abs=1e-6)
    assert coverage(shards)["p5"] == pytest.approx(np.percentile(mass, 5, method="inverted_cdf"), abs=0.5e-4)


def test_full_covers_everything(cached_model, tiny_corpus, tmp_path):
    meta = TeacherCache(tiny.write(tiny.request(cached_model, tiny_corpus, top_k="full"), tmp_path)).meta
    assert {split: entry["coverage"] for split, entry in meta["splits"].items()} == {
        split: {"mean": 1.0, "p5": 1.0} for split in ("train", "valid")
    }


# Shards and batches


def test_shards_are_whole_sentences_in_order():
    lengths = np.array([3, 4, 9, 1, 1, 1, 30, 2])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    shards = plan_shards("train", starts, record_bytes=2, shard_bytes=20)
    assert [(shard.first, shard.end, shard.tokens) for shard in shards] == [
        (0, 2, 7), (2, 4, 10), (4, 6, 2), (6, 7, 30), (7, 8, 2),
    ]  # fmt: skip
    assert [shard.number for shard in shards] == list(range(5))


def test_a_large_corpus_has_a_bounded_number_of_shards():
    starts = np.arange(0, 10_000_001, 10)
    assert len(plan_shards("train", starts, record_bytes=4, shard_bytes=40)) < 520


@pytest.mark.parametrize("max_tokens", [1, 40, 10_000])
def test_batches_have_every_sentence(max_tokens):
    draw = random.Random(4)
    source, target = (np.array([draw.randint(1, 30) for _ in range(101)]) for _ in range(2))
    found = batches(source, target, max_tokens)
    assert sorted(np.concatenate(found).tolist()) == list(range(101))
    for batch in found:
        width = max(source[batch].max(), target[batch].max())
        assert len(batch) == 1 or len(batch) * width <= max_tokens
    widths = [target[batch] for batch in found]
    assert np.concatenate(widths).tolist() == sorted(target.tolist()), "not of similar length"


def test_batch_size_changes_only_rounding(tmp_path, cache_request):
    single = stored(tiny.write(replace(cache_request, max_tokens=1), tmp_path / "single"))
    large = stored(tiny.write(replace(cache_request, max_tokens=4096), tmp_path / "large"))
    for one, other in zip(single["train"], large["train"], strict=True):
        np.testing.assert_allclose(one["logp"].astype(float), other["logp"].astype(float), rtol=2**-10)


# Errors


def test_a_diverged_teacher(cached_model, tiny_corpus, tmp_path):
    state = torch.load(cached_model)
    state["model"]["decoder.layers.0.fc1.weight"].fill_(float("nan"))
    torch.save(state, tmp_path / "diverged.pt")
    with pytest.raises(UserError, match=r"diverged\.pt: its probabilities are not finite in line \d+ of train"):
        tiny.write(tiny.request(tmp_path / "diverged.pt", tiny_corpus), tmp_path)


@pytest.mark.parametrize(("top_k", "warned"), [(5, False), (1000, True), ("full", False)])
def test_top_k_above_the_vocabulary_is_reported(cached_model, tiny_corpus, tmp_path, top_k, warned):
    lines = []
    CacheWriter(tiny.request(cached_model, tiny_corpus, top_k=top_k), tmp_path, say=lines.append).run()
    warnings = [line for line in lines if line.startswith("warning: top_k 1000 is above the vocabulary, ")]
    assert len(warnings) == warned
