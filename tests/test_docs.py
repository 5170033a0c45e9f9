"""The documentation: links lead somewhere, tables are those of the rows, public names are listed."""

import importlib
import re
import runpy

import pytest

from tests.pages import DOCS, PAGES, ROOT, name_of

DIFFERENCE = r"[+-]\.\d{3} ±\.\d{3}"


def anchors(page):
    """Return what the headings of a page can be linked by, as forges and MyST name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_a_table_of_contents():
    listed = set()
    for page in PAGES[1:]:
        for block in re.findall(r"```{toctree}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            entries = [line for line in block.split("\n") if line and not line.startswith(":")]
            listed |= {(page.parent / f"{entry}.md").resolve() for entry in entries}
    assert set(PAGES[1:]) - listed == {DOCS / "index.md"}


def test_the_tables_of_readme_and_sceptic_are_those_of_the_committed_rows():
    tables = runpy.run_path(str(DOCS / "fashion-mnist" / "tables.py"))["read_tables"]()
    assert len(tables) == 2
    page = (DOCS / "sceptic.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"```text\n{table}\n```" in text for table in tables for text in (page, readme))
    told = re.findall(DIFFERENCE, re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE))
    assert len(told) > 5
    assert set(told) <= set(re.findall(DIFFERENCE, "".join(tables)))


def test_the_landing_page_shows_the_first_example_of_the_readme():
    fences = re.findall(r"^```(\w+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert [fence for fence in fences if fence != "bash"][:2] == ["python", "text"]


@pytest.mark.parametrize("module", ["", ".blueprint", ".curvature", ".datasets", ".growth", ".study"])
def test_every_public_name_is_in_the_reference(module):
    listed = set(
        re.findall(r"^(?:   |\.\. data:: )(?:\w+\.)*(\w+)$", (DOCS / "api.rst").read_text("utf-8"), re.M)
    )
    public = set(importlib.import_module(f"skantidistill{module}").__all__) - {"__version__"}
    assert public - listed == set()
