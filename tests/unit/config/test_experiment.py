"""Overlays, the stage graph, warnings and paths of the real configurations."""

import copy

import pytest

from configurations import PRESETS, SYSTEMS, experiment, merged
from ekd_nmt.config.experiment import Experiment

# Overlays


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_have_the_nine_systems_and_no_warnings(preset):
    built = Experiment(merged(preset))
    assert list(built.systems) == SYSTEMS
    assert built.warnings == []
    assert built.name == ("demo" if preset.stem == "config" else preset.stem)


def test_overlay_changes_only_the_keys_it_names():
    before, after = experiment(), experiment("{training: {validation: {beam: 7}}, seeds: [5, 6]}")
    expected = before.config.model_dump() | {"seeds": [5, 6]}
    expected["training"]["validation"]["beam"] = 7
    assert after.config.model_dump() == expected


def test_null_removes_systems_and_models():
    built = experiment("{systems: {takd_student: null, takd_assistant: null}, models: {spare: null}}")
    assert list(built.systems) == [name for name in SYSTEMS if not name.startswith("takd")]
    assert list(built.config.models) == ["student", "junior", "senior"]


def test_null_resets_an_option_of_a_system():
    built = experiment(
        "systems: {senior_student_matched: {match_updates_of: null, max_epoch: 3}, master_student: {init: null}}"
    )
    assert built.epochs("senior_student_matched") == 3
    assert built.init("master_student") is None
    inherits = experiment("{training: {max_epoch: 99}, systems: {junior_student: {max_epoch: null}}}")
    assert inherits.epochs("junior_student") == 99


def test_given_configuration_is_not_changed():
    config = merged({"systems": {"takd_student": None}})
    before = copy.deepcopy(config)
    Experiment(config)
    assert config == before


def test_numbers_as_yaml_reads_them():
    # PyYAML reads 1e-3 as text, and Snakemake everything inside --config 'seeds=[1, 2]'
    built = experiment("{seeds: ['1', '2'], training: {lr: 1e-3, max_epoch: '3'}, data: {lowercase: 'false'}}")
    assert built.seeds == [1, 2]
    assert built.data.lowercase is False
    training = built.options("student")["training"]
    assert (training["lr"], training["max_epoch"]) == (0.001, 3)


# The stage graph


def test_match_updates_of_sums_the_epochs_of_a_chain():
    built = experiment(
        """
        training: {max_epoch: 5}
        systems:
          junior_student: {max_epoch: 4}
          middle_student: {model: student, teacher: junior_teacher, init: junior_student, max_epoch: 7}
          master_student: {init: middle_student, max_epoch: 30}
          nested: {model: student, init: student, match_updates_of: senior_student_matched}
          student: {max_epoch: null}
          plain: {model: student, match_updates_of: student}
        """
    )
    assert built.options("senior_student_matched")["training"]["max_epoch"] == 4 + 7 + 30
    assert built.epochs("nested") == 41  # nested; its own init does not count
    assert built.epochs("plain") == 5


def test_match_updates_of_sums_updates():
    built = experiment("{training: {max_update: 100}, systems: {junior_student: {max_update: 30}}}")
    assert built.options("senior_student_matched")["training"]["max_update"] == 130
    assert built.options("master_student")["training"]["max_update"] == 100
    assert experiment().options("senior_student_matched")["training"]["max_update"] is None


def test_teacher_seed():
    first = experiment("seeds: [4, 7]")
    assert [first.teacher_seed("junior_student", seed) for seed in (4, 7)] == [4, 4]
    same = experiment("{seeds: [4, 7], distillation: {teacher_seed: same}}")
    assert [same.teacher_seed("junior_student", seed) for seed in (4, 7)] == [4, 7]
    one = experiment("{seeds: [4, 7], systems: {takd_student: {teacher_seed: same}}}")
    assert one.teacher_seed("takd_student", 7) == 7
    assert one.teacher_seed("junior_student", 7) == 4


# Teacher caches


def test_cache_variants():
    built = experiment(
        """
        distillation: {top_k: 16, temperature: 2}
        systems:
          senior_student: {temperature: 1.5, top_k: full, alpha: 0.2, divergence: reverse_kl}
          senior_student_matched: {temperature: 1}
          takd_assistant: {teacher_mode: online}
        """
    )
    assert built.caches() == {
        ("junior_teacher", 1, "top16-T2.0"): (16, 2.0),
        ("senior_teacher", 1, "full-T1.5"): ("full", 1.5),
        ("senior_teacher", 1, "top16-T2.0"): (16, 2.0),
        ("takd_assistant", 1, "top16-T2.0"): (16, 2.0),
        ("senior_teacher", 1, "top16"): (16, 1.0),
    }
    assert [built.cache_variant(name) for name in ("master_student", "senior_student")] == ["top16-T2.0", "full-T1.5"]
    assert [name for name in SYSTEMS if not built.cached(name)] == [*SYSTEMS[:3], "takd_assistant"]


# Warnings


@pytest.mark.parametrize(
    ("overlay", "warnings"),
    [
        (
            "systems: {takd_assistant: {teacher: student}}",
            ["systems.takd_assistant.teacher: 'student' is smaller than its student; is that intended?"],
        ),
        ("systems: {takd_student: {teacher: student}}", []),  # born again: teacher and student of equal size
        (
            "systems: {student: {alpha: 0.1, teacher_dropout: false}}",
            [
                f"systems.student.{key}: has no effect, because student has no teacher"
                for key in ("alpha", "teacher_dropout")
            ],
        ),
        (
            "systems: {student: {teacher_mode: cached, top_k: 8}, takd_student: {teacher_mode: online, top_k: 8}}",
            [
                "systems.student.teacher_mode: has no effect, because student has no teacher",
                "systems.student.top_k: has no effect, because student has no teacher",
                "systems.takd_student.top_k: has no effect, because its teacher is not cached",
            ],
        ),
        (
            "systems: {junior_student: {gpus: 2, max_tokens: 512}}",
            [
                "systems.senior_student_matched.match_updates_of: junior_student has another "
                f"{key}, so its epochs are not as many updates"
                for key in ("max_tokens", "gpus")
            ],
        ),
        (
            "{distillation: {top_k: 40801}, systems: {takd_student: {top_k: 40800}, junior_student: {top_k: 50000}}}",
            [
                "systems.junior_student.top_k: 50000 is above any vocabulary of bpe.merges 800; use full",
                "distillation.top_k: 40801 is above any vocabulary of bpe.merges 800; use full",
            ],
        ),
        ("distillation: {top_k: 50000, teacher_mode: online}", []),
        (
            "{systems: {student: null}, table: {senior: nobody}}",
            [
                "table.baseline: 'student' is not one of systems; column delta_vs_student stays empty",
                "table.senior: 'nobody' is not one of systems; column gap_to_senior stays empty",
            ],
        ),
    ],
)
def test_warnings(overlay, warnings):
    assert experiment(overlay).warnings == warnings


# Paths


def test_paths():
    built = experiment("{experiment: trial, data: {corpus: multi30k, source_lang: en, target_lang: de}}")
    assert built.sides("tok", "valid") == ("results/trial/data/tok/valid.en", "results/trial/data/tok/valid.de")
    assert built.cache_path("takd_assistant", 7, "top32") == "results/trial/takd_assistant/seed7/cache/top32"
    assert built.binarized(["test"]) == [
        f"results/trial/data/bin/{name}"
        for name in (
            "dict.en.txt",
            "dict.de.txt",
            *(f"test.en-de.{end}" for end in ("en.bin", "en.idx", "de.bin", "de.idx")),
        )
    ]
