"""Draw the jobs (dag) or the rules (rulegraph) of the workflow as SVG, with one colour for each file of rules/.

Snakemake prints the graph. Of graphviz, `tred` removes the edges that a longer path implies, and `dot` draws the rest.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "workflow_scripts"))

from ekd_nmt.common.command import run
from ekd_nmt.common.errors import UserError
from ekd_nmt.common.files import atomic_write

ROOT = Path(__file__).resolve().parents[1]

# file in rules/ → colour, in the order of the work; distinct for colour-blind readers and in print
COLOURS = {
    "data": "#cfe3f5",
    "prepare": "#bfe0e6",
    "bpe": "#d3ecd9",
    "train": "#fbd9a5",
    "distil": "#f6c7c1",
    "evaluate": "#e2d3f0",
    "results": "#fdf3b5",
    "maintenance": "#f0f0f0",
}
HEAD = """digraph workflow {{
    rankdir=LR; nodesep=0.12; ranksep=0.45; labelloc=b; fontname="{font}"; fontsize=11;
    label=<<table border="0" cellborder="1" cellspacing="4"><tr>{legend}</tr></table>>;
    node[shape=box, fontname="{font}", fontsize=11, height=0.3, margin="0.1,0.04"];
    edge[color="#8c8c8c", arrowsize=0.6];
"""
FONT = "Helvetica,Arial,sans-serif"
RULE = re.compile(r"^\s*(?:rule|use rule \w+ as)\s+(\w+)\s*(?::|with:)", re.MULTILINE)
NODE = re.compile(r'(\d+)\[label = "(.*?)", color = ".*?", style="(.*?)"\]')


def read_phases(root: Path) -> dict[str, str]:
    """Rule → name of the file in rules/ that declares it."""
    files = sorted((root / "rules").glob("*.smk"))
    return {rule: file.stem for file in files for rule in RULE.findall(file.read_text(encoding="utf-8"))}


def restyle(graph: str, phases: dict[str, str]) -> str:
    """Snakemake's graph in the DOT language, from left to right, with colours, short labels and a legend.

    Raises:
        UserError: there is no graph in the text.
    """
    nodes = NODE.findall(graph)
    if not nodes:
        raise UserError("snakemake printed no graph; run the same command with snakemake --dag to see why")
    used = {phases.get(label.partition("\\n")[0], "") for _, label, _ in nodes}
    legend = "".join(f'<td bgcolor="{colour}">{phase}</td>' for phase, colour in COLOURS.items() if phase in used)
    legend += "<td>dashed: up to date</td>" if "dashed" in graph else ""

    def restyle_node(match: re.Match[str]) -> str:
        number, label, style = match.groups()
        rule, *wildcards = label.split("\\n")
        pairs = [wildcard.split(": ", 1) for wildcard in wildcards]
        values = [value for _, value in pairs if not value.isdigit()]
        values += [f"{name} {value}" for name, value in pairs if value.isdigit()]
        colour = COLOURS.get(phases.get(rule, ""), "white")
        return f'{number}[label="{" ".join([rule, *values])}", fillcolor="{colour}", style="filled,{style}"]'

    body = NODE.sub(restyle_node, graph[graph.index(nodes[0][0] + "[") :])
    return HEAD.format(font=FONT, legend=legend) + body


def pipe(command: list[str], text: str = "") -> str:
    """The standard output of a command that reads ``text``.

    Raises:
        UserError: the command is not installed, or failed; its standard error is passed on.
    """
    try:
        answer = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not installed: install graphviz, or run snakemake --dag mermaid-js"
        ) from error
    if answer.returncode:
        sys.stderr.write(answer.stderr)
        raise UserError(f"{' '.join(command)} failed, see above")
    return answer.stdout


def main() -> None:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("kind", choices=("dag", "rulegraph"), help="all jobs, or the rules alone")
    parser.add_argument("output", type=Path, help="the SVG")
    given, arguments = parser.parse_known_args()
    graph = pipe(["snakemake", "--cores", "1", *arguments, f"--{given.kind}", "dot"])
    picture = pipe(["dot", "-Tsvg"], pipe(["tred"], restyle(graph, read_phases(ROOT))))
    with atomic_write(given.output) as handle:
        handle.write(picture)
    print(f"wrote {given.output}")


if __name__ == "__main__":
    run(main)
