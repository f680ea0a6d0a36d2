"""Each mistake in a configuration gives its key, its value and the fix."""

import pytest
import yaml

from configurations import merged
from ekd_nmt.common.errors import UserError
from ekd_nmt.config.experiment import Experiment

NO_BOOLEAN = "expected a number or text; text that YAML reads as true or false needs quotes"
# One dotted key with its value in YAML, and the message after the key.
MISTAKES = [
    # unknown and missing keys
    ("training.learning: 1", "unknown key; use one of max_epoch, max_update, optimizer, ..."),
    ("training.validation.beem: 1", "unknown key; did you mean 'beam'?"),
    ("data.filter.max_token: 9", "unknown key; did you mean 'max_tokens'?"),
    ("models.student.head: 2", "unknown key; did you mean 'heads'?"),
    ("systems.student.techer: junior_teacher", "unknown key; did you mean 'teacher'?"),
    ("systems.student.validation.intervall: 2", "unknown key; did you mean 'interval'?"),
    # one for all: caches are shared
    ("systems.student.keep_cache: false", "unknown key; use one of alpha, ..."),
    # names of models and systems
    ("systems.student.model: studnet", "'studnet' is not one of models; did you mean 'student'?"),
    ("systems.student.model: huge", "'huge' is not one of models; use one of student, junior, senior"),
    (
        "systems.junior_student.teacher: junior_techer",
        "'junior_techer' is not one of systems; did you mean 'junior_teacher'?",
    ),
    (
        "systems.master_student.init: juniorstudent",
        "'juniorstudent' is not one of systems; did you mean 'junior_student'?",
    ),
    (
        "systems.senior_student_matched.match_updates_of: mastr_student",
        "'mastr_student' is not one of systems; did you mean 'master_student'?",
    ),
    # names of folders
    *(
        (f"systems.{name}: {{model: student}}", f"results/demo/{name} is a folder of the workflow; choose another name")
        for name in ("data", "logs", "benchmarks")
    ),
    # keys that exclude each other
    (
        "systems.takd_student.init: junior_teacher",
        "'junior_teacher' has another architecture (model 'junior' instead of 'student'); weights can only be "
        "copied between equal models",
    ),
    (
        "distillation.teacher_dropout: true",
        "junior_student has a cached teacher, and dropout needs an online one; set distillation.teacher_mode: "
        "online, or systems.junior_student.teacher_mode: online",
    ),
    (
        "systems.takd_student.teacher_dropout: true",
        "takd_student has a cached teacher, and dropout needs an online one; set distillation.teacher_mode: "
        "online, or systems.takd_student.teacher_mode: online",
    ),
    ("seeds: [3, 1, 3]", "[3, 1, 3] names a seed twice; name each once"),
    ("data: {corpus: multi30k, target_lang: fr}", "the corpus 'multi30k' has no de to fr; it has de to en or en to de"),
    ("data.target_lang: de", "'de' is also data.source_lang; name two languages"),
    (
        "models.student: {embed_dim: 30, heads: 4}",
        "embed_dim 30 cannot be split over 4 heads; make it a multiple of heads",
    ),
    ("data.filter: {max_tokens: 5, min_tokens: 9}", "min_tokens 9 is above max_tokens 5; lower min_tokens"),
    # empty values
    ("seeds: []", "is empty; name at least one"),
    ("models: null", "is empty; give it a value or remove the line"),
    ("systems: null", "is empty; give it a value or remove the line"),
    ("training: null", "is empty; give it a value or remove the line"),
    # renamed keys and values
    ("distillation.teacher: online", "is now called teacher_mode; rename the key"),
    ("distillation.k: 8", "is now called top_k; rename the key"),
    ("systems.takd_student.k: 8", "is now called top_k; rename the key"),
    ("systems.student.budget_of: x", "is now called match_updates_of; rename the key"),
    ("checkpoints.updates: 5", "is now called every_updates; rename the key"),
    ("checkpoints.minutes: 5", "is now called every_minutes; rename the key"),
    ("cluster.gpu: false", "is now called request_gpus; rename the key"),
    ("distillation.tail: spread", "'spread' is now called 'redistribute'; rename the value"),
    ("systems.takd_student.tail: event", "'event' is now called 'bucket'; rename the value"),
    ("distillation.tail: [event]", "['event'] is not valid: input should be 'redistribute' or 'bucket'"),
    # wrong types and ranges
    ("seeds: 1", "1 is not valid: input should be a valid list"),
    ("seeds: [1, true]", f"[1, True] is not valid: {NO_BOOLEAN}"),
    ("systems: [student]", "['student'] is a value, expected keys; write them below it, indented"),
    ("training: 3", "3 is a value, expected keys; write them below it, indented"),
    ("systems.student: junior", "'junior' is a value, expected keys; write them below it, indented"),
    (
        "training.max_epoch: many",
        "'many' is not valid: input should be a valid integer, unable to parse string as an integer",
    ),
    ("training.max_epoch: yes", f"True is not valid: {NO_BOOLEAN}"),
    ("data.target_lang: no", f"False is not valid: {NO_BOOLEAN}"),
    ("experiment: 2026", "2026 is a number in YAML, expected text; put it in quotes"),
    ("training.max_epoch: 0", "0 is not valid: input should be greater than 0"),
    ("training.warmup_updates: 0", "0 is not valid: input should be greater than 0"),
    ("training.lr: .nan", "nan is not valid: input should be a finite number"),
    ("training.optimizer: sgd", "'sgd' is not valid: input should be 'adam'"),
    ("distillation.top_k: 0", "0 is not valid: input should be a whole number greater than 0, or full"),
    ("systems.takd_student.top_k: most", "'most' is not valid: input should be a whole number greater than 0, or full"),
    ("systems.takd_student.teacher_mode: offline", "'offline' is not valid: input should be 'cached' or 'online'"),
    ("distillation.alpha: 1.5", "1.5 is not valid: input should be less than or equal to 1"),
    ("systems.takd_student.alpha: -1", "-1 is not valid: input should be greater than or equal to 0"),
    ("data.corpus: iwslt", "'iwslt' is not in config/datasets.yaml; did you mean 'iwslt14'?"),
    (
        "data.corpus: europarl",
        "'europarl' is not in config/datasets.yaml; use one of multi30k, iwslt14, tatoeba, wmt17, wmt23, "
        "synthetic, local",
    ),
    ("data: {corpus: wmt23, source_lang: cs, target_lang: en}", "the corpus 'wmt23' has no cs to en; it has en to cs"),
]
# An overlay over config/config.yaml, and the message about another key than the one it sets.
CONSEQUENCES = [
    ("trainig: {lr: 0.1}", "trainig: unknown key; did you mean 'training'?"),
    # a user's name that is also a key must not confuse the suggestion
    (
        "systems: {teacher: {model: junior, max_epoc: 2}}",
        "systems.teacher.max_epoc: unknown key; did you mean 'max_epoch'?",
    ),
    ("systems: {new: {teacher: student}}", "systems.new.model: missing; add it"),
    ("models: {new: {heads: 2}}", "models.new.embed_dim: missing; add it | models.new.ffn_dim: missing; add it"),
    (
        "systems: {junior_student: null}",
        "systems.master_student.init: 'junior_student' is set to null; name another, or set master_student to null too",
    ),
    (
        "models: {junior: null}",
        "systems.junior_teacher.model: 'junior' is set to null; name another, or set junior_teacher to null too",
    ),
    ("systems: {student: {init: student}}", "systems: student -> student is a cycle; remove one of its references"),
    (
        "systems: {senior_teacher: {teacher: master_student}}",
        "systems: senior_teacher -> master_student -> senior_teacher is a cycle; remove one of its references",
    ),
    (
        "systems: {junior_student: {init: senior_student_matched, max_epoch: null}}",
        "systems: junior_student -> senior_student_matched -> master_student -> junior_student is a cycle; remove"
        " one of its references",
    ),
    (
        "systems: {senior_student_matched: {max_epoch: 3}}",
        "systems.senior_student_matched: match_updates_of 'master_student' and max_epoch 3 both limit the "
        "training; keep one",
    ),
    (
        "systems: {senior_student_matched: {max_update: 30}}",
        "systems.senior_student_matched: match_updates_of 'master_student' and max_update 30 both limit the "
        "training; keep one",
    ),
    (
        "systems: {junior_student: {max_update: 5}}",
        "systems.senior_student_matched.match_updates_of: of master_student, junior_student only junior_student "
        "has a max_update, so the sum is unknown; set it for all or for none",
    ),
    ("data: {source_lang: fr}", "data: the corpus 'synthetic' has no fr to en; it has de to en"),
    ("seeds: [-1]", "seeds.0: -1 is not valid: input should be greater than or equal to 0"),
    ("seeds: [4294967296]", "seeds.0: 4294967296 is not valid: input should be less than or equal to 4294967295"),
    ("training: {adam_betas: [0.9]}", "training.adam_betas.1: missing; add it"),
]


