"""The pages of the documentation, as the tests of their code, links and tables go through them."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "guide").glob("*.md"))]


def name_of(page):
    """Return the path of a page within the project."""
    return str(page.relative_to(ROOT))
