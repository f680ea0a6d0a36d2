"""Checks that need more than one key: references, cycles, architectures, budgets."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ekd_nmt.common.errors import UserError
from ekd_nmt.config.errors import suggestion
from ekd_nmt.config.manifest import NOT_PUBLISHED
from ekd_nmt.config.models import Data, Distillation, System, overridable

if TYPE_CHECKING:
    from ekd_nmt.config.experiment import Experiment

BATCH_KEYS = ("max_tokens", "max_sentences", "update_freq", "gpus", "nodes")  # decide how large an update is
MAX_CHARACTERS = 40_000  # in a vocabulary besides the merges: 20,000, each inside and at the end of a word
FOLDERS = ("data", "logs", "benchmarks")  # beside the systems in results/{experiment}


def check(experiment: Experiment, removed: Collection[str] = ()) -> list[str]:
    """Check what the models of :mod:`ekd_nmt.config.models` cannot.

    Args:
        experiment: its sections have been validated one by one.
        removed: names of models and systems that the configuration removes with a null.

    Returns:
        What is allowed but probably not intended, one line each.

    Raises:
        UserError: the first mistake, with its key, its value and the fix.
    """
    seeds, data, systems = experiment.seeds, experiment.data, experiment.systems
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds: {seeds} names a seed twice; name each once")
    _check_corpus(experiment)
    _check_local(data)
    for name, system in systems.items():
        if name in FOLDERS:
            raise UserError(
                f"systems.{name}: {experiment.root}/{name} is a folder of the workflow; choose another name"
            )
        _check_references(experiment, name, system, removed)
    _check_cycles(systems)
    for name, system in systems.items():
        _check_budget(experiment, name, system)
        _check_start(experiment, name, system)
        _check_teacher_dropout(experiment, name, system)
    return [
        *_small_teachers(experiment),
        *_idle_options(experiment),
        *_large_top_k(experiment),
        *_empty_columns(experiment),
        *_unlike_batches(experiment),
    ]


def _check_corpus(experiment: Experiment) -> None:
    """The corpus is in the manifest and has this direction; otherwise the run would fail after the download."""
    data = experiment.data
    if data.source_lang == data.target_lang:
        raise UserError(f"data.target_lang: {data.target_lang!r} is also data.source_lang; name two languages")
    if data.corpus == "synthetic":
        directions = ["de-en"]
    elif data.corpus == "local":
        directions = [f"{data.source_lang}-{data.target_lang}"]  # any
    elif data.corpus in experiment.manifest:
        directions = experiment.manifest[data.corpus].directions
    else:
        known = suggestion(data.corpus, [*experiment.manifest, *NOT_PUBLISHED])
        raise UserError(f"data.corpus: {data.corpus!r} is not in config/datasets.yaml{known}")
    if f"{data.source_lang}-{data.target_lang}" not in directions:
        choice = " or ".join(direction.replace("-", " to ") for direction in directions) or "no text"
        raise UserError(
            f"data: the corpus {data.corpus!r} has no {data.source_lang} to {data.target_lang}; it has {choice}"
        )
    if data.corpus != "synthetic":
        for key in ("source_lang", "target_lang"):
            _check_code(key, getattr(data, key))


def _check_local(data: Data) -> None:
    """Check ``data.local`` where it is used."""
    local = data.local
    if data.corpus != "local":
        return
    if not local.train:
        raise UserError("data.local.train: is empty; name the two files of your text, source first, or one TSV")
    if bool(local.valid) != bool(local.test):
        given, missing = ("valid", "test") if local.valid else ("test", "valid")
        raise UserError(
            f"data.local.{missing}: is empty but {given} is given; name both, or neither to hold both out of train"
        )
    for split in ("train", "valid", "test"):
        files = getattr(local, split)
        if len(set(files)) < len(files):
            raise UserError(f"data.local.{split}: {files[0]} is both sides; name two files, source first")
    if local.columns[0] == local.columns[1]:
        raise UserError(f"data.local.columns: {local.columns[0]} is both sides; name two columns")


def _check_code(key: str, code: str) -> None:
    """A wrong code would silently mean another tokenisation: abbreviations are listed by language."""
    import langcodes  # only here: every job reads the configuration

    if not langcodes.tag_is_valid(code):
        raise UserError(f"data.{key}: {code!r} is no registered language code; use one such as de, en or pt-BR")
    if (usual := langcodes.standardize_tag(code)) != code:
        raise UserError(f"data.{key}: {code!r} is usually written {usual!r}, and tokenisers know it so; write that")


def _check_references(experiment: Experiment, name: str, system: System, removed: Collection[str]) -> None:
    known = {"model": experiment.config.models} | dict.fromkeys(
        ("teacher", "init", "match_updates_of"), experiment.systems
    )
    for role, others in known.items():
        other = getattr(system, role)
        if other is None or other in others:
            continue
        if other in removed:
            raise UserError(f"systems.{name}.{role}: {other!r} is set to null; name another, or set {name} to null too")
        kind = "models" if role == "model" else "systems"
        raise UserError(f"systems.{name}.{role}: {other!r} is not one of {kind}{suggestion(other, others)}")


def _check_cycles(systems: dict[str, System]) -> None:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            cycle = " -> ".join([*path[path.index(name) :], name])
            raise UserError(f"systems: {cycle} is a cycle; remove one of its references")
        if name not in done:
            system = systems[name]
            for other in (system.teacher, system.init, system.match_updates_of):
                if other is not None:
                    visit(other, [*path, name])
            done.add(name)

    for name in systems:
        visit(name, [])


def _check_budget(experiment: Experiment, name: str, system: System) -> None:
    if system.match_updates_of is None:
        return
    for key in ("max_epoch", "max_update"):
        if (own := getattr(system, key)) is not None:
            raise UserError(
                f"systems.{name}: match_updates_of {system.match_updates_of!r} and {key} {own} both limit the "
                "training; keep one"
            )
    stages = experiment.lineage(system.match_updates_of)
    limited = [stage for stage in stages if experiment.updates(stage) is not None]
    if limited and limited != stages:
        raise UserError(
            f"systems.{name}.match_updates_of: of {', '.join(stages)} only {', '.join(limited)} has a max_update, "
            "so the sum is unknown; set it for all or for none"
        )


def _check_start(experiment: Experiment, name: str, system: System) -> None:
    if system.init is not None and experiment.model(system.init) != experiment.model(name):
        raise UserError(
            f"systems.{name}.init: {system.init!r} has another architecture "
            f"(model {experiment.systems[system.init].model!r} instead of {system.model!r}); "
            "weights can only be copied between equal models"
        )


def _check_teacher_dropout(experiment: Experiment, name: str, system: System) -> None:
    """With dropout the distributions differ every time, so they cannot be cached."""
    if experiment.cached(name) and experiment.distillation(name).teacher_dropout:
        key = "distillation" if system.teacher_dropout is None else f"systems.{name}"
        raise UserError(
            f"{key}.teacher_dropout: {name} has a cached teacher, and dropout needs an online one; "
            f"set distillation.teacher_mode: online, or systems.{name}.teacher_mode: online"
        )


def _small_teachers(experiment: Experiment) -> list[str]:
    def size(system: str) -> int:  # weights of the layers, approximately
        model = experiment.model(system)
        return model.layers * model.embed_dim * (3 * model.embed_dim + model.ffn_dim)

    return [
        f"systems.{name}.teacher: {system.teacher!r} is smaller than its student; is that intended?"
        for name, system in experiment.systems.items()
        if system.teacher is not None and size(system.teacher) < size(name)
    ]


def _idle_options(experiment: Experiment) -> list[str]:
    found = []
    for name, system in experiment.systems.items():
        keys, reason = [], ""
        if system.teacher is None:
            keys, reason = overridable(Distillation), f"{name} has no teacher"
        elif not experiment.cached(name):
            keys, reason = ["top_k", "tail"], "its teacher is not cached"
        given = [key for key in keys if getattr(system, key) is not None]
        found += [f"systems.{name}.{key}: has no effect, because {reason}" for key in given]
    return found


def _large_top_k(experiment: Experiment) -> list[str]:
    """Only certain cases: the vocabulary is known when the cache is written, and checked again then."""
    limit = experiment.config.bpe.merges + MAX_CHARACTERS
    found = []
    for name in filter(experiment.cached, experiment.systems):
        top_k = experiment.distillation(name).top_k
        if top_k != "full" and top_k > limit:
            key = "distillation" if experiment.systems[name].top_k is None else f"systems.{name}"
            found.append(
                f"{key}.top_k: {top_k} is above any vocabulary of bpe.merges {limit - MAX_CHARACTERS}; use full"
            )
    return list(dict.fromkeys(found))


def _empty_columns(experiment: Experiment) -> list[str]:
    return [
        f"table.{role}: {name!r} is not one of systems; column {column} stays empty"
        for role, column in (("baseline", "delta_vs_student"), ("senior", "gap_to_senior"))
        if (name := getattr(experiment.config.table, role)) not in experiment.systems
    ]


def _unlike_batches(experiment: Experiment) -> list[str]:
    """``match_updates_of`` counts epochs, which are equally many updates only with equal batches."""
    found = []
    for name, system in experiment.systems.items():
        for stage in experiment.lineage(system.match_updates_of) if system.match_updates_of else []:
            own, other = (experiment.options(each)["training"] for each in (name, stage))
            keys = [key for key in BATCH_KEYS if own[key] != other[key]]
            found += [
                f"systems.{name}.match_updates_of: {stage} has another {key}, so its epochs are not as many updates"
                for key in keys
            ]
    return found
