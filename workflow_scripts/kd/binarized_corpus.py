"""A binarised corpus as fairseq's translation task reads it."""

from __future__ import annotations

from pathlib import Path

from ekd_nmt.common.errors import UserError
from kd.cache import SPLITS
from kd.fairseq_api import TranslationConfig, TranslationTask, infer_language_pair


def load_task(data: Path) -> TranslationTask:
    """The translation task of a binarised corpus, its training and validation set mapped into memory.

    Raises:
        UserError: the folder holds no binarised corpus, or an incomplete one.
    """
    fix = "run workflow_scripts/binarize.py first"
    source, target = infer_language_pair(str(data))
    if source is None or target is None:
        raise UserError(f"{data}: no binarised corpus there; {fix}")
    try:
        # the defaults refer to other sections of fairseq's configuration
        own = {"dataset_impl": None, "required_seq_len_multiple": 1}
        config = TranslationConfig(data=str(data), source_lang=source, target_lang=target, **own)
        task = TranslationTask.setup_task(config)
        for split in SPLITS:
            task.load_dataset(split)
            if task.dataset(split).tgt is None:  # fairseq reads a corpus without its target side as monolingual
                raise FileNotFoundError(f"no target side of {split}")
    except FileNotFoundError as error:
        raise UserError(f"{data}: the binarised corpus is incomplete ({error}); {fix}") from error
    return task
