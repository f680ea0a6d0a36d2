"""Snakemake's graph of jobs or rules, read from the DOT text that it prints, and made fit to be looked at.

Snakemake names a wildcard only in the job where it first appears and draws every edge. Here a job carries the system
and seed that it belongs to, and an edge that a longer path already implies is left out.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path

import networkx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from ekd_nmt.common.errors import UserError

# wildcards that identify a trained model: what is made of a model is labelled with them
RUN_WILDCARDS = ("system", "seed")

NODE = re.compile(r'^\s*(\d+)\[label = "(.*?)", color = ".*?", style="(.*?)"\];?$', re.MULTILINE)
EDGE = re.compile(r"^\s*(\d+) -> (\d+);?$", re.MULTILINE)


@dataclass
class Job:
    """A node: a job of the DAG, or a rule of the rule graph (then without wildcards)."""

    rule: str
    wildcards: dict[str, str]
    done: bool = False

    @property
    def label(self) -> str:
        """Such as ``train senior_teacher seed 1``: a number needs its name, other values speak for themselves."""
        ordered = sorted(self.wildcards.items(), key=lambda item: item[1].isdigit())
        return " ".join([self.rule, *(f"{name} {value}" if value.isdigit() else value for name, value in ordered)])


@dataclass
class Graph:
    """Jobs by number, and for each the numbers of those that it needs."""

    jobs: dict[int, Job]
    needs: dict[int, set[int]] = field(default_factory=dict)


def parse(dot: str) -> Graph:
    """Read what ``snakemake --dag dot`` or ``--rulegraph dot`` printed.

    Raises:
        UserError: there is no graph in it, or an edge to a node that is not there.
    """
    graph = Graph({})
    for number, label, style in NODE.findall(dot):
        rule, *wildcards = label.split(r"\n")
        pairs = dict(wildcard.split(": ", 1) for wildcard in wildcards)
        graph.jobs[int(number)] = Job(rule, pairs, done="dashed" in style)
        graph.needs[int(number)] = set()
    for first, second in EDGE.findall(dot):
        if not {int(first), int(second)} <= graph.jobs.keys():
            raise UserError(f"graph: edge {first} -> {second} to an unknown node; snakemake's output was cut off")
        graph.needs[int(second)].add(int(first))
    if not graph.jobs:
        raise UserError("graph: snakemake printed none; run the same command with snakemake --dag to see why")
    return graph


def levels(graph: Graph) -> list[list[int]]:
    """Jobs in groups, each of which needs only jobs of the groups before; none when there is a cycle.

    A rule graph has cycles where rules feed each other; a rule that feeds itself is no cycle here.
    """
    sorter = TopologicalSorter({number: needs - {number} for number, needs in graph.needs.items()})
    try:
        sorter.prepare()
    except CycleError:
        return []
    groups = []
    while sorter.is_active():
        groups.append(sorted(sorter.get_ready()))
        sorter.done(*groups[-1])
    return groups


def complete_wildcards(graph: Graph) -> None:
    """Give every job the system and seed of the model that it works on, where its dependencies tell them.

    Jobs that still look alike get whatever else tells them apart. Single jobs, such as a table, gather and need none.
    """
    rules = Counter(job.rule for job in graph.jobs.values())
    for group in levels(graph):
        repeated = [number for number in group if rules[graph.jobs[number].rule] > 1]
        while any(inherit(graph, number, RUN_WILDCARDS) for number in repeated):
            continue
        labels = Counter(job.label for job in graph.jobs.values())
        for number in (number for number in repeated if labels[graph.jobs[number].label] > 1):
            inherit(
                graph, number, set(chain.from_iterable(graph.jobs[other].wildcards for other in graph.needs[number]))
            )


def inherit(graph: Graph, number: int, names: Iterable[str]) -> bool:
    """Take over the values of wildcards ``names`` that a job lacks from its dependencies; tell whether there were any.

    A value is taken when all dependencies that have one agree. Where they do not (a student of another seed than its
    teacher), it is the one that no sibling has already.
    """
    job = graph.jobs[number]
    missing = [name for name in names if name not in job.wildcards]
    for name in missing:
        values = {graph.jobs[other].wildcards.get(name) for other in graph.needs[number]} - {None}
        if len(values) > 1:
            values -= taken(graph, job, name)
        if len(values) == 1:
            job.wildcards[name] = values.pop()
    return any(name in job.wildcards for name in missing)


def taken(graph: Graph, job: Job, name: str) -> set[str | None]:
    """Values of wildcard ``name`` in the other jobs of the same rule that differ from ``job`` in nothing else."""

    def rest(other: Job) -> dict[str, str]:
        return {key: value for key, value in other.wildcards.items() if key != name}

    siblings = (other for other in graph.jobs.values() if other is not job and other.rule == job.rule)
    return {other.wildcards.get(name) for other in siblings if rest(other) == rest(job)}


def reduce_edges(graph: Graph) -> None:
    """Leave out every edge whose two ends a longer path connects. Edges within a cycle stay."""
    edges = [(other, number) for number, needs in graph.needs.items() for other in needs if other != number]
    cycles = networkx.condensation(networkx.DiGraph(edges))  # its nodes are the cycles, and single jobs
    part = cycles.graph["mapping"]
    kept = networkx.transitive_reduction(cycles).edges
    for other, number in edges:
        if part[other] != part[number] and (part[other], part[number]) not in kept:
            graph.needs[number].remove(other)
