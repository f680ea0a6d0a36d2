"""Teacher caches: computed once for all readers, recomputed only for a reason, and deleted after use on request."""

import shutil

import pytest
from expected_jobs import DISTILLED, NOTHING, SENIOR_LINE, TEACHERS, cached, evaluated, rebuilt, trained
from workflow_runs import dry_run, snakemake

from configurations import SYSTEMS

pytestmark = pytest.mark.dag

FOLDER = "results/demo/{}/seed1/cache/{}"


def caches_of(jobs):
    return {job for job in jobs if job[0] == "cache_teacher"}


# What is planned


def test_default_experiment_has_one_cache_per_teacher(fresh_clone):
    assert caches_of(dry_run(fresh_clone)) == cached(*TEACHERS)


def test_seeds_share_the_caches_of_the_first_teacher(fresh_clone):
    assert caches_of(dry_run(fresh_clone, "--config", "seeds=[3,7,8]")) == cached(*TEACHERS, seeds=["3"])
    run = snakemake(fresh_clone, "-n", "--config", "seeds=[3,7,8]")
    assert run.stdout.count("\nrule cache_teacher:") == len(TEACHERS)


def test_seeds_with_their_own_teachers_have_their_own_caches(fresh_clone):
    jobs = dry_run(fresh_clone, "--config", "seeds=[3,7]", "distillation={teacher_seed: same}")
    assert caches_of(jobs) == cached(*TEACHERS, seeds=["3", "7"])


def test_a_model_needs_only_the_caches_of_its_own_chain(fresh_clone):
    jobs = dry_run(fresh_clone, "results/demo/junior_student/seed1/model.pt")
    assert caches_of(jobs) == cached("junior_teacher")


def test_online_teachers_have_no_cache(fresh_clone):
    assert not caches_of(dry_run(fresh_clone, "--config", "distillation={teacher_mode: online}"))


def test_commands_name_the_cache_and_what_it_stores(fresh_clone, tmp_path):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("systems: {takd_student: {temperature: 2}, junior_student: {teacher_mode: online}}\n")
    commands = " ".join(snakemake(fresh_clone, "-n", "-p", "--configfile", overlay).stdout.split())
    cache, model = FOLDER.format("takd_assistant", "top32-T2.0"), "results/demo/takd_assistant/seed1/model.pt"
    assert (
        f"cache_teacher.py --teacher {model} --data results/demo/data/bin --top-k 32 --temperature 2.0 "
        f"--threads 1 --output {cache} --summary {cache}.json 2>"
    ) in commands
    assert f"--teacher {model} --teacher-cache {cache}" in commands
    assert "--teacher results/demo/junior_teacher/seed1/model.pt --threads" in commands


# What an edit reruns

EDITS = {
    "alpha of a student": ({"systems.senior_student.alpha": 0.3}, trained("senior_student")),
    "k": ({"distillation.top_k": 16}, trained(*DISTILLED) | cached(*TEACHERS, variant="top16")),
    # the assistant is a student too: it is trained again, and cached again as a teacher
    "tail": ({"distillation.tail": "bucket"}, trained(*DISTILLED) | cached("takd_assistant")),
    "k of a student": (
        {"systems.takd_student.top_k": "full"},
        trained("takd_student") | cached("takd_assistant", variant="full"),
    ),
    # senior_student_matched still reads the other cache of the same teacher
    "temperature of a student": (
        {"systems.senior_student.temperature": 2},
        trained("senior_student") | cached("senior_teacher", variant="top32-T2.0"),
    ),
    "one online teacher": ({"systems.senior_student.teacher_mode": "online"}, trained("senior_student")),
    "online teacher of a teacher": (
        {"systems.takd_assistant.teacher_mode": "online"},
        rebuilt("takd_assistant", "takd_student"),
    ),
    "online teachers": (
        {"distillation.teacher_mode": "online"},
        trained(*DISTILLED),
    ),
    "senior model": (
        {"models.senior.ffn_dim": 192},
        trained(*SENIOR_LINE) | cached("senior_teacher", "takd_assistant"),
    ),
    "more GPUs": ({"training.gpus": 2}, trained(*SYSTEMS) | cached(*TEACHERS)),
    "temporary caches": ({"distillation.keep_cache": False}, NOTHING),
    "explicit defaults": (
        {"distillation.teacher_mode": "cached", "distillation.top_k": 32, "training.nodes": 1},
        NOTHING,
    ),
}


