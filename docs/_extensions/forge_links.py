"""Links that lead to files on a forge lead to pages in the site.

The pages in ``docs/`` are read in both places: ``examples/plot_x.py`` is a file there, and a page of the
gallery here; the study's report is a file there, and opens in the browser here.
"""

import re
import shutil
from pathlib import Path
from typing import Any

REPORT = "fashion-mnist/report.html"


def lead_into_the_site(app: Any, docname: str, source: list[str]) -> None:
    """Rewrite the links of a page before it is parsed."""
    text = re.sub(r"\]\((?:\.\./)+examples/(plot_\w+)\.py\)", r"](/auto_examples/\1.rst)", source[0])
    source[0] = re.sub(rf"\[([^\]]+)\]\(((?:\.\./)*{re.escape(REPORT)})\)", r'<a href="\2">\1</a>', text)


def copy_report(app: Any, exception: Exception | None) -> None:
    """Put the report where the links to it lead."""
    if exception is None and app.builder.format == "html":
        target = Path(app.outdir, REPORT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(Path(app.srcdir, REPORT), target)


def setup(app: Any) -> dict[str, Any]:
    """Connect both to Sphinx."""
    app.connect("source-read", lead_into_the_site)
    app.connect("build-finished", copy_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
