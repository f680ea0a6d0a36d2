"""Build a training from resolved options, and write the model file of a finished one."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ekd_nmt.cluster.cache_size import amount
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import count_ranks
from kd.arguments import batches_per_rank, training_arguments
from kd.checkpoints import BEST, UNREADABLE, bytes_on_disk, first_line, save
from kd.dictionaries import check_dictionaries, fingerprints
from kd.distributed import connect
from kd.fairseq_api import (
    convert_namespace_to_omegaconf,
    get_training_parser,
    load_checkpoint_to_cpu,
    parse_args_and_arch,
)
from kd.training_loop import TrainingLoop


def prepare(
    options: dict[str, Any],
    *,
    data: Path,
    progress: Path,
    seed: int,
    teacher: Path | None = None,
    teacher_cache: Path | None = None,
    init: Path | None = None,
    cpu: bool = False,
    halvings: int = 0,
    before_saving: Callable[[], None] = lambda: None,
    say: Callable[[str], None] = print,
) -> TrainingLoop:
    """The training of one system, resumed from the checkpoints of ``progress`` if there are any.

    With several ranks, this process is one of them, started by ``torchrun``.

    Args:
        halvings: how often batches are halved after running out of memory; an update keeps its sentences.
        before_saving: called before checkpoints are replaced; may raise.

    Raises:
        UserError: too few GPUs; half precision without a GPU; a teacher, cache or initial model that does not match;
            too little disk space for the checkpoints.
    """
    cpu = cpu or not torch.cuda.is_available()
    if cpu and options["training"]["precision"] != "fp32":
        raise UserError(
            f"training.precision: {options['training']['precision']!r} needs a GPU and none is in use; set fp32"
        )
    arguments = training_arguments(
        options,
        data=str(data),
        save_dir=str(progress),
        seed=seed,
        teacher=None if teacher is None else str(teacher),
        teacher_cache=None if teacher_cache is None else str(teacher_cache),
        init=None if init is None else str(init),
        cpu=cpu,
    )
    parser = get_training_parser()
    cfg = convert_namespace_to_omegaconf(parse_args_and_arch(parser, input_args=arguments))
    cfg.common.tpu = False  # fairseq sets it with --bf16
    training = options["training"]
    ranks = count_ranks(training)
    connect(cfg, ranks)

    def check(built: TrainingLoop) -> None:
        _check_init(init, built)
        _check_room(built)

    loop = TrainingLoop(cfg, say, before_loading=check, before_saving=before_saving, micro_batches=2**halvings)
    share = batches_per_rank(training, ranks)
    _check_lengths(loop, training["max_tokens"], share["max_tokens"], ranks)
    say(f"{options['system']}: {loop.parameters:,} parameters, seed {seed}, on {loop.device}")
    if ranks > 1:
        changes = [f"{key} {training[key]} -> {value}" for key, value in share.items() if value != training[key]]
        say(f"{ranks} ranks share an update, which stays about as large: {', '.join(changes)}")
    if halvings:
        say(
            f"after running out of memory, each batch is split: max_tokens {share['max_tokens']} -> "
            f"{share['max_tokens'] // 2**halvings}, update_freq {share['update_freq']} -> "
            f"{share['update_freq'] * 2**halvings}; an update has the same sentences as before"
        )
    return loop


def _check_room(loop: TrainingLoop) -> None:
    """The disk has room for the checkpoints that are kept and the one that is being written."""
    half = loop.cfg.common.fp16 or loop.cfg.common.bf16
    # 4 bytes each for weights and Adam's two moments; half precision adds a copy of the weights
    a_checkpoint = loop.parameters * (16 if half else 12)
    needed = 5 * a_checkpoint - bytes_on_disk(loop.folder)
    if needed > (free := shutil.disk_usage(loop.folder).free):
        raise UserError(
            f"{loop.folder}: the checkpoints of this training take {amount(needed)} more, {amount(free)} are free; "
            "make room there (make clean-stale removes obsolete files), and run again"
        )


def _check_lengths(loop: TrainingLoop, configured: int, share: int, ranks: int) -> None:
    """Several ranks train on the same sentences as one process, and all validation sentences fit the model.

    fairseq skips training sentences longer than a batch, and fails after an epoch on validation sentences longer than
    the model takes.

    Args:
        configured, share: maximum tokens of a batch, as configured and of one rank.
    """
    train, valid = (loop.task.dataset(split) for split in ("train", "valid"))
    lengths = np.maximum(train.src_sizes, train.tgt_sizes)
    longest = int(lengths[lengths <= configured].max(initial=0))
    if longest > share:
        raise UserError(
            f"training.gpus: {ranks} ranks leave {share} tokens a batch, and a training sentence has {longest}; "
            "raise training.update_freq or training.max_tokens, or set fewer GPUs"
        )
    lengths, limit = np.maximum(valid.src_sizes, valid.tgt_sizes), min(loop.model.max_positions())
    if (longest := int(lengths.max(initial=0))) > limit:
        raise UserError(
            f"validation set: sentence {int(lengths.argmax()) + 1} has {longest} tokens, and the model takes {limit}; "
            "lower data.filter.max_tokens"
        )


def _check_init(path: Path | None, loop: TrainingLoop) -> None:
    """The initial model has tensors of the same names and shapes as the student, and the same dictionaries."""
    if path is None:
        return
    try:
        state = load_checkpoint_to_cpu(str(path))
        other = {name: tuple(value.shape) for name, value in state["model"].items()}
    except UNREADABLE as error:
        raise UserError(f"{path}: not a readable fairseq checkpoint ({first_line(error)}); train it again") from error
    own = {name: tuple(value.shape) for name, value in loop.model.state_dict().items()}
    for name in sorted(own.keys() | other.keys()):
        if own.get(name) != other.get(name):
            raise UserError(
                f"{path}: {name} is {other.get(name, 'missing')} there and {own.get(name, 'missing')} here; "
                "a stage can only start from a model of the same architecture and dictionaries"
            )
    check_dictionaries(
        state, loop.task, model=str(path), other="the corpus'", fix="train both stages on the same binarised corpus"
    )


def publish_model(loop: TrainingLoop, path: Path) -> None:
    """Write the best checkpoint as a model file: weights, options and dictionaries' fingerprints.

    Two runs of the same training write the same bytes: times, folders and the optimizer's state are left out.
    """
    state = load_checkpoint_to_cpu(str(loop.folder / BEST))
    cfg = loop.cfg_as_dict()
    folders = {"save_dir": None, "finetune_from_model": None}
    cfg["checkpoint"] |= folders
    cfg["model"] = Namespace(**vars(cfg["model"]) | folders)  # fairseq keeps a copy of all arguments as the model's
    model = {
        "args": None,
        "cfg": cfg,
        "model": state["model"],
        "criterion": None,
        "optimizer_history": state["optimizer_history"][-1:],
        "task_state": {},
        "extra_state": {
            # required by fairseq when a later stage starts from this model
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True},
            "dictionaries": fingerprints(loop.task),
        },
        "last_optimizer_state": None,
    }
    save(model, path)
