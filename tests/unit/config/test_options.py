"""Resolved options decide what reruns: an edit changes those of the systems it concerns, and no others."""

import pytest

from configurations import SYSTEMS, experiment, merged
from ekd_nmt.config.experiment import Experiment


def all_options(built: Experiment) -> dict:
    return {system: built.options(system) for system in built.systems}


def changed(overlay: str) -> set[str]:
    """The systems whose options an overlay changes."""
    before, after = all_options(experiment()), all_options(experiment(overlay))
    return {system for system in after if after[system] != before.get(system)}


@pytest.mark.parametrize("system", SYSTEMS)
def test_option_of_one_system(system):
    assert changed(f"systems: {{{system}: {{dropout: 0.25, validation: {{patience: 2}}}}}}") == {system}


@pytest.mark.parametrize(
    ("overlay", "expected"),
    [
        # another number of processes gives other batches
        ("training: {gpus: 2}", set(SYSTEMS)),
        ("systems: {senior_teacher: {nodes: 2}}", {"senior_teacher"}),
        ("systems: {junior_student: {max_epoch: 55}}", {"junior_student", "senior_student_matched"}),
        ("models: {junior: {ffn_dim: 512}}", {"junior_teacher", "takd_assistant"}),
        ("distillation: {alpha: 0.9}", set(SYSTEMS[3:])),
        ("systems: {new: {model: student}}", {"new"}),
        ("{seeds: [1, 2], threads: 2, experiment: other}", set()),
        ("{distillation: {keep_cache: false, teacher_seed: same}, decoding: {lenpen: 2, max_tokens: 100}}", set()),
        # spelled-out defaults
        ("training: {clip_norm: 0, optimizer: adam, validation: {metric: bleu}}", set()),
        ("systems: {student: {clip_norm: 0}}", set()),
    ],
)
def test_what_an_edit_changes(overlay, expected):
    """Further edits: tests/dag/test_incremental.py."""
    assert changed(overlay) == expected


def test_key_order_changes_nothing():
    def turned(value):
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    before, after = experiment(), Experiment(turned(merged()))
    for system in SYSTEMS:
        assert after.options(system) == before.options(system)
        assert str(after.options(system)) == str(before.options(system))  # the order of the keys too
        assert list(after.options(system)["training"]) == sorted(after.options(system)["training"])


def test_a_nested_override_keeps_its_siblings():
    built = experiment(
        """
        training: {validation: {beam: 3, interval: 2}}
        systems: {takd_student: {validation: {beam: 1, metric: loss}}}
        """
    )
    common = built.options("student")["training"]["validation"]
    assert common["beam"] == 3
    assert built.options("takd_student")["training"]["validation"] == common | {"beam": 1, "metric": "loss"}


def test_distillation_options():
    built = experiment(
        """
        distillation: {top_k: 8, keep_cache: false}
        systems: {takd_student: {teacher_mode: online, alpha: 0.25}, junior_student: {top_k: full}}
        """
    )
    common = {"alpha": 0.5, "temperature": 1.0, "divergence": "forward_kl", "teacher_dropout": False}
    cached = common | {"teacher_mode": "cached", "tail": "redistribute"}
    assert built.options("senior_student")["distillation"] == cached | {"top_k": 8}
    assert built.options("junior_student")["distillation"] == common | {"teacher_mode": "cached", "top_k": "full"}
    assert built.options("takd_student")["distillation"] == common | {"teacher_mode": "online", "alpha": 0.25}
    assert "distillation" not in built.options("senior_teacher")
    assert built.options("takd_student")["teacher"] == "takd_assistant"
