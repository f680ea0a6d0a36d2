"""Everything that the workflow uses of fairseq, by concern; no other module imports it.

Import fairseq's names from here, so that this list stays what replacing fairseq would take (docs/dependencies.md).
"""
# ruff: noqa: F401, I001  the names are re-exported, and grouped by concern

# Tasks and dictionaries: vocabulary files, the translation task, its pairs and batches of them
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.data.data_utils import infer_language_pair
from fairseq.tasks import FairseqTask, setup_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

# Binarised data: the format of .bin and .idx files
from fairseq.data.indexed_dataset import MMapIndexedDataset, best_fitting_int_dtype
from fairseq.data.indexed_dataset import _dtype_header_code as dtype_code

# Data iterators: batches of an epoch, their order, the position within it
from fairseq.data.iterators import CountingIterator, EpochBatchIterator, GroupedIterator
from fairseq.utils import resolve_max_positions

# Models: Transformers from their options
from fairseq.models import build_model

# Trainer: updates, gradient accumulation, mixed precision, optimizer, learning rate, meters
from fairseq.logging import metrics
from fairseq.trainer import Trainer as FairseqTrainer
from fairseq.utils import move_to_cpu, move_to_cuda, set_torch_seed

# Criterion base: registration, and the options and logs of label smoothing
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum

# Checkpoints: reading them, and restoring trainer and iterator
from fairseq.checkpoint_utils import load_checkpoint, load_checkpoint_to_cpu, load_model_ensemble_and_task

# Sequence generator: beam search
from fairseq.sequence_generator import SequenceGenerator

# Distributed training: process groups and sums over ranks
from fairseq.distributed.utils import all_reduce, distributed_init, get_data_parallel_group

# Options: command-line arguments, and the configuration made of them
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.options import get_training_parser, parse_args_and_arch
