"""Draw the workflow's jobs (dag) or rules (rulegraph) from left to right, one colour a phase, with short labels.

With graphviz the picture is an SVG, without it a Mermaid file (.mmd), which GitHub and many editors show.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dag_graph import Graph, complete_wildcards, parse, reduce_edges

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write

ROOT = Path(__file__).resolve().parent.parent

# the order of the phases, and colours that stay apart for colour-blind readers and in print
COLOURS = {
    "data": "#cfe3f5",
    "prepare": "#bfe0e6",
    "bpe": "#d3ecd9",
    "train": "#fbd9a5",
    "distil": "#f6c7c1",
    "evaluate": "#e2d3f0",
    "results": "#fdf3b5",
    "export": "#dcdcdc",
    "maintenance": "#f0f0f0",
}
OTHER = "#ffffff"
FONT = "Helvetica,Arial,sans-serif"
RULE = re.compile(r"^\s*(?:rule|checkpoint)\s+(\w+)\s*:", re.MULTILINE)


def read_phases(root: Path) -> dict[str, str]:
    """Rule name → phase: the name of the file in rules/ that declares it, so there is no second list to keep."""
    files = sorted((root / "rules").glob("*.smk"))
    return {rule: file.stem for file in files for rule in RULE.findall(file.read_text(encoding="utf-8"))}


def used_phases(graph: Graph, phases: dict[str, str]) -> list[str]:
    """The coloured phases that occur in the graph, in the order of the work."""
    used = {phases.get(job.rule) for job in graph.jobs.values()}
    return [phase for phase in COLOURS if phase in used]


def to_dot(graph: Graph, phases: dict[str, str]) -> str:
    """The graph for graphviz, with the phases' colours as a legend below it."""
    cells = "".join(f'<td bgcolor="{COLOURS[phase]}"> {phase} </td>' for phase in used_phases(graph, phases))
    if any(job.done for job in graph.jobs.values()):
        cells += "<td> dashed: up to date </td>"
    lines = [
        "digraph workflow {",
        "  rankdir=LR; bgcolor=white; nodesep=0.12; ranksep=0.45; labelloc=b;",
        f'  label=<<table border="0" cellborder="1" cellspacing="4"><tr>{cells}</tr></table>>;',
        f'  fontname="{FONT}"; fontsize=11;',
        f'  node [shape=box, fontname="{FONT}", fontsize=11, height=0.3, margin="0.1,0.04"];',
        '  edge [color="#8c8c8c", arrowsize=0.6];',
    ]
    for number, job in graph.jobs.items():
        style = "rounded,filled" + ",dashed" * job.done
        colour = COLOURS.get(phases.get(job.rule, ""), OTHER)
        lines.append(f'  {number} [label="{job.label}", fillcolor="{colour}", style="{style}"];')
    lines += [f"  {need} -> {number};" for number, needs in graph.needs.items() for need in sorted(needs)]
    return "\n".join([*lines, "}"]) + "\n"


def to_mermaid(graph: Graph, phases: dict[str, str]) -> str:
    """The graph as a Mermaid flowchart."""
    lines = ["flowchart LR"]
    for number, job in graph.jobs.items():
        phase = phases.get(job.rule, "")
        lines.append(f'    {number}["{job.label}"]' + (f":::{phase}" if phase in COLOURS else ""))
    lines += [f"    {need} --> {number}" for number, needs in graph.needs.items() for need in sorted(needs)]
    lines += [f"    style {number} stroke-dasharray: 4 3" for number, job in graph.jobs.items() if job.done]
    lines += [
        f"    classDef {phase} fill:{COLOURS[phase]},stroke:#666,color:#000" for phase in used_phases(graph, phases)
    ]
    return "\n".join(lines) + "\n"


def ask_snakemake(kind: str, arguments: list[str]) -> str:
    """What ``snakemake --dag dot`` or ``--rulegraph dot`` prints.

    Raises:
        UserError: snakemake failed; its own message is passed on.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments, f"--{kind}", "dot"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        sys.stderr.write(answer.stderr)
        raise UserError(f"snakemake --{kind} failed, see above")
    return answer.stdout


def draw(dot: str, phases: dict[str, str], output: Path) -> Path:
    """Write the picture; return its path, which ends in .mmd where there is no graphviz.

    Raises:
        UserError: graphviz failed.
    """
    graph = parse(dot)
    complete_wildcards(graph)
    reduce_edges(graph)
    if shutil.which("dot") is None:
        output = output.with_suffix(".mmd")
        picture = to_mermaid(graph, phases)
    else:
        drawn = subprocess.run(
            ["dot", "-Tsvg"], input=to_dot(graph, phases), capture_output=True, text=True, check=False
        )
        if drawn.returncode:
            raise UserError(f"graphviz could not draw the graph: {drawn.stderr}")
        picture = drawn.stdout
    with atomic_write(output) as handle:
        handle.write(picture)
    return output


def main() -> None:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=("dag", "rulegraph"), required=True, help="all jobs, or the rules alone")
    parser.add_argument("--dot", type=Path, help="draw this recorded graph and do not ask snakemake")
    parser.add_argument("--output", type=Path, required=True, help="the SVG; .mmd in its place without graphviz")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="for snakemake, after --")
    given = parser.parse_args()
    try:
        dot = given.dot.read_text(encoding="utf-8") if given.dot else ask_snakemake(given.kind, given.arguments)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{given.dot}: cannot be read ({error})") from error
    written = draw(dot, read_phases(ROOT), given.output)
    note = "" if written.suffix == ".svg" else " (graphviz is not installed, so as Mermaid)"
    print(f"wrote {written}{note}")


if __name__ == "__main__":
    run(main)
