"""kd/fairseq_api.py: no other module imports fairseq, and docs/dependencies.md lists what is used and where."""

import ast
import re
from pathlib import Path

from project_copy import ROOT

API = ROOT / "workflow_scripts/kd/fairseq_api.py"


def imports(path: Path) -> list[tuple[str, int, set[str]]]:
    """Module, line and names of each import of a file, also within functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.lineno, {alias.asname or alias.name for alias in node.names}))
        elif isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, set()) for alias in node.names]
    return found


def test_no_other_module_imports_fairseq():
    modules = [path for folder in ("workflow_scripts", "dev", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    modules += (ROOT / "tests/support").glob("*.py")
    found = {path.name for path in modules for module, *_ in imports(path) if re.match(r"fairseq(_cli)?\b", module)}
    assert found == {API.name}


def test_the_documentation_lists_what_is_used_and_where():
    lines = API.read_text(encoding="utf-8").splitlines()
    used: dict[str, set[str]] = {}
    for path in API.parent.glob("*.py"):
        for name in (name for module, _, names in imports(path) if module == "kd.fairseq_api" for name in names):
            used.setdefault(name, set()).add(path.stem)
    concerns: dict[str, tuple[set[str], set[str]]] = {}
    for _, number, names in sorted(imports(API), key=lambda each: each[1]):
        title = next(line for line in reversed(lines[:number]) if line.startswith("# ") and ": " in line)
        listed, modules = concerns.setdefault(title[2:].partition(":")[0], (set(), set()))
        listed |= names
        modules |= set().union(*(used[name] for name in names))  # KeyError: a name that no module uses
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    cells = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| ") and line.count("|") == 5]
    documented = {title.strip(): tuple(set(re.findall(r"`(\w+)`", cell)) for cell in rest) for title, *rest in cells}
    assert {title: documented.get(title) for title in concerns} == concerns
