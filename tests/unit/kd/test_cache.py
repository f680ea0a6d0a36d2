"""kd/cache.py: reading the rows of a batch, and errors on damaged caches and those of another origin."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_cache as tiny
import tiny_training
from ekd_nmt.common.errors import UserError
from kd.binarized_corpus import load_task
from kd.cache import TeacherCache, as_teaching, record_type
from kd.teacher import CachedTeacher, Teacher

pytestmark = pytest.mark.filterwarnings("ignore")  # models are built by fairseq, whose warnings are not ours


@pytest.fixture(scope="module")
def made(cached_model, tiny_corpus, tmp_path_factory):
    """Caches of several shards, by k; not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    return {
        k: tiny.write(tiny.request(cached_model, tiny_corpus, top_k=k, shard_bytes=size), folder / str(k))
        for k, size in ((5, tiny.SHARD_BYTES), ("full", 3000))
    }


@pytest.fixture
def cache(made, tmp_path):
    """A copy of the cache of the top 5 that a test may damage."""
    return Path(shutil.copytree(made[5], tmp_path / "copy"))


def in_file_order(cache: Path, split: str) -> list[np.ndarray]:
    """The records of every sentence, by numpy's own reader."""
    records = np.concatenate([np.load(path) for path in sorted(cache.glob(f"{split}.0*.npy"))])
    return np.split(records, np.load(cache / f"{split}.starts.npy")[1:-1])


# Reading


@pytest.mark.parametrize("k", [5, "full"])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_sentences_in_any_order_and_more_than_once(made, k, split):
    expected = in_file_order(made[k], split)
    reader = TeacherCache(made[k]).split(split)
    assert len(reader) == len(expected) == tiny_training.SIZES[split]
    draw = np.random.default_rng(1)
    for size in (1, 3, 2 * len(reader)):
        wanted = draw.integers(0, len(reader), size)
        records, lengths = reader.read(wanted)
        assert lengths.tolist() == [len(expected[number]) for number in wanted]
        assert records.tobytes() == b"".join(expected[number].tobytes() for number in wanted)


def test_first_and_last_sentence_of_each_shard(made):
    expected = in_file_order(made[5], "train")
    cache = TeacherCache(made[5])
    counts = [shard["sentences"] for shard in cache.meta["splits"]["train"]["shards"]]
    assert len(counts) > 3
    ends = np.cumsum(counts)
    for number in sorted({*(ends - counts), *(ends - 1)}):
        records, _ = cache.split("train").read(np.array([number]))
        assert records.tobytes() == expected[number].tobytes()


def test_no_sentences(made):
    records, lengths = TeacherCache(made[5]).split("train").read(np.array([], dtype=np.int64))
    assert (len(records), len(lengths)) == (0, 0)


def test_released_pages_are_read_again(made, monkeypatch):
    expected = in_file_order(made[5], "train")
    reader = TeacherCache(made[5]).split("train")
    monkeypatch.setattr("kd.cache._MAPPED_BYTES", 0)
    for _ in range(2):
        records, _ = reader.read(np.arange(len(reader)))
        assert records.tobytes() == b"".join(sentence.tobytes() for sentence in expected)


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("k", [5, "full"])
@pytest.mark.parametrize("left_out", [0, 1])
def test_distributions_of_a_batch_are_those_of_the_teacher(made, cached_model, tiny_corpus, split, k, left_out):
    """``left_out``: number of first positions to ignore, as with fairseq's option ignore_prefix_size."""
    task = load_task(tiny_corpus)
    sample = task.dataset(split).collater([task.dataset(split)[number] for number in (15, 2, 9, 4)])
    kept = sample["target"].ne(task.target_dictionary.pad())
    kept[:, :left_out] = False
    rows = kept.flatten().nonzero().squeeze(1)
    settings = {"dtype": torch.float32, "training": split == "train"}
    expected = Teacher.load(cached_model, task).teach(sample, rows, **settings)
    found = CachedTeacher.open(made[k], task, cached_model, 1.0).teach(sample, rows, **settings)
    if k == "full":
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    else:
        torch.testing.assert_close(found.log_probs, expected.gather(1, found.ids), atol=3e-3, rtol=2e-3)


def test_events_add_up_to_one_although_each_is_rounded(made):
    teaching = as_teaching(np.concatenate(in_file_order(made[5], "train")), torch.device("cpu"))
    assert teaching.ids.dtype == torch.int64
    total = teaching.log_probs.exp().sum(dim=1) + teaching.tail.exp()
    torch.testing.assert_close(total, torch.ones(len(total)), atol=1e-6, rtol=0)


