"""The generated schema and reference page match the models, and the examples of the page work."""

import json
import re
import subprocess
import sys

import pytest
import yaml
from jsonschema import Draft7Validator

from configurations import PRESETS, ROOT, merged
from document_config import BEGIN, END, documentation, editor_schema
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.experiment import Experiment
from ekd_nmt.config.models import Config

SCRIPT = ROOT / "dev/document_config.py"
DOCS = ROOT / "docs/configuration.md"
SCHEMA = ROOT / "config/schema.json"
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)]
validator = Draft7Validator(editor_schema())


def document(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True)


def test_outdated_files_are_reported_and_replaced(tmp_path):
    result = document("--check")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    schema, docs = tmp_path / "schema.json", tmp_path / "docs.md"
    schema.write_text(SCHEMA.read_text("utf-8").replace("peak learning rate", "rate"), "utf-8")
    docs.write_text(f"By hand.\n\n{BEGIN}\nold\n{END}\nAlso by hand.\n", "utf-8")
    before = schema.read_bytes(), docs.read_bytes()

    result = document("--check", "--schema", schema, "--docs", docs)
    problem = f"error: {schema} and {docs}: out of date; run python dev/document_config.py\n"
    assert (result.returncode, result.stderr) == (2, problem)
    assert (schema.read_bytes(), docs.read_bytes()) == before

    assert document("--schema", schema, "--docs", docs).returncode == 0
    assert schema.read_bytes() == SCHEMA.read_bytes()
    generated = DOCS.read_text("utf-8").split(BEGIN)[1].split(END)[0]
    assert docs.read_text("utf-8") == f"By hand.\n\n{BEGIN}{generated}{END}\nAlso by hand.\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"])
def test_lost_markers(text):
    with pytest.raises(UserError, match="once each, in this order; restore them"):
        documentation(text, DOCS)


def keys_of(config: dict, path: tuple[str, ...] = ()) -> set[str]:
    """Dotted keys of a whole configuration, names of models and systems as NAME."""
    found = set()
    for key, value in config.items():
        place = (*path, "NAME" if path in (("models",), ("systems",)) else key)
        found |= keys_of(value, place) if isinstance(value, dict) else {".".join(place)}
    return found


def test_every_key_has_its_row():
    rows = set(re.findall(r"^\| `([\w.]+)` \|", DOCS.read_text("utf-8"), re.MULTILINE))
    whole = Experiment(merged()).config.model_dump()
    own = {f"systems.NAME.{key}" for key in ("model", "teacher", "init", "match_updates_of")}
    assert rows == {key for key in keys_of(whole) if not key.startswith("systems.")} | own
    for key in whole["training"] | whole["distillation"]:
        found = re.search(rf"A system may override .*`{key}`", DOCS.read_text("utf-8"))
        assert bool(found) == (key != "keep_cache"), key


def test_rows_have_type_default_and_range():
    text = DOCS.read_text("utf-8")
    for row in (
        "| `training.lr` | number | `0.0005` | above 0 | peak learning rate |",
        "| `training.dropout` | number | `0.3` | at least 0, below 1 | dropout |",
        "| `training.precision` | text | `fp32` | `fp32`, `fp16`, `bf16` | number format; fp16 and bf16 need a GPU |",
        "| `training.max_update` | integer | none | above 0 | stop after this many updates, whatever the epoch |",
        "| `training.nodes` | integer | `1` | above 0 | nodes of one training; its GPUs are gpus x nodes |",
        "| `models.NAME.embed_dim` | integer | required | above 0 | width of embeddings and layers |",
    ):
        assert row in text.splitlines()
    assert "| `distillation.top_k` | integer or text | `32` | above 0, or `full` | most probable tokens" in text
    assert "\\|\\|" in text  # KL(teacher || student) does not end its cell


# The schema, as editors use it


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_presets_as_written(preset):
    Draft7Validator.check_schema(json.loads(SCHEMA.read_text("utf-8")))
    text = preset.read_text("utf-8")
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize(
    "overlay",
    [
        "experiment: mine",
        "systems: {takd_student: null, junior_student: {max_epoch: 3}}",
        "models: {spare: null, student: {heads: 2}}",
        "systems: {student: {max_epoch: null, precision: null, adam_betas: null, validation: {beam: null}}}",
        "training: {max_update: null, lr: 1}",
        "distillation: {top_k: full}",
        "systems: {takd_student: {top_k: 8}, takd_assistant: {top_k: null, teacher_mode: null}}",
    ],
)
def test_no_key_is_required(overlay):
    assert validator.is_valid(yaml.safe_load(overlay))
    Experiment(merged(yaml.safe_load(overlay)))


@pytest.mark.parametrize(
    ("overlay", "place"),
    [
        ("trainig: {}", ""),
        ("training: {validation: {beem: 1}}", "training.validation"),
        ("systems: {student: {validation: {beem: 1}}}", "systems.student.validation"),
        ("systems: {student: {epochs: 1}}", "systems.student"),
        ("systems: {'a b': {model: student}}", "systems"),
        ("systems: {student: junior}", "systems.student"),
        ("models: {student: {heads: 0}}", "models.student.heads"),
        ("systems: {student: {precision: fp8}}", "systems.student.precision"),
        ("systems: {student: {dropout: 1}}", "systems.student.dropout"),
        ("training: {optimizer: sgd}", "training.optimizer"),
        ("distillation: {top_k: 0}", "distillation.top_k"),
        ("distillation: {top_k: all}", "distillation.top_k"),
        ("systems: {takd_student: {top_k: 2.5}}", "systems.takd_student.top_k"),
        ("systems: {takd_student: {keep_cache: false}}", "systems.takd_student"),
        ("training: {adam_betas: [0.9, 1.2]}", "training.adam_betas.1"),
        ("training: {adam_betas: [0.9]}", "training.adam_betas"),
        ("training: {max_epoch: yes}", "training.max_epoch"),
        ("training: null", "training"),
        ("seeds: [1, 1]", "seeds"),
        ("data: {target_lang: no}", "data.target_lang"),
    ],
)
def test_editors_mark_the_place_of_a_mistake(overlay, place):
    (error,) = validator.iter_errors(yaml.safe_load(overlay))
    assert ".".join(map(str, error.absolute_path)) == place
    with pytest.raises(UserError):  # the workflow refuses it too
        Experiment(merged(yaml.safe_load(overlay)))


def test_every_key_has_a_description():
    def unexplained(node, place):
        if "description" not in node:
            yield place
        for key, child in node.get("properties", {}).items():
            yield from unexplained(child, (*place, key))
        if isinstance(node.get("additionalProperties"), dict):
            yield from unexplained(node["additionalProperties"], (*place, "NAME"))
        elif "properties" in node and node.get("additionalProperties") is not False:
            yield (*place, "allows unknown keys")

    assert list(unexplained(editor_schema(), ())) == []
    assert set(editor_schema()["properties"]) == set(Config.model_fields)


# The examples of the page


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: ",".join(example))
def test_examples_work(example):
    assert validator.is_valid(example)
    assert Experiment(merged(example)).warnings == []


def test_epochs_in_the_text_match_the_examples():
    assert len(EXAMPLES) >= 7
    built = Experiment(merged(next(example for example in EXAMPLES if "student_matched" in example.get("systems", {}))))
    (found,) = re.findall(r"in the default\s+experiment (\d+) \+ (\d+)\)", DOCS.read_text("utf-8"))
    assert [int(epochs) for epochs in found] == [built.epochs("junior_student"), built.epochs("master_student")]
    assert built.epochs("student_matched") == sum(map(int, found))
