"""The paper's setting for IWSLT'14 German to English (arXiv 2605.09924), written down apart from the configuration."""

from functools import cache

from configurations import ROOT, merged
from ekd_nmt.config.experiment import Experiment

WIDTHS = {"student": 128, "junior": 256, "senior": 512}
SYSTEMS = {  # epochs, model and teacher
    "student": (30, "student", None),
    "junior_teacher": (30, "junior", None),
    "senior_teacher": (30, "senior", None),
    "junior_student": (20, "student", "junior_teacher"),
    "senior_student": (50, "student", "senior_teacher"),
    "master_student": (100, "student", "senior_teacher"),
    "takd_assistant": (50, "junior", "senior_teacher"),
    "takd_student": (50, "student", "takd_assistant"),
    "senior_student_matched": (20 + 100, "student", "senior_teacher"),
}
EPOCHS, MODELS, TEACHERS = ({name: row[column] for name, row in SYSTEMS.items()} for column in range(3))
INITS = dict.fromkeys(EPOCHS) | {"master_student": "junior_student"}
TRAINING = {
    "max_update": None,
    "optimizer": "adam",
    "adam_betas": [0.9, 0.98],
    "lr": 5e-4,
    "lr_scheduler": "inverse_sqrt",
    "warmup_updates": 4000,
    "warmup_init_lr": 1e-7,
    "dropout": 0.3,
    "weight_decay": 1e-4,
    "clip_norm": 0.0,
    "label_smoothing": 0.1,
    "max_tokens": 4096,
    "max_sentences": 1024,
    "update_freq": 1,
    "gpus": 1,
    "nodes": 1,
    "precision": "fp32",
    "validation": {"metric": "bleu", "beam": 5, "max_len_a": 1.2, "max_len_b": 10, "interval": 1, "patience": 0},
}
DISTILLATION = {
    "alpha": 0.5,
    "temperature": 1.0,
    "divergence": "forward_kl",
    "teacher_dropout": False,
    # the paper's code runs its teacher along; a cache of its top k gives nearly the same, see docs/teacher-cache.md
    "teacher_mode": "cached",
    "top_k": 32,
    "tail": "redistribute",
}


@cache
def iwslt14() -> Experiment:
    """What config/iwslt14.yaml makes of it."""
    return Experiment(merged(ROOT / "config/iwslt14.yaml"))