@pytest.mark.parametrize(("changes", "expected"), EDITS.values(), ids=EDITS)
def test_edit_of_the_configuration(project, changes, expected):
    project.edit(changes)
    assert dry_run(project.folder) == expected


def test_only_the_student_with_an_online_teacher_reads_no_cache(project):
    before = inputs_of_trainings(project)
    project.edit({"systems.senior_student.teacher_mode": "online"})
    after = inputs_of_trainings(project)
    cache = FOLDER.format("senior_teacher", "top32")
    assert cache in before["senior_student"]
    assert before.pop("senior_student") - after.pop("senior_student") == {cache}
    assert after == before


def inputs_of_trainings(project):
    """Inputs of all trainings, by the system that is trained."""
    found = {}
    for block in snakemake(project.folder, "-n", "--forceall").stdout.split("\nrule ")[1:]:
        fields = dict(line.strip().split(": ", 1) for line in block.splitlines() if ": " in line)
        if block.startswith("train:"):
            system = fields["wildcards"].removeprefix("system=").split(",")[0]
            found[system] = set(fields["input"].split(", "))
    return found


def test_lost_summary_reruns_the_cache_and_its_readers(project):
    (project.folder / f"{FOLDER.format('junior_teacher', 'top32')}.json").unlink()
    lost = cached("junior_teacher") | trained("junior_student", "master_student")
    assert dry_run(project.folder) == lost
    evaluation = evaluated("junior_student", "master_student")
    assert dry_run(project.folder, "models") == lost - evaluation | {("models",)}


def test_deleted_cache_is_recomputed_only_when_it_is_read(project):
    shutil.rmtree(project.folder / FOLDER.format("takd_assistant", "top32"))
    assert dry_run(project.folder) == NOTHING
    project.edit({"systems.takd_student.alpha": 0.3})
    assert dry_run(project.folder) == cached("takd_assistant") | trained("takd_student")


# Temporary caches


def run(project, *targets):
    ran = snakemake(project.folder, "--cores", "2", "--scheduler", "greedy", *targets)
    assert ran.returncode == 0, ran.stderr
    return ran.jobs


def test_temporary_caches_are_deleted_after_their_last_reader(project):
    caches = [project.folder / FOLDER.format(teacher, "top32") for teacher in TEACHERS]
    assert all(cache.is_dir() for cache in caches)
    project.edit({"distillation.keep_cache": False, "training.lr": 1e-3})
    assert run(project) == rebuilt(*SYSTEMS)
    assert not any(cache.exists() for cache in caches)
    assert all(cache.with_suffix(".json").is_file() for cache in caches), "the tables need the summaries"
    assert dry_run(project.folder) == NOTHING
    assert dry_run(project.folder, "models") == NOTHING

    project.edit({"systems.takd_student.alpha": 0.3})
    assert run(project) == cached("takd_assistant") | trained("takd_student")
    assert not any(cache.exists() for cache in caches)
    assert dry_run(project.folder) == NOTHING


def test_recomputed_temporary_cache_reruns_all_its_readers(project):
    """Snakemake cannot know that the new cache equals the old one. A named target runs alone."""
    project.edit({"distillation.keep_cache": False})
    for teacher in TEACHERS:
        shutil.rmtree(project.folder / FOLDER.format(teacher, "top32"))
    project.edit({"systems.senior_student.alpha": 0.3})
    readers_line = [system for system in SENIOR_LINE if system != "senior_teacher"]
    assert dry_run(project.folder) == cached("senior_teacher") | rebuilt(*readers_line)

    alone = run(project, "results/demo/senior_student/seed1/model.pt")
    assert alone == cached("senior_teacher") | {("train", "senior_student", "1")}
    assert not (project.folder / FOLDER.format("senior_teacher", "top32")).exists()
    assert dry_run(project.folder) == evaluated("senior_student")
