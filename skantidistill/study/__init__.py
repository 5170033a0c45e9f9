"""The study: how students that grew do against students that did not, in tables that anybody can rerun."""

from skantidistill.study.cluster import Cluster
from skantidistill.study.design import make_protocol
from skantidistill.study.errors import StudyError
from skantidistill.study.methods import METHODS, TABLES
from skantidistill.study.protocols import PROTOCOLS, Protocol, student_parameters, tables_of
from skantidistill.study.report.page import write_report
from skantidistill.study.report.tables import Studied
from skantidistill.study.report.text import as_text
from skantidistill.study.run import methods_of, run_study
from skantidistill.study.statistics import compare, summarise
from skantidistill.study.store import Memory, Run, Store

__all__ = [
    "METHODS",
    "PROTOCOLS",
    "TABLES",
    "Cluster",
    "Memory",
    "Protocol",
    "Run",
    "Store",
    "Studied",
    "StudyError",
    "as_text",
    "compare",
    "make_protocol",
    "methods_of",
    "run_study",
    "student_parameters",
    "summarise",
    "tables_of",
    "write_report",
]
