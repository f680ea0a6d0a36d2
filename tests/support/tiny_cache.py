"""Teacher caches of a few kilobytes, in several shards, of an untrained teacher on the corpus of tiny_training."""

import shutil
import sys
from pathlib import Path
from unittest import mock

import torch

import cache_teacher
import handlers
import kd  # noqa: F401  before fairseq, as the workflow's own steps do
from ekd_nmt.resume.work_folder import WorkFolder
from kd.binarized_corpus import load_task
from kd.cache import SPLITS
from kd.cache_writer import CacheWriter, Request
from kd.dictionaries import fingerprints
from tiny_models import make_model, model_options, save_checkpoint

SCRIPT = Path(cache_teacher.__file__)
SHARD_BYTES, MAX_TOKENS = 700, 20


def save_teacher(data: Path, path: Path, seed: int = 2) -> Path:
    """Save a teacher with random weights and dropout in its options, as the workflow does."""
    task = load_task(data)
    model = make_model(task, dim=12, dropout=0.3, seed=seed)
    save_checkpoint(path, model, model_options(dim=12, dropout=0.3), fingerprints(task))
    return path


def request(teacher: Path, data: Path, **changes) -> Request:
    """Batches of a few sentences, shards of a few batches, on the CPU."""
    settings = {
        "top_k": 5,
        "temperature": 1.0,
        "max_tokens": MAX_TOKENS,
        "shard_bytes": SHARD_BYTES,
        "cpu": True,
    } | changes
    return Request(teacher=teacher, data=data, **settings)


def start(wanted: Request, folder: Path) -> CacheWriter:
    """Start or resume; ``folder`` holds the work folder and, in the end, the cache."""
    (folder / "progress").mkdir(parents=True, exist_ok=True)
    return CacheWriter(wanted, folder / "progress", say=lambda line: None)


def write(wanted: Request, folder: Path, **options) -> Path:
    """Make a cache, or resume it; returns its folder, in ``folder``."""
    work = start(wanted, folder)
    work.run(**options)
    shutil.rmtree(folder / "cache", ignore_errors=True)
    work.cache.rename(folder / "cache")
    WorkFolder(folder / "progress").clear()
    return folder / "cache"


def content(cache: Path) -> dict[str, bytes]:
    """The bytes of all files of a folder, by path in it."""
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


def flip(path: Path) -> None:
    """Alter one bit of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def command(teacher: Path, data: Path, output: Path, *flags: str, top_k: int | str = 5) -> list[str]:
    """The command line of cache_teacher.py."""
    named = {"teacher": teacher, "data": data, "top-k": top_k, "output": output, "summary": output.with_suffix(".json")}
    named |= {"max-tokens": MAX_TOKENS}
    return [
        str(SCRIPT),
        *(str(part) for name, value in named.items() for part in (f"--{name}", value)),
        "--cpu",
        *flags,
    ]


def run_command(arguments: list[str]) -> None:
    """Call cache_teacher.py in this process, which has imported fairseq, with small shards and batches."""
    with (
        mock.patch.object(sys, "argv", arguments),
        mock.patch("kd.cache_writer.SHARD_BYTES", SHARD_BYTES),
        handlers.given_back(),
    ):
        cache_teacher.main()


def reference(teacher: Path, data: Path, temperature: float = 1.0) -> dict[str, list[torch.Tensor]]:
    """Log-probabilities ``(length, V)`` of each sentence, by split, in float64, computed sentence by sentence."""
    from kd.teacher import Teacher

    task = load_task(data)
    model = Teacher.load(teacher, task).model.double()
    return {split: [_sentence(model, pair, temperature) for pair in _pairs(task.dataset(split))] for split in SPLITS}


def _pairs(dataset) -> list[dict]:
    return [dataset[number] for number in range(len(dataset))]


@torch.no_grad()
def _sentence(model, pair: dict, temperature: float) -> torch.Tensor:
    source, target = pair["source"], pair["target"]
    # fairseq prepends the end of sentence to a target
    previous = torch.cat([target[-1:], target[:-1]])
    logits, _ = model(source[None], torch.tensor([len(source)]), previous[None])
    return (logits[0] / temperature).log_softmax(dim=-1)
