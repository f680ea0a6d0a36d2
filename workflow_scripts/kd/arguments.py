"""fairseq's training arguments for the resolved options of one system; a pure function, so that tests compare text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ekd_nmt.config.types import count_ranks

_SWITCHES = {"fp32": [], "fp16": ["--fp16"], "bf16": ["--bf16"]}


def batches_per_rank(training: Mapping[str, Any], ranks: int) -> dict[str, int]:
    """Batch options of each rank, such that an update of all ranks is as large as that of a single process.

    A single process accumulates ``update_freq`` batches an update. The ranks divide these batches between them as far
    as the numbers allow; the remaining factor divides the size of the batches.

    Args:
        training: with ``update_freq``, ``max_tokens`` and ``max_sentences``.
        ranks: number of ranks.
    """
    fewer = math.gcd(training["update_freq"], ranks)
    smaller = ranks // fewer
    return {
        "update_freq": training["update_freq"] // fewer,
        "max_tokens": max(1, training["max_tokens"] // smaller),
        "max_sentences": max(1, training["max_sentences"] // smaller),
    }


def training_arguments(
    options: Mapping[str, Any],
    *,
    data: str,
    save_dir: str,
    seed: int,
    teacher: str | None = None,
    teacher_cache: str | None = None,
    init: str | None = None,
    cpu: bool = False,
) -> list[str]:
    """The ``fairseq-train`` arguments that train a system.

    Args:
        options: as returned by :meth:`ekd_nmt.config.experiment.Experiment.options`.
        data: folder of the binarised corpus.
        save_dir: folder of the checkpoints; training resumes from those it holds.
        seed: of initialisation, batch order and dropout.
        teacher: the teacher's model file; None trains on the cross-entropy alone.
        teacher_cache: folder of that teacher's cache; None runs the teacher on every batch.
        init: model file with the initial weights; ignored once ``save_dir`` holds a checkpoint.
        cpu: use no GPU even if there is one.
    """
    model, training = options["model"], options["training"]
    validation = training["validation"]
    batches = batches_per_rank(training, count_ranks(training))
    flags = {
        "--save-dir": save_dir,
        "--seed": seed,
        "--task": "translation",
        "--arch": "transformer",
        "--optimizer": training["optimizer"],
        "--adam-betas": str(tuple(training["adam_betas"])),
        "--lr": training["lr"],
        "--lr-scheduler": training["lr_scheduler"],
        "--warmup-updates": training["warmup_updates"],
        "--warmup-init-lr": training["warmup_init_lr"],
        "--dropout": training["dropout"],
        "--weight-decay": training["weight_decay"],
        "--clip-norm": training["clip_norm"],
        "--label-smoothing": training["label_smoothing"],
        "--max-tokens": batches["max_tokens"],
        "--batch-size": batches["max_sentences"],
        "--max-tokens-valid": training["max_tokens"],
        "--batch-size-valid": training["max_sentences"],
        "--update-freq": batches["update_freq"],
        "--max-epoch": training["max_epoch"],
        "--num-workers": 0,
        "--log-format": "none",
    }
    for side in ("encoder", "decoder"):
        flags |= {
            f"--{side}-embed-dim": model["embed_dim"],
            f"--{side}-ffn-embed-dim": model["ffn_dim"],
            f"--{side}-attention-heads": model["heads"],
            f"--{side}-layers": model["layers"],
        }
    switches = ["--share-decoder-input-output-embed", "--no-progress-bar", *_SWITCHES[training["precision"]]]
    if training["max_update"] is not None:
        flags["--max-update"] = training["max_update"]
    if validation["metric"] == "bleu":
        limits = {key: validation[key] for key in ("beam", "max_len_a", "max_len_b")}
        flags |= {
            "--eval-bleu-args": json.dumps(limits),
            "--eval-bleu-detok": "moses",
            "--best-checkpoint-metric": "bleu",
        }
        switches += ["--eval-bleu", "--eval-bleu-remove-bpe", "--maximize-best-checkpoint-metric"]
    if init is not None:
        flags["--finetune-from-model"] = init
    if teacher is None:
        flags["--criterion"] = "label_smoothed_rows"
    else:
        distillation = options["distillation"]
        flags |= {
            "--criterion": "label_smoothed_kd",
            "--teacher": teacher,
            "--alpha": distillation["alpha"],
            "--temperature": distillation["temperature"],
            "--divergence": distillation["divergence"],
        }
        if teacher_cache is not None:
            flags["--teacher-cache"] = teacher_cache
            if "tail" in distillation:
                flags["--tail"] = distillation["tail"]
        if distillation["teacher_dropout"]:
            switches.append("--teacher-dropout")
    if cpu:
        switches.append("--cpu")
    return [data, *(text for flag, value in flags.items() for text in (flag, str(value))), *switches]
