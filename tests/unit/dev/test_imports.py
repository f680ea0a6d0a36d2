"""Imports that import-linter does not see, because commands belong to no package."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
COMMANDS = list((ROOT / "workflow_scripts").glob("*.py"))
FILES = list((ROOT / "workflow_scripts").rglob("*.py"))
DEVELOPMENT = [path for folder in ("dev", "benchmarks", "tests") for path in (ROOT / folder).rglob("[!_]*.py")]


def imported(source):
    """Top-level names that a source imports, wherever in it the import is."""
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module]
        yield from (module.partition(".")[0] for module in modules)


def test_an_import_is_found_wherever_it_is():
    assert set(imported("import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n")) == set("ach")


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (FILES, {path.stem for path in COMMANDS}),
        (FILES, {path.stem for path in DEVELOPMENT} | {"dev", "tests", "benchmarks"}),
        (COMMANDS, {"fairseq", "fairseq_cli"}),
    ],
    ids=["no command", "no development code", "no fairseq by a command"],
)
def test_nothing_imports(files, names):
    assert len(files) > 15
    assert {path.name: found for path in files if (found := names & set(imported(path.read_text())))} == {}
