"""What the pages of classes show of members that were written elsewhere.

Methods inherited from scikit-learn refer to pages of its documentation, which are not looked up here: what is
said stays, the link goes. The fields of a named tuple are described by its class.
"""

import re
from collections import namedtuple
from typing import Any

FIELD = type(namedtuple("Single", "field").field)


def drop_references(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Replace every reference of a docstring of scikit-learn's by its text."""
    if getattr(obj, "__module__", "").startswith("sklearn."):
        text = re.sub(r":(?:ref|term):`([^`<]+?)(?:\s*<[^>]+>)?`", r"\1", "\n".join(lines))
        lines[:] = text.split("\n")


def skip_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples."""
    return True if isinstance(obj, FIELD) else None


def setup(app: Any) -> dict[str, Any]:
    """Connect both to Sphinx; references before numpydoc takes the docstring apart."""
    app.connect("autodoc-process-docstring", drop_references, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
