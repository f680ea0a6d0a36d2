"""Imports that import-linter does not see, because commands belong to no package."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "workflow_scripts"
COMMANDS = {path.stem for path in SCRIPTS.glob("*.py")}
DEVELOPMENT = {path.stem for folder in ("dev", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")}


def importers(names, files):
    """Each file that imports one of the top-level names, with that name, wherever in the file the import is."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            yield from ((file.name, name) for module in modules if (name := module.partition(".")[0]) in names)


def test_an_import_is_found_wherever_it_is(tmp_path):
    code = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n"
    (tmp_path / "x.py").write_text(code)
    assert set(importers("abcdefghi", [tmp_path / "x.py"])) == {("x.py", "a"), ("x.py", "c"), ("x.py", "h")}


def test_nothing_imports_a_command():
    assert list(importers(COMMANDS, SCRIPTS.rglob("*.py"))) == []


def test_the_workflow_imports_no_development_code():
    names = DEVELOPMENT - {"__init__"} | {"dev", "tests", "benchmarks"}
    assert list(importers(names, SCRIPTS.rglob("*.py"))) == []


def test_commands_do_not_import_fairseq():
    assert list(importers({"fairseq", "fairseq_cli"}, SCRIPTS.glob("*.py"))) == []
