"""fairseq plugin for distillation: the criterion ``label_smoothed_kd`` and safe loading of checkpoints.

Load it with ``fairseq-train --user-dir workflow_scripts/kd`` or with ``import kd``; one process may do both. Import it
before fairseq where possible, because the log filter below has no effect on a fairseq that is imported already.
"""

import argparse
import logging
from typing import Any

import numpy
import torch

# fairseq's speech task asks every user to install tensorboardX, which text training never uses
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

# What fairseq writes into a checkpoint besides tensors and plain containers: the options in their old form, and the
# n-gram counts of validation BLEU as numpy arrays. torch.load refuses every global that is not listed here, so loading
# a checkpoint cannot run code from it; weights_only stays on.
SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,
    numpy.empty(0).__reduce__()[0],  # numpy's array constructor; its module's name depends on numpy's version
    numpy.ndarray,
    numpy.dtype,
    numpy.dtypes.Int64DType,
    numpy.dtypes.Float64DType,
]
torch.serialization.add_safe_globals(SAFE_GLOBALS)

from kd import criterion  # noqa: E402, F401  registers label_smoothed_kd with fairseq
