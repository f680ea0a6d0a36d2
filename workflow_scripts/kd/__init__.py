"""fairseq plugin for distillation: the criterion ``label_smoothed_kd`` and safe loading of checkpoints.

Load it with ``fairseq-train --user-dir workflow_scripts/kd`` or with ``import kd``; both may be done in one process.

Import it before fairseq where you can: only then is fairseq's start quiet.
"""

import argparse
import logging

import numpy
import torch

# fairseq's speech task asks every user to install tensorboardX, which text training never uses
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)

# What fairseq itself writes into a checkpoint beside tensors and plain containers: the options in their old form, and
# validation BLEU's n-gram counts as numpy arrays. torch.load refuses everything that is not named here, so loading a
# checkpoint cannot run code from it; weights_only stays on.
SAFE_GLOBALS = [
    argparse.Namespace,
    numpy.empty(0).__reduce__()[0],  # numpy's array constructor; its module's name depends on numpy's version
    numpy.ndarray,
    numpy.dtype,
    numpy.dtypes.Int64DType,
    numpy.dtypes.Float64DType,
]
torch.serialization.add_safe_globals(SAFE_GLOBALS)

from kd import criterion  # noqa: E402, F401  imported for its effect: it registers label_smoothed_kd with fairseq
