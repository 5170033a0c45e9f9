"""The directive ``floors``: a table of the modules, taken from the test that holds the tree to it."""

import ast
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[2]
LAYOUT = ROOT / "tests" / "test_layout.py"


def read_floors() -> dict[str, int]:
    """Return the floor of every module, by its name within the package."""
    for node in ast.parse(LAYOUT.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS":
            return ast.literal_eval(node.value)
    raise LookupError(f"{LAYOUT} has no assignment to FLOORS.")


def read_summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    path = ROOT.joinpath("skantidistill", *module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    return docstring.partition("\n")[0]


def floor_rows() -> list[str]:
    """Return the table in Markdown, the lowest floor first, a line a module."""
    floors = sorted(read_floors().items(), key=lambda item: (item[1], item[0]))
    lines = ["| floor | module | what it is |", "|---|---|---|"]
    for module, floor in floors:
        summary = read_summary(module).replace("|", r"\|")
        lines.append(f"| {floor} | `{module or 'skantidistill'}` | {summary} |")
    return lines


class Floors(SphinxDirective):
    """Insert the table."""

    def run(self) -> list[nodes.Node]:
        """Parse the table as part of the page."""
        self.env.note_dependency(str(LAYOUT))
        container = nodes.Element()
        self.state.nested_parse(StringList(floor_rows(), source=str(LAYOUT)), self.content_offset, container)
        return container.children


def setup(app: Any) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("floors", Floors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
