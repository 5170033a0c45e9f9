"""Where finished runs are kept: an SQLite file in a folder, one row and one transaction a run.

A process that is killed loses what it was computing, and nothing else. Runs are claimed by locks on single
bytes of a file, which the system lifts when a process ends, however it ends.
"""

import contextlib
import csv
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from skantidistill.study.errors import StudyError, errors_told
from skantidistill.study.statistics import time_to_reach
from skantidistill.writing import write_whole

try:
    import fcntl
except ImportError:  # not on Windows: two processes there may make the same run, and one is kept
    fcntl = None  # type: ignore[assignment]

__all__ = ["DATABASE", "TABLE", "Memory", "Results", "Run", "Store", "Study"]

DATABASE, CLAIMS, TABLE = "study.sqlite", "study.claims", "table.csv"
APPLICATION, FORMAT = 0x736B6164, 1  # "skad"; written into the file
_WRITE = "BEGIN IMMEDIATE"
PATIENCE = 60.0  # seconds that one process waits for the other's transaction

_SCHEMA = """
CREATE TABLE studies (study TEXT PRIMARY KEY, settings TEXT NOT NULL, begun TEXT NOT NULL);
CREATE TABLE runs (study TEXT NOT NULL REFERENCES studies, seed INTEGER NOT NULL, method TEXT NOT NULL,
                   row TEXT NOT NULL, PRIMARY KEY (study, seed, method));
"""


class Run(NamedTuple):
    """One student of a study.

    Parameters
    ----------
    seed : int
        Of the split, the teacher and the student.
    method : str
        Name of the row.
    """

    seed: int
    method: str


Row = dict[str, Any]


class Study(Protocol):
    """The runs of one study."""

    def rows(self) -> dict[Run, Row]:
        """Return what is finished."""

    def claim(self, run: Run) -> bool:
        """Say whether a run is to be made here, and not finished nor being made elsewhere."""

    def add(self, run: Run, row: Row) -> None:
        """Keep a finished run."""


class Results(Protocol):
    """Where studies are kept."""

    def begin(self, key: str, settings: dict[str, Any]) -> Study:
        """Return the study with these settings, a new one or one to go on with."""


class Memory:
    """Keeps runs as long as the process lives."""

    def __init__(self) -> None:
        self._studies: dict[str, dict[Run, Row]] = {}

    def begin(self, key: str, settings: dict[str, Any]) -> "Memory":
        """Return the study with these settings, a new one or one to go on with.

        Parameters
        ----------
        key : str
            A short name of the settings.
        settings : dict
            All that a row depends on besides its method and seed.

        Returns
        -------
        study : Memory
            This one.
        """
        self._found = self._studies.setdefault(key, {})
        return self

    def rows(self) -> dict[Run, Row]:
        """Return what is finished.

        Returns
        -------
        rows : dict, Run -> dict
            A row a run.
        """
        return dict(self._found)

    def claim(self, run: Run) -> bool:
        """Say that the run is to be made.

        Parameters
        ----------
        run : Run
            Seed and method.

        Returns
        -------
        wanted : bool
            True.
        """
        return True

    def add(self, run: Run, row: Row) -> None:
        """Keep a finished run.

        Parameters
        ----------
        run : Run
            Seed and method.
        row : dict
            What was measured.
        """
        self._found[run] = row