def test_a_tail_of_nothing_stays_nothing():
    records = np.zeros(2, record_type(3, 3))
    records["id"], records["logp"], records["tail"] = [0, 2, 1], np.log([0.5, 0.3, 0.2]), -np.inf
    teaching = as_teaching(records, torch.device("cpu"))
    assert teaching.tail.tolist() == [-np.inf] * 2
    torch.testing.assert_close(teaching.log_probs.exp().sum(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("k", "vocabulary", "size"), [(4, 2**16, 18), (4, 2**16 + 1, 26), (40, 9, 38), ("full", 9, 36)]
)
def test_bytes_of_a_position(k, vocabulary, size):
    assert record_type(k, vocabulary).itemsize == size


# Errors


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["train.00002.npy", "valid.00000.npy", "train.starts.npy", "valid.starts.npy"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (tiny.flip, "was altered: its SHA-256 is not that in meta.json"),
        (cut, r"has [\d,]+ bytes instead of [\d,]+"),
        (Path.unlink, "is missing"),
    ],
)
def test_a_damaged_file(cache, name, damage, message):
    TeacherCache(cache).verify()
    damage(cache / name)
    with pytest.raises(UserError, match=f"{name}: {message}; delete {cache} and run again"):
        TeacherCache(cache).verify()


def test_no_cache(tmp_path):
    with pytest.raises(UserError, match=r"meta\.json: cannot be read \(No such file or directory\); run the step"):
        TeacherCache(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1}', "\xff"])
def test_meta_of_something_else(cache, text):
    (cache / "meta.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"meta\.json: ('\w+' is missing or of a wrong type|not JSON .*); delete"):
        TeacherCache(cache)


@pytest.mark.parametrize("keys", [["tails"], ["splits", "valid"]])
def test_meta_without_a_key(cache, keys):
    meta = json.loads((cache / "meta.json").read_text())
    del (meta if len(keys) == 1 else meta[keys[0]])[keys[-1]]
    (cache / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=rf"meta\.json: '{keys[0]}' is missing or of a wrong type; delete"):
        TeacherCache(cache)


def test_another_format(cache):
    meta = json.loads((cache / "meta.json").read_text())
    (cache / "meta.json").write_text(json.dumps(meta | {"format": 2}))
    with pytest.raises(UserError, match=r"meta\.json: has format 2, this version reads 1; delete"):
        TeacherCache(cache)


def refuse(message: str, *arguments) -> None:
    with pytest.raises(UserError, match=f"the cache is of {message}") as error:
        CachedTeacher.open(*arguments)
    assert "\n" not in str(error.value)


def test_a_cache_of_something_else(made, cached_model, tiny_corpus, tmp_path):
    task = load_task(tiny_corpus)
    CachedTeacher.open(made[5], task, cached_model, 1.0)
    other = tiny.save_teacher(tiny_corpus, tmp_path / "other.pt", seed=3)
    refuse(r"another teacher \(SHA-256 \w{12} there, \w{12} here\)", made[5], task, other, 1.0)
    refuse(r"temperature 1\.0 instead of 2\.0", made[5], task, cached_model, 2.0)


@pytest.mark.parametrize(("side", "language"), [("source", "de"), ("target", "en")])
def test_a_cache_of_other_dictionaries(made, cached_model, tiny_corpus, tmp_path, side, language):
    data = Path(shutil.copytree(tiny_corpus, tmp_path / "bin"))
    path = data / f"dict.{language}.txt"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([lines[1], lines[0], *lines[2:]]), encoding="utf-8")
    refuse(rf"another {side} dictionary \(SHA-256", made[5], load_task(data), cached_model, 1.0)
    path.write_text("".join([*lines, "more 1\n"]), encoding="utf-8")
    what = "a vocabulary of" if side == "target" else "another source dictionary"
    refuse(what, made[5], load_task(data), cached_model, 1.0)


@pytest.mark.parametrize("name", ["train.de-en.en.bin", "train.de-en.en.idx", "valid.de-en.de.bin"])
def test_one_altered_sentence_of_the_corpus(made, cached_model, tiny_corpus, tmp_path, name):
    data = Path(shutil.copytree(tiny_corpus, tmp_path / "bin"))
    task = load_task(data)
    tiny.flip(data / name)
    message = rf"another {name.partition('.')[0]} corpus \(SHA-256 \w{{12}} there, \w{{12}} here\)"
    refuse(message, made[5], task, cached_model, 1.0)
