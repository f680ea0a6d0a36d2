"""From resolved options to a training run, and from a finished run to a model file."""

from __future__ import annotations

import shutil
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq import options as fairseq_options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from ekd_nmt.cluster.cache_size import amount
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.types import count_ranks
from kd.arguments import shared_batches, training_arguments
from kd.checkpoints import BEST, UNREADABLE, bytes_on_disk, first_line, save
from kd.dictionaries import check_dictionaries, fingerprints
from kd.distributed import connect
from kd.training_loop import Driver


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
) -> Driver:
    """Build the training run of one system, going on from the checkpoints of ``progress`` if there are any.

    If several ranks train the system, this process is one of them, started by ``torchrun``.

    Args:
        halvings: times that batches are halved for want of memory; as many more of them make an update.
        before_saving: called before checkpoints are replaced; may raise.

    Raises:
        UserError: too few GPUs; half precision without a GPU; a teacher, a cache or an initial model that does not fit;
            no room on the disk for the checkpoints.
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
    parser = fairseq_options.get_training_parser()
    cfg = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, input_args=arguments))
    cfg.common.tpu = False  # fairseq takes --bf16 for a wish to run on one
    training = options["training"]
    ranks = count_ranks(training)
    connect(cfg, ranks)

    def check(built: Driver) -> None:
        _check_init(init, built)
        _check_room(built)

    driver = Driver(cfg, say, before_loading=check, before_saving=before_saving, parts=2**halvings)
    share = shared_batches(training, ranks)
    _check_lengths(driver, training["max_tokens"], share["max_tokens"], ranks)
    say(f"{options['system']}: {driver.parameters:,} parameters, seed {seed}, on {driver.device}")
    if ranks > 1:
        changes = [f"{key} {training[key]} -> {value}" for key, value in share.items() if value != training[key]]
        say(f"{ranks} ranks share an update, which stays about as large: {', '.join(changes)}")
    if halvings:
        say(
            f"for want of memory each batch is split: max_tokens {share['max_tokens']} -> "
            f"{share['max_tokens'] // 2**halvings}, update_freq {share['update_freq']} -> "
            f"{share['update_freq'] * 2**halvings}; an update has the same sentences as before"
        )
    return driver


def _check_room(driver: Driver) -> None:
    """The disk has room for the checkpoints that are kept, and the one that is being written."""
    half = driver.cfg.common.fp16 or driver.cfg.common.bf16
    # weights and Adam's two moments, in 4 bytes each; with half precision also a copy of the weights
    a_checkpoint = driver.parameters * (16 if half else 12)
    needed = 5 * a_checkpoint - bytes_on_disk(driver.folder)
    if needed > (free := shutil.disk_usage(driver.folder).free):
        raise UserError(
            f"{driver.folder}: the checkpoints of this training take {amount(needed)} more, {amount(free)} are free; "
            "make room there (make clean-stale removes what is of no use any more), and run again"
        )


def _check_lengths(driver: Driver, configured: int, share: int, ranks: int) -> None:
    """The ranks leave out no training sentence that one process would not, and each validation sentence fits the model.

    fairseq leaves a sentence out that is longer than a batch may be, and stops at the other kind after an epoch.

    Args:
        configured, share: most tokens of a batch as configured, and of one rank's.
    """
    train, valid = (driver.task.dataset(split) for split in ("train", "valid"))
    lengths = np.maximum(train.src_sizes, train.tgt_sizes)
    longest = int(lengths[lengths <= configured].max(initial=0))
    if longest > share:
        raise UserError(
            f"training.gpus: {ranks} ranks leave {share} tokens a batch, and a training sentence has {longest}; "
            "raise training.update_freq or training.max_tokens, or set fewer GPUs"
        )
    lengths, limit = np.maximum(valid.src_sizes, valid.tgt_sizes), min(driver.model.max_positions())
    if (longest := int(lengths.max(initial=0))) > limit:
        raise UserError(
            f"validation set: sentence {int(lengths.argmax()) + 1} has {longest} tokens, and the model takes {limit}; "
            "lower data.filter.max_tokens"
        )


def _check_init(path: Path | None, driver: Driver) -> None:
    """The initial model has the student's tensors, shape by shape, and its dictionaries, symbol by symbol."""
    if path is None:
        return
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(str(path))
        other = {name: tuple(value.shape) for name, value in state["model"].items()}
    except UNREADABLE as error:
        raise UserError(f"{path}: not a readable fairseq checkpoint ({first_line(error)}); train it again") from error
    own = {name: tuple(value.shape) for name, value in driver.model.state_dict().items()}
    for name in sorted(own.keys() | other.keys()):
        if own.get(name) != other.get(name):
            raise UserError(
                f"{path}: {name} is {other.get(name, 'missing')} there and {own.get(name, 'missing')} here; "
                "a stage can only start from a model of the same architecture and dictionaries"
            )
    check_dictionaries(
        state, driver.task, model=str(path), other="the corpus'", fix="train both stages on the same binarised corpus"
    )


def publish_model(driver: Driver, path: Path) -> None:
    """Write the best checkpoint as a model file: weights, options and dictionaries' fingerprints, and nothing that
    differs between two runs of the same training (times, folders, the optimizer's state).
    """
    state = checkpoint_utils.load_checkpoint_to_cpu(str(driver.folder / BEST))
    cfg = driver.cfg_as_dict()
    folders = {"save_dir": None, "finetune_from_model": None}
    cfg["checkpoint"] |= folders
    cfg["model"] = Namespace(**vars(cfg["model"]) | folders)  # fairseq keeps all arguments once more as the model's
    model = {
        "args": None,
        "cfg": cfg,
        "model": state["model"],
        "criterion": None,
        "optimizer_history": state["optimizer_history"][-1:],
        "task_state": {},
        "extra_state": {
            # what fairseq asks for when a later stage starts from this model
            "train_iterator": {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True},
            "dictionaries": fingerprints(driver.task),
        },
        "last_optimizer_state": None,
    }
    save(model, path)
