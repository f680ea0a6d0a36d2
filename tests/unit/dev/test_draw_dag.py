"""The pictures: SVG with graphviz, Mermaid without, nothing half-written."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import draw_dag
from dag_graph import complete_wildcards, parse, reduce_edges
from ekd_nmt.common.errors import UserError

ROOT = Path(__file__).parents[3]
DOT = ROOT / "tests/unit/dev/data/dag.dot"
PHASES = {
    "fetch": "data",
    "pair": "data",
    "prepare": "data",
    "learn_bpe": "bpe",
    "apply_bpe": "bpe",
    "binarize": "bpe",
    "train": "train",
    "translate": "evaluate",
    "score": "evaluate",
    "bleu_table": "results",
}


@pytest.fixture
def graph():
    graph = parse(DOT.read_text())
    complete_wildcards(graph)
    reduce_edges(graph)
    return graph


def command_line(output, *, path=None, dot=DOT):
    command = [sys.executable, ROOT / "dev/draw_dag.py", "--kind", "dag", "--dot", dot, "--output", output]
    environment = os.environ | ({} if path is None else {"PATH": path})
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_phases_are_the_files_that_declare_the_rules(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/data.smk").write_text("rule fetch:\n    output:\n\n\nif demo:\n\n    rule generate:\n")
    (tmp_path / "rules/distil.smk").write_text("checkpoint cache_teacher:\n    input:\n# rule none of this\n")
    assert draw_dag.read_phases(tmp_path) == {"fetch": "data", "generate": "data", "cache_teacher": "distil"}


def test_every_phase_of_the_workflow_has_a_colour():
    assert set(draw_dag.read_phases(ROOT).values()) <= draw_dag.COLOURS.keys()


def test_dot_has_every_job_in_the_colour_of_its_phase(graph):
    dot = draw_dag.to_dot(graph, PHASES)
    colours = dict(re.findall(r'\[label="(.*?)", fillcolor="(.*?)"', dot))
    assert len(colours) == len(graph.jobs)
    assert colours["train master_student seed 2"] == draw_dag.COLOURS["train"]
    assert colours["prepare test"] == draw_dag.COLOURS["data"]
    assert colours["all"] == draw_dag.OTHER
    assert "rankdir=LR" in dot
    assert len(re.findall(r"\d -> \d", dot)) == sum(map(len, graph.needs.values()))
    assert "dashed" not in dot


def test_legend_has_the_phases_in_use_in_the_order_of_the_work(graph):
    legend = re.findall(r"<td bgcolor=\"#\w+\"> (\w+) </td>", draw_dag.to_dot(graph, PHASES))
    assert legend == ["data", "bpe", "train", "evaluate", "results"]


def test_finished_jobs_are_dashed_and_explained(graph):
    next(job for job in graph.jobs.values() if job.rule == "binarize").done = True
    dot = draw_dag.to_dot(graph, PHASES)
    assert dot.count('style="rounded,filled,dashed"') == 1
    assert "dashed: up to date" in dot
    assert draw_dag.to_mermaid(graph, PHASES).count("stroke-dasharray") == 1


def test_mermaid_declares_each_class_it_uses(graph):
    lines = draw_dag.to_mermaid(graph, PHASES).splitlines()
    assert lines[0] == "flowchart LR"
    text = "\n".join(lines)
    assert set(re.findall(r":::(\w+)$", text, re.MULTILINE)) == set(re.findall(r"classDef (\w+) ", text)) != set()
    assert any(line.endswith('["train master_student seed 2"]:::train') for line in lines)
    assert sum("-->" in line for line in lines) == sum(map(len, graph.needs.values()))


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
def test_command_draws_an_svg(tmp_path):
    output = tmp_path / "new/dag.svg"
    answer = command_line(output)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout == f"wrote {output}\n"
    texts = {element.text for element in ElementTree.parse(output).iter("{http://www.w3.org/2000/svg}text")}
    assert {"train senior_teacher seed 1", "score takd_student seed 2", "bleu_table"} <= texts
    assert list(output.parent.iterdir()) == [output]


def test_command_writes_mermaid_where_there_is_no_graphviz(tmp_path):
    answer = command_line(tmp_path / "dag.svg", path=str(tmp_path))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "graphviz is not installed" in answer.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["dag.mmd"]
    assert (tmp_path / "dag.mmd").read_text().startswith("flowchart LR\n")


def test_failing_graphviz_leaves_the_old_picture(tmp_path):
    broken = tmp_path / "bin/dot"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'no layout' >&2\nexit 3\n")
    broken.chmod(0o755)
    output = tmp_path / "dag.svg"
    output.write_text("old")
    answer = command_line(output, path=f"{broken.parent}:{os.environ['PATH']}")
    assert answer.returncode == 2
    assert answer.stderr == "error: graphviz could not draw the graph: no layout\n"
    assert output.read_text() == "old"


def test_missing_recording_is_one_line(tmp_path):
    answer = command_line(tmp_path / "dag.svg", dot=tmp_path / "none.dot")
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert "none.dot" in answer.stderr


def test_snakemake_failure_is_passed_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="snakemake --dag failed"):
        draw_dag.ask_snakemake("dag", ["--snakefile", "none"])
    assert "none" in capsys.readouterr().err
