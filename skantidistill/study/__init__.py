"""The study: how students that grew do against students that did not, in tables that anybody can rerun."""

from skantidistill.study.protocols import METHODS, PROTOCOLS, TABLES, Protocol, student_parameters
from skantidistill.study.report import as_text, summarise
from skantidistill.study.run import run_study

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "TABLES",
    "Protocol",
    "as_text",
    "run_study",
    "student_parameters",
    "summarise",
]
