"""Which values of the default experiment another one inherits unnoticed."""

import pytest
import yaml

from configurations import PRESETS, merged
from ekd_nmt.config.inherited import inherited

DEFAULT = merged()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_inherit_nothing_of_the_demo(preset):
    assert inherited(DEFAULT, yaml.safe_load(preset.read_text("utf-8"))) == []


def multi30k(**changes):
    preset = next(path for path in PRESETS if path.stem == "multi30k")
    return {key: value for key, value in (yaml.safe_load(preset.read_text("utf-8")) | changes).items() if value != {}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (multi30k(bpe={}), ["bpe"]),
        (multi30k(models={}), ["models"]),
        (
            multi30k(models={"student": {"embed_dim": 8}, "senior": None}),
            [*(f"models.student.{key}" for key in ("ffn_dim", "heads", "layers")), "models.junior"],
        ),
        (multi30k(data={"corpus": "multi30k"}), ["data.lowercase"]),
        (
            multi30k(data={"corpus": "synthetic", "lowercase": False, "synthetic": {"lexicon": 500, "test_size": 9}}),
            ["data.synthetic.train_size", "data.synthetic.valid_size"],
        ),
        (
            multi30k(
                systems={
                    "takd_student": None,
                    "junior_student": {"max_epoch": None},
                    "senior_student": {"max_epoch": 2},
                    "takd_assistant": {"lr": 1},
                }
            ),
            ["systems.master_student.max_epoch", "systems.takd_assistant.max_epoch"],
        ),
        (
            multi30k(training={"max_epoch": 3, "lr": 0.001, "max_tokens": 99, "dropout": 0.3}),
            ["training.warmup_updates", "training.validation.beam"],
        ),
        # variants of the default experiment
        ({"training": {"lr": 0.1}}, []),
        ({"experiment": "demo", "bpe": {"merges": 9}}, []),
    ],
)
def test_inherited_keys(given, expected):
    assert inherited(DEFAULT, given) == expected