def nested(key, value):
    """An overlay that sets one dotted key to a value written in YAML."""
    overlay = yaml.safe_load(value)
    for step in reversed(key.split(".")):
        overlay = {step: overlay}
    return overlay


CASES = [(nested(*setting.split(": ", 1)), f"{setting.split(':')[0]}: {message}") for setting, message in MISTAKES]
CASES += [(yaml.safe_load(overlay), message) for overlay, message in CONSEQUENCES]


@pytest.mark.parametrize(("overlay", "message"), CASES, ids=[case for case, _ in MISTAKES + CONSEQUENCES])
def test_message(overlay, message):
    with pytest.raises(UserError) as error:
        Experiment(merged(overlay))
    if message.endswith("..."):
        assert str(error.value).startswith(message.removesuffix("..."))
    else:
        assert str(error.value) == message


@pytest.mark.parametrize("name", ["a/b", "a b", "-a", ".a", "_a", "a.b", "ä", "a\n", ""])
@pytest.mark.parametrize("section", ["systems", "models", "experiment"])
def test_name_that_cannot_be_a_folder(section, name):
    entry = {"systems": {"model": "student"}, "models": {"embed_dim": 4, "ffn_dim": 4}}.get(section)
    with pytest.raises(UserError) as error:
        Experiment(merged({section: name if entry is None else {name: entry}}))
    key = section if entry is None else f"{section}.{name}"
    fix = "use letters, digits, _ and -, starting with a letter or digit"
    assert str(error.value) == f"{key}: {name!r} cannot name a folder; {fix}"


def test_all_mistakes_of_the_first_kind_are_reported_together():
    with pytest.raises(UserError) as error:
        Experiment(merged({"seed": [1], "training": {"lr": -1}, "systems": {"new": {}}}))
    lines = str(error.value).split(" | ")
    assert [line.split(":")[0] for line in lines] == ["training.lr", "systems.new.model", "seed"]
    assert "\n" not in str(error.value)


def test_missing_sections():
    with pytest.raises(UserError) as error:
        Experiment({})
    assert str(error.value) == " | ".join(f"{key}: missing; add it" for key in ("experiment", "models", "systems"))


@pytest.mark.parametrize("section", ["models", "systems"])
def test_all_entries_removed(section):
    config = merged()
    config[section] = dict.fromkeys(config[section])
    with pytest.raises(UserError) as error:
        Experiment(config)
    assert str(error.value) == f"{section}: is empty; name at least one"
