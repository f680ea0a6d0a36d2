"""Times of training steps and of validations. Imports torch and fairseq in the process that measures."""

from __future__ import annotations

import gc
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from material import Material, options

DROPOUT = 0.3


@dataclass(frozen=True)
class Setting:
    """How steps are run and timed."""

    device: Literal["cpu", "cuda"]
    precision: str
    max_tokens: int
    k: int | Literal["full"]
    threads: int
    batches: int  # of a round, the same for all variants
    rounds: int  # timed
    warm_up: int = 1  # rounds before, not timed
    keep_freed_memory: bool = True  # as train.py does


@dataclass
class Timing:
    """Results, by variant."""

    tokens: int = 0  # target tokens of a round
    device: str = "cpu"  # or the GPU's name
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of each round
    memory: dict[str, float] = field(default_factory=dict)  # peak on the GPU in MB, of the variant alone
    skipped: dict[str, int] = field(default_factory=dict)  # updates skipped because of fp16's loss scale


def variants(teachers: tuple[int, ...]) -> list[str]:
    """The variants: without a teacher, fairseq's criterion and ours; with each teacher, distillation as usually written
    and ours, online and cached.
    """
    return ["fairseq", "plain", *(f"{mode}{dim}" for mode in ("usual", "online", "cached") for dim in teachers)]


def measure(material: Material, names: list[str], setting: Setting) -> Timing:
    """Run all variants on the same batches in each round, in rotating order.

    The time is that of ``Trainer.train_step``: forward, backward and update, including the batch's transfer to the GPU
    and reading the cache, without collating the batch.

    Raises:
        UserError: a variant cannot be built, or the corpus has too few batches.
    """
    import torch

    start_process(setting)
    cuda = setting.device == "cuda"
    timing = Timing(device=torch.cuda.get_device_name() if cuda else "cpu")
    trainers: dict[str, Any] = {}
    batches: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            before = _allocated(cuda)
            loop = build(material, name, setting, Path(folder) / name)
            batches = batches or choose(loop, setting.batches)
            trainers[name] = compared(name, loop)
            trainers[name].begin_epoch(1)
            del loop
            turn(trainers[name], batches, cuda)  # allocates optimizer and gradients
            if cuda:
                held = _allocated(cuda) - before
                timing.memory[name] = (held + peak_of_a_step(trainers[name], batches)) / 2**20
    timing.tokens = sum(batch["ntokens"] for batch in batches)
    timing.seconds = {name: [] for name in names}
    for number in range(setting.warm_up + setting.rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            updates = trainers[name].get_num_updates()
            seconds = turn(trainers[name], batches, cuda)
            if number >= setting.warm_up:
                timing.seconds[name].append(seconds)
                made = trainers[name].get_num_updates() - updates
                timing.skipped[name] = timing.skipped.get(name, 0) + len(batches) - made
    return timing


def measure_validation(material: Material, beam: int, setting: Setting) -> float:
    """Seconds of one validation of the untrained student, including BLEU, as after an epoch."""
    start_process(setting)
    with tempfile.TemporaryDirectory() as folder:
        loop = build(material, "plain", setting, Path(folder), beam=beam)
        started = time.perf_counter()
        loop._validate(epoch=0)
        return time.perf_counter() - started


def start_process(setting: Setting) -> None:
    """Configure the process as train.py does."""
    from ekd_nmt.common.log_filters import quiet

    quiet()
    import torch

    from kd.malloc import keep_freed_memory

    if setting.keep_freed_memory:
        keep_freed_memory()
    torch.set_num_threads(setting.threads)


def build(material: Material, name: str, setting: Setting, progress: Path, beam: int = 5) -> Any:
    """The training of a variant, ready for its first update."""
    from kd.setup import prepare

    system = "plain" if name == "fairseq" else name.replace("usual", "online")
    training = {"precision": setting.precision, "max_tokens": setting.max_tokens, "dropout": DROPOUT}
    resolved = options(material.sizes, system, k=setting.k, beam=beam, **training)
    files = {}
    if resolved["teacher"]:
        dim = int(resolved["teacher"].removeprefix("teacher"))
        files["teacher"] = material.teacher(dim)
        if resolved["distillation"]["teacher_mode"] == "cached":
            files["teacher_cache"] = material.cache(dim, setting.k)
    cpu = setting.device == "cpu"
    return prepare(resolved, data=material.data, progress=progress, seed=1, cpu=cpu, say=lambda line: None, **files)


def compared(name: str, loop: Any) -> Any:
    """The training loop's trainer, for some variants with fairseq's criterion or the usual distillation."""
    from kd.fairseq_api import LabelSmoothedCrossEntropyCriterion
    from kd.trainer import Trainer

    ours, cfg = loop.trainer.criterion, loop.cfg
    if name == "fairseq":
        criterion = LabelSmoothedCrossEntropyCriterion(loop.task, ours.sentence_avg, ours.eps)
    elif name.startswith("usual"):
        from usual import UsualDistillation

        criterion = UsualDistillation(ours)
    else:
        return loop.trainer
    return Trainer(cfg, loop.task, loop.model, criterion)


def choose(loop: Any, count: int) -> list[dict[str, Any]]:
    """Batches at even distances, from those of short sentences to those of long ones.

    Raises:
        UserError: the corpus has too few.
    """
    from ekd_nmt.common.errors import UserError

    batches = list(loop.batches.next_epoch_itr(fix_batches_to_gpus=False, shuffle=False))
    if len(batches) < count:
        raise UserError(f"--batches {count}: the corpus has only {len(batches)}; lower it, or raise --sentences")
    batches.sort(key=lambda batch: batch["target"].size(1))
    return [batches[(2 * place + 1) * len(batches) // (2 * count)] for place in range(count)]


def turn(trainer: Any, batches: list[dict[str, Any]], cuda: bool) -> float:
    """Seconds of one update on each batch."""
    import torch

    from kd.fairseq_api import metrics

    if cuda:
        torch.cuda.synchronize()
    started = time.perf_counter()
    with metrics.aggregate(new_root=True):
        for batch in batches:
            trainer.train_step([batch])
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def peak_of_a_step(trainer: Any, batches: list[dict[str, Any]]) -> int:
    """Peak bytes of forward and backward pass, without what is allocated between two steps.

    Not measured with ``train_step``, in which fairseq resets the counter.
    """
    import torch

    peaks = []
    for batch in batches:
        sample, _ = trainer._prepare_sample(batch)
        start = _allocated(cuda=True)
        torch.cuda.reset_peak_memory_stats()
        trainer.criterion.train()(trainer.model.train(), sample)[0].backward()
        peaks.append(torch.cuda.max_memory_allocated() - start)
        trainer.zero_grad()
    return max(peaks)


def _allocated(cuda: bool) -> int:
    import torch

    gc.collect()
    return torch.cuda.memory_allocated() if cuda else 0
