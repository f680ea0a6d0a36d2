"""The graph is read, labelled and thinned out; tests/data/*.dot is what snakemake printed for Multi30k, two seeds."""

from pathlib import Path

import pytest

from dag_graph import Graph, Job, complete_wildcards, levels, parse, reduce_edges
from ekd_nmt.common.errors import UserError

DATA = Path(__file__).parent / "data"


@pytest.fixture
def dag():
    return parse((DATA / "dag.dot").read_text())


def edges(graph):
    return {
        (graph.jobs[need].label, graph.jobs[number].label) for number, needs in graph.needs.items() for need in needs
    }


def test_labels_name_the_run_of_every_job(dag):
    complete_wildcards(dag)
    labels = [job.label for job in dag.jobs.values()]
    assert len(set(labels)) == len(labels), "two jobs look alike"
    for rule in ("train", "translate", "score"):
        of_rule = [label for label in labels if label.startswith(f"{rule} ")]
        assert len(of_rule) == 18, rule
        assert f"{rule} senior_teacher seed 1" in of_rule
        assert f"{rule} master_student seed 2" in of_rule
    # single jobs gather or serve all runs
    assert {"binarize", "bleu_table", "all"} <= set(labels)
    assert "fetch multi30k train.de.gz" in labels
    # the recorded label of `prepare` has no wildcard at all: it comes from `pair`
    assert {"prepare train", "prepare valid", "prepare test"} <= set(labels)


def test_student_of_another_seed_than_its_teacher_keeps_its_own(dag):
    complete_wildcards(dag)
    assert ("train senior_teacher seed 1", "train master_student seed 2") in edges(dag)
    assert ("train junior_student seed 2", "train master_student seed 2") in edges(dag)
    assert ("train master_student seed 2", "translate master_student seed 2") in edges(dag)


def test_implied_edges_are_left_out_and_nothing_else_changes(dag):
    before = ancestors(dag)
    reduce_edges(dag)
    assert ancestors(dag) == before
    complete_wildcards(dag)
    assert ("binarize", "train student seed 1") in edges(dag)
    # implied by binarize → train → translate
    assert ("binarize", "translate student seed 1") not in edges(dag)
    for number in dag.jobs:
        for need in dag.needs[number]:
            others = set().union(*(before[other] for other in dag.needs[number]))
            assert need not in others


def ancestors(graph):
    found = {}
    for group in levels(graph):
        for number in group:
            found[number] = graph.needs[number].union(*(found[need] for need in graph.needs[number]))
    return found


def test_rulegraph_keeps_the_loop_of_a_rule_that_feeds_itself():
    graph = parse((DATA / "rulegraph.dot").read_text())
    complete_wildcards(graph)
    reduce_edges(graph)
    assert ("train", "train") in edges(graph)
    assert ("train", "translate") in edges(graph)
    assert ("binarize", "translate") not in edges(graph)
    assert all(job.label == job.rule for job in graph.jobs.values())


def test_rulegraph_with_a_cycle_is_thinned_out_around_it():
    rules = ["binarize", "train", "cache", "translate", "table"]
    needs = {0: set(), 1: {0, 1, 2}, 2: {0, 1}, 3: {0, 1}, 4: {0, 1, 2, 3}}
    graph = Graph({number: Job(rule, {}) for number, rule in enumerate(rules)}, needs)
    reduce_edges(graph)
    # both of train and cache may come first; the table follows from translate
    assert graph.needs == {0: set(), 1: {0, 1, 2}, 2: {0, 1}, 3: {1}, 4: {3}}


def test_conflicting_values_without_a_way_out_are_not_guessed():
    jobs = {
        0: Job("train", {"system": "a"}),
        1: Job("train", {"system": "b"}),
        2: Job("compare", {}),
        3: Job("compare", {}),
    }
    graph = Graph(jobs, {0: set(), 1: set(), 2: {0, 1}, 3: {0, 1}})
    complete_wildcards(graph)
    assert jobs[2].wildcards == jobs[3].wildcards == {}


def test_dashed_jobs_are_done():
    text = (DATA / "dag.dot").read_text()
    number = next(number for number, job in parse(text).jobs.items() if job.rule == "binarize")
    line = next(line for line in text.splitlines() if line.startswith(f"\t{number}["))
    done = parse(text.replace(line, line.replace('style="rounded"', 'style="rounded,dashed"')))
    assert [job.rule for job in done.jobs.values() if job.done] == ["binarize"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "printed none"),
        ("Building DAG of jobs...\n", "printed none"),
        ('\t0[label = "all", color = "0 0 0", style="rounded"];\n\t1 -> 0\n', "1 -> 0"),
    ],
)
def test_text_without_a_whole_graph_is_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse(text)
