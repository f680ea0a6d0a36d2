"""The pictures of the workflow. data/*.dot is what snakemake printed for Multi30k with two seeds."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import draw_dag
from ekd_nmt.common.errors import UserError

ROOT = Path(__file__).parents[3]
DATA = Path(__file__).parent / "data"
PHASES = {"fetch": "data", "prepare": "prepare", "train": "train", "translate": "evaluate", "bleu_table": "results"}
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")


def read(name):
    return (DATA / f"{name}.dot").read_text()


def program(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def draw(output, folder, path=None):
    """Run the command with a ``snakemake`` in ``folder`` that prints its arguments and the recorded graph."""
    program(folder, "snakemake", f'echo "$@" >{folder}/arguments\ncat {DATA}/dag.dot')
    command = [sys.executable, ROOT / "dev/draw_dag.py", "dag", output, "--forceall"]
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH'] if path is None else path}"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_phases_are_the_files_that_declare_the_rules():
    phases = draw_dag.read_phases(ROOT)
    expected = {"fetch": "data", "generate": "data", "cache_teacher": "distil", "apply_bpe_shard": "bpe"}
    assert expected.items() <= phases.items()
    assert set(phases.values()) <= draw_dag.COLOURS.keys()


def test_every_job_has_a_label_and_the_colour_of_its_phase():
    dot = draw_dag.restyle(read("dag").replace('"rounded"', '"rounded,dashed"', 1), PHASES)
    nodes = re.findall(r'\[label="(.*?)", fillcolor="(.*?)", style="filled,rounded(?:,dashed)?"\]', dot)
    assert dot.count(',dashed"') == 1
    assert len(nodes) == read("dag").count("[label")
    assert ("train senior_teacher seed 1", draw_dag.COLOURS["train"]) in nodes
    assert ("fetch multi30k train.de.gz", draw_dag.COLOURS["data"]) in nodes
    assert ("all", "white") in nodes
    assert re.findall(r"\d+ -> \d+", dot) == re.findall(r"\d+ -> \d+", read("dag"))


def test_legend_has_the_phases_in_use_and_explains_finished_jobs():
    def legend(dot):
        return re.findall(r"<td[^>]*>(.*?)</td>", draw_dag.restyle(dot, PHASES))

    phases = ["data", "prepare", "train", "evaluate", "results"]
    assert legend(read("dag")) == phases
    assert legend(read("dag").replace('"rounded"', '"rounded,dashed"', 1)) == [*phases, "dashed: up to date"]


@pytest.mark.parametrize("text", ["", "digraph snakemake_dag {\n}\n", "Nothing to be done.\n"])
def test_no_graph_is_one_error(text):
    with pytest.raises(UserError, match="printed no graph"):
        draw_dag.restyle(text, PHASES)


@needs_graphviz
def test_command_draws_every_job_and_no_implied_edge(tmp_path):
    output = tmp_path / "new/dag.svg"
    answer = draw(output, tmp_path / "bin")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"wrote {output}\n", "")
    assert list(output.parent.iterdir()) == [output]
    assert (tmp_path / "bin/arguments").read_text() == "--cores 1 --forceall --dag dot\n"
    svg = "{http://www.w3.org/2000/svg}"
    texts = [element.text for element in ElementTree.parse(output).iter(f"{svg}text")]
    assert {"train senior_teacher seed 1", "train master_student", "bleu_table"} <= set(texts)
    titles = [element.text for element in ElementTree.parse(output).iter(f"{svg}title")]
    rule = dict(re.findall(r'(\d+)\[label = "(\w+)', read("dag")))
    edges = {tuple(rule[number] for number in title.split("->")) for title in titles if "->" in title}
    assert {("binarize", "train"), ("train", "translate"), ("translate", "score")} <= edges
    # implied by binarize → train → translate
    assert ("binarize", "translate") not in edges


@needs_graphviz
def test_rulegraph_keeps_the_loop_of_a_rule_that_feeds_itself():
    assert "train -> train" in re.sub(
        r"\d+",
        lambda match: dict(re.findall(r'(\d+)\[label = "(\w+)', read("rulegraph"))).get(match[0], match[0]),
        draw_dag.pipe(["tred"], draw_dag.restyle(read("rulegraph"), PHASES)),
    )


def test_missing_graphviz_is_one_line(tmp_path):
    program(tmp_path / "bin", "cat", f'exec {shutil.which("cat")} "$@"')
    answer = draw(tmp_path / "dag.svg", tmp_path / "bin", path=str(tmp_path / "bin"))
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert answer.stderr.startswith("error: tred is not installed: install graphviz")
    assert not (tmp_path / "dag.svg").exists()


def test_failing_graphviz_leaves_the_old_picture(tmp_path):
    program(tmp_path / "bin", "tred", "cat")
    program(tmp_path / "bin", "dot", "echo 'no layout' >&2\nexit 3")
    output = tmp_path / "dag.svg"
    output.write_text("old")
    answer = draw(output, tmp_path / "bin")
    assert answer.returncode == 2
    assert answer.stderr == "no layout\nerror: dot -Tsvg failed, see above\n"
    assert output.read_text() == "old"


def test_snakemake_failure_is_passed_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--dag dot failed, see above"):
        draw_dag.pipe(["snakemake", "--cores", "1", "--snakefile", "none", "--dag", "dot"])
    assert "none" in capsys.readouterr().err
