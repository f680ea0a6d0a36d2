"""docs/demo-corpus.md shows what the generator really writes."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import generate

PAGE = Path(__file__).parents[3] / "docs" / "demo-corpus.md"


def test_the_command_examples_and_figures_of_the_page(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    command, summary = re.search(r"\$ python \S+generate\.py (.*?)--output-dir demo\n(.*?)\n```", text, re.S).groups()
    arguments = [*shlex.split(command.replace("\\\n", " ")), "--output-dir", str(tmp_path)]
    result = subprocess.run([sys.executable, generate.__file__, *arguments], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (0, summary)

    examples = re.findall(r"^\| ([^|]*[.?]) \| ([^|]*[.?]) \|", text, re.M)
    sides = [(tmp_path / name).read_text(encoding="utf-8").splitlines() for name in ("test.de", "test.en")]
    assert len(examples) == 10
    assert set(examples) <= set(zip(*sides, strict=True))

    stats = json.loads((tmp_path / "stats.json").read_text())
    for key in ("mean_words", "word_types", "zipf_slope_words"):
        assert f"| {stats[key]['source']} | {stats[key]['target']} |" in text
