"""How close training on a teacher's k most likely tokens comes to training on its whole distribution.

For each k and both values of ``distillation.tail``, on the same batches and with the same student: the training loss
and its distillation term relative to those of the whole distribution, the cosine of the two gradients of a batch over
all parameters, and the teacher's probability of the k tokens. Records are rounded as in a cache. Use it to choose
``distillation.top_k`` for a teacher:

    python benchmarks/agreement.py --teacher results/EXP/senior_teacher/seed1/model.pt \\
        --student results/EXP/student/seed1/model.pt --data results/EXP/data/bin
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from ekd_nmt.common.command import run  # noqa: E402
from ekd_nmt.common.errors import UserError  # noqa: E402
from ekd_nmt.common.files import atomic_write  # noqa: E402
from ekd_nmt.common.log_filters import quiet  # noqa: E402

SEED = 1  # of the untrained student


@dataclass
class Signal:
    """Losses in nats, summed over the batches; gradient as one vector and covered probability of each batch."""

    loss: float = 0.0
    distillation: float = 0.0
    mass: list[Any] = field(default_factory=list)
    gradients: list[Any] = field(default_factory=list)


def measure(args: argparse.Namespace) -> list[dict[str, float]]:
    """One row for each k and tail.

    Raises:
        UserError: the models or the corpus cannot be used.
    """
    import numpy as np
    import torch

    from kd.binarized_corpus import load_task
    from kd.cache import record_type
    from kd.cache_layout import batches, tails_distribution, to_records
    from kd.teacher import Teacher

    torch.set_num_threads(args.threads)
    task = load_task(args.data)
    teacher = Teacher.load(args.teacher, task, args.temperature)
    student = Teacher.load(args.student, task).model.requires_grad_(True)
    if args.untrained:
        torch.manual_seed(SEED)
        untrained = type(student).build_model(student.cfg, task)
        student.load_state_dict(untrained.state_dict())
    dataset = task.dataset("train")
    chosen = np.unique(np.linspace(0, len(dataset) - 1, args.sentences).astype(int))
    sizes = (each[chosen] for each in (dataset.src_sizes, dataset.tgt_sizes))
    samples = [
        dataset.collater([dataset[int(chosen[index])] for index in batch]) | {"padding": task.target_dictionary.pad()}
        for batch in batches(*sizes, args.max_tokens)
    ]
    vocabulary = len(task.target_dictionary)
    whole = signal(student, teacher, samples, None, None, args)
    rows = []
    for k in args.k:
        record = record_type(k, vocabulary)
        sums = np.zeros(vocabulary)
        for sample in samples:
            to_records(teacher.teach(sample, scored(sample), dtype=torch.float32, training=False), record, sums)
        for tail, tails in (("bucket", None), ("redistribute", torch.from_numpy(tails_distribution(sums)))):
            top = signal(student, teacher, samples, record, tails, args)
            rows.append({"k": k, "tail": tail, "bytes a token": record.itemsize} | compare(top, whole))
    return rows


def scored(sample: dict[str, Any]) -> Any:
    """Positions of the flattened target that are not padding."""
    inside = sample["target"].ne(sample["padding"])
    return inside.flatten().nonzero().squeeze(1)


def signal(
    student: Any, teacher: Any, samples: Sequence[dict[str, Any]], record: Any, tails: Any, args: argparse.Namespace
) -> Signal:
    """The student's losses and gradients, with the teacher reduced to ``record``s (None: the whole distribution)."""
    import torch

    from kd.cache import as_teaching
    from kd.cache_layout import to_records
    from kd.fused_loss import Weights, fused_loss
    from kd.projection import decoder_features, project

    weights = Weights(args.label_smoothing, args.alpha, args.temperature)
    result = Signal()
    for sample in samples:
        rows, target = scored(sample), sample["target"].flatten()
        teaching = teacher.teach(sample, rows, dtype=torch.float32, training=False)
        if record is not None:
            records = to_records(teaching, record)
            teaching = as_teaching(records, target.device, tails)
            result.mass.append(-torch.from_numpy(records["tail"].astype("f8")).expm1())
        student.zero_grad(set_to_none=True)
        logits = project(student, decoder_features(student, sample["net_input"], rows))
        losses = fused_loss(logits, target[rows], weights, teaching)
        losses.total.backward()
        result.loss += losses.total.item()
        result.distillation += losses.distillation.item()
        gradients = [p.grad.flatten() for p in student.parameters() if p.grad is not None]
        result.gradients.append(torch.cat(gradients).double())
    return result


def compare(top: Signal, whole: Signal) -> dict[str, float]:
    """The columns of a row of the table."""
    import torch

    mass = torch.cat(top.mass)
    pairs = zip(top.gradients, whole.gradients, strict=True)
    cosines = torch.stack([torch.cosine_similarity(*pair, dim=0) for pair in pairs])
    return {
        "mass, mean": mass.mean().item(),
        "mass, 5th percentile": mass.quantile(0.05).item(),
        "loss / whole": top.loss / whole.loss,
        "distillation / whole": top.distillation / whole.distillation,
        "gradient cosine, mean": cosines.mean().item(),
        "lowest": cosines.min().item(),
    }


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="model.pt")
    parser.add_argument("--student", type=Path, required=True, help="model.pt of a student")
    parser.add_argument("--untrained", action="store_true", help="use new random weights instead of the student's")
    parser.add_argument("--data", type=Path, required=True, help="folder of the binarised corpus")
    parser.add_argument("--k", type=int, nargs="+", default=[4, 8, 16, 32, 64], help="default: %(default)s")
    parser.add_argument("--sentences", type=int, default=2000, help="of the training set, evenly spread")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--alpha", type=float, default=0.5)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--max-tokens", type=int, default=2048, help="of a batch, as in training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", type=Path, help="file for the table")
    args = parser.parse_args()
    if min(args.k) < 1 or args.sentences < 1:
        raise UserError("--k and --sentences: must be at least 1")
    quiet()
    import pandas as pd

    table = pd.DataFrame(measure(args))
    text = table.to_markdown(index=False, floatfmt=("", "", "", ".4f", ".4f", ".5f", ".5f", ".6f", ".6f"))
    print(text)
    if args.markdown is not None:
        with atomic_write(args.markdown) as handle:
            handle.write(text + "\n")


if __name__ == "__main__":
    run(main)