class Store:
    """A folder of studies.

    Parameters
    ----------
    folder : str or path-like
        A new folder, an empty one, or one that a study made.

    Raises
    ------
    StudyError
        If the folder can't be made or read, or holds something else.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = Path(folder)
        with errors_told(self.folder, "give --out a folder of its own, that can be made and written to."):
            self._open()
            # One file for all studies: when a process closes it, all locks of the process on it are lifted.
            self.claims = (self.folder / CLAIMS).open("ab")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.claims.close()

    def begin(self, key: str, settings: dict[str, Any]) -> "_Kept":
        """Return the study with these settings, a new one or one to go on with.

        Parameters
        ----------
        key : str
            A short name of the settings.
        settings : dict
            All that a row depends on besides its method and seed.

        Returns
        -------
        study : Study
            With the methods of :class:`Memory`.
        """
        with self.connect(_WRITE) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO studies VALUES (?, ?, ?)",
                (key, json.dumps(settings), datetime.now(UTC).isoformat(timespec="seconds")),
            )
        return _Kept(self, key)

    def count(self) -> int:
        """Return the number of runs of all studies.

        Returns
        -------
        n_runs : int
            Finished ones.
        """
        with self.connect() as connection:
            return connection.execute("SELECT count(*) FROM runs").fetchone()[0]

    def write_table(self) -> Path:
        """Write the runs of all studies as CSV, at once or not at all.

        Learning curves stay in the database.

        Returns
        -------
        path : pathlib.Path
            Of the file, in the folder.
        """
        with self.connect() as connection:
            found = connection.execute(
                "SELECT study, settings, seed, method, row FROM runs JOIN studies USING (study) "
                "ORDER BY begun, study, seed, runs.rowid"
            ).fetchall()
        lines = _flat(found)
        names = list(dict.fromkeys(name for line in lines for name in line))
        path = self.folder / TABLE
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(lines)
        with errors_told(self.folder):
            write_whole(path, text.getvalue().encode())
        return path

    @contextlib.contextmanager
    def connect(self, begin: str = "BEGIN") -> Iterator[sqlite3.Connection]:
        """Give a connection of its own, for one transaction.

        Parameters
        ----------
        begin : str, default="BEGIN"
            What begins it; "BEGIN IMMEDIATE" if it writes.

        Yields
        ------
        connection : sqlite3.Connection
            Committed in the end, or rolled back if an error is raised.
        """
        with errors_told(self.folder), contextlib.closing(self._connection()) as connection:
            connection.execute(begin)
            with connection:
                yield connection

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / DATABASE, timeout=PATIENCE, isolation_level=None)

    def _open(self) -> None:
        """Make the folder and the database, or check that they are a study's."""
        self.folder.mkdir(parents=True, exist_ok=True)
        others = sorted(path.name for path in self.folder.iterdir())
        if others and DATABASE not in others:
            raise StudyError(f"{self.folder} holds no study but {others[0]}; give --out a folder of its own.")
        with contextlib.closing(self._connection()) as connection:
            connection.execute(_WRITE)  # of two processes that begin at once, one waits here
            with connection:
                written = tuple(
                    connection.execute(f"PRAGMA {name}").fetchone()[0]
                    for name in ("application_id", "user_version")
                )
                empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
                if written == (0, 0) and empty:
                    for statement in _SCHEMA.split(";")[:-1]:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION}")
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
                elif written != (APPLICATION, FORMAT):
                    raise StudyError(
                        f"{self.folder / DATABASE} is of another program, or of another version of this one; "
                        "give --out a folder of its own."
                    )


class _Kept:
    """One study of a store."""

    def __init__(self, store: Store, key: str) -> None:
        self._store, self._key = store, key

    def rows(self) -> dict[Run, Row]:
        """Return what is finished."""
        with self._store.connect() as connection:
            found = connection.execute("SELECT seed, method, row FROM runs WHERE study = ?", (self._key,))
            return {Run(seed, method): json.loads(row) for seed, method, row in found}

    def claim(self, run: Run) -> bool:
        """Say whether a run is to be made here, and not finished nor being made elsewhere."""
        if not self._lock(run):
            return False
        with self._store.connect() as connection:
            key = (self._key, run.seed, run.method)
            query = "SELECT count(*) FROM runs WHERE (study, seed, method) = (?, ?, ?)"
            finished = connection.execute(query, key).fetchone()[0]
        if finished:
            self._unlock(run)
        return not finished

    def add(self, run: Run, row: Row) -> None:
        """Keep a finished run; of two that are the same the first stays."""
        with self._store.connect(_WRITE) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?)",
                (self._key, run.seed, run.method, json.dumps(row)),
            )
        self._unlock(run)

    def _lock(self, run: Run) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self._store.claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, self._place(run))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def _unlock(self, run: Run) -> None:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._store.claims, fcntl.LOCK_UN, 1, self._place(run))

    def _place(self, run: Run) -> int:
        """Return the byte, of a file that is empty all the same, that stands for a run."""
        name = f"{self._key}/{run.seed}/{run.method}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def _flat(found: list[tuple[str, str, int, str, str]]) -> list[Row]:
    """Return the lines of the CSV table: no lists, but when every row was as good as its table's Xavier."""
    rows = [{"study": s, "method": m, "seed": n, **json.loads(row)} for s, _, n, m, row in found]
    settings = {study: json.loads(text) for study, text, *_ in found}
    lines = [
        {"study": row["study"], **_described(settings[row["study"]])}
        | {name: value for name, value in row.items() if not isinstance(value, list)}
        for row in rows
    ]
    for study in settings:
        chosen = [n for n, row in enumerate(rows) if row["study"] == study]
        for suffix, reference in (("", "Xavier"), ("_kept", "Xavier + kept terms")):
            for clock in ("epochs", "seconds"):
                times = time_to_reach([rows[n] for n in chosen], reference, clock)
                for n, time in zip(chosen, times, strict=True):
                    lines[n][f"{clock}_to_xavier{suffix}"] = time
    return lines


def _described(settings: dict[str, Any]) -> Row:
    """Return what tells a study from others, in words."""
    names = ("data", "digest", "teacher_classes", "teacher_features", "rows")
    given = {name: settings.get(name) for name in names}
    return {name: json.dumps(v) if isinstance(v, list) else v for name, v in given.items()}
