"""Runs on a Dask cluster: one at a time in each worker process, with data that travel once.

Dask's own futures are used, and not joblib's backend for Dask: that one gives the data of a call to one
worker, with which they die; hands out as many runs as there were threads when it began; and waits without
end for workers that are gone.
"""

import asyncio
import contextlib
import logging
import platform
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import joblib
import numpy as np

from skantidistill.datasets import Dataset
from skantidistill.study.errors import StudyError
from skantidistill.study.protocols import Protocol, versions
from skantidistill.study.store import Row, Run
from skantidistill.study.task import run_method

__all__ = ["Cluster"]

ANSWER = 4.0  # seconds that a scheduler may take to answer at first
CONNECT = 10.0  # and later, when it was there: the network may fail for a moment
FIRST_WORKER = 8.0  # seconds to wait for a worker at the beginning
LAST_WORKER = 30.0  # and for another one when the last is gone: a nanny starts one anew
LOOK, COUNT = 0.02, 1.0  # seconds between two looks at the runs, and between two at the workers
SEND = 60.0  # seconds that data may take to all workers
MOST_ATTEMPTS = 3  # of a run whose data were lost with the workers that held them

_GO_ON = "what was finished is kept where --out was given; the same command goes on from there."
_CANT = "can't run skantidistill's study ({}); install there what is installed here."


class _Gone(Exception):  # noqa: N818
    """There is nobody to send data to."""


class Cluster:
    """The workers of a Dask scheduler, which may come and go.

    A run whose worker dies is made by another one. Each worker process makes one run at a time, however many
    threads it has: runs set the number of threads of their whole process. So workers of one thread are the
    ones to start, as many as there are cores.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.

    Raises
    ------
    StudyError
        If ``distributed`` is not installed, the scheduler doesn't answer within seconds or has no workers, or
        a worker has other versions than this process of what numbers depend on.

    Examples
    --------
    >>> from skantidistill.study import PROTOCOLS, Cluster, run_study
    >>> with Cluster("tcp://10.0.0.1:8786") as cluster:  # doctest: +SKIP
    ...     rows = run_study(PROTOCOLS["digits"], seeds=range(5), cluster=cluster)
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise StudyError(
                'A Dask cluster needs another package: pip install "skantidistill[dask]"'
            ) from None
        self.address = address
        self._opened = contextlib.ExitStack()
        self._opened.enter_context(_quiet())
        self._n_workers, self._counted, self._seen = 0, -np.inf, time.monotonic()
        self._source: tuple[Protocol, int] | None = None
        self._digest, self._data = "", None
        try:
            _call(address)
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", module="distributed"
                )  # of versions: they are compared below
                self._client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
            self._opened.callback(self._client.close, timeout=CONNECT)
            self._wait_for_workers()
            self._compare_versions()
        except BaseException as error:
            self._opened.close()
            if isinstance(error, StudyError) or not isinstance(error, Exception):
                raise
            raise StudyError(
                f"No Dask scheduler answers at {address} ({_one_line(error)}); start one by: dask scheduler"
            ) from error

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened.close()

    def make(self, protocol: Protocol, runs: Iterator[Run]) -> Iterator[Row]:
        """Give the rows of runs as they are finished; a run is taken when a worker is free.

        Parameters
        ----------
        protocol : Protocol
            What is studied.
        runs : iterator of Run
            What is to be made.

        Yields
        ------
        row : dict
            What was measured.

        Raises
        ------
        StudyError
            If a student can't be fitted, the scheduler or all workers are gone, or a run takes worker after
            worker with it.
        """
        made: dict[Any, Run] = {}
        again: list[Run] = []
        attempts: Counter[Run] = Counter()
        more, self._seen = True, time.monotonic()
        try:
            while made or again or more:
                n_workers = self._count_workers()
                while (again or more) and len(made) < n_workers:
                    run = again.pop() if again else next(runs, None)
                    if run is None:
                        more = False
                        continue
                    attempts[run] += 1
                    future = self._submit(protocol, run, attempts[run])
                    if future is None:
                        again.append(run)
                        break
                    made[future] = run
                ended = [future for future in made if future.status != "pending"]
                # What is finished comes first: an error ends it all.
                for future in sorted(ended, key=lambda future: future.status == "error"):
                    run = made.pop(future)
                    row = _row(future, run)
                    if row is None:
                        again.append(run)
                    else:
                        yield row
                time.sleep(LOOK)
        finally:
            for future in made:
                future.release()  # not begun: never is; begun: its worker ends it for nothing

    def _submit(self, protocol: Protocol, run: Run, attempt: int) -> Any:
        """Return the future of a run's row; None where the workers have just gone."""
        if attempt > MOST_ATTEMPTS:
            raise StudyError(
                f"{_name(run)}: the workers that hold its data are lost again and again; {_GO_ON}"
            )
        try:
            data = self._on_workers(protocol, run.seed)
        except _Gone:
            self._counted = -np.inf  # count anew
            return None
        # Not the run itself: Dask would look into a tuple for tasks.
        return self._client.submit(_make, protocol, run.method, run.seed, data, versions(), pure=False)

    def _on_workers(self, protocol: Protocol, seed: int) -> Any:
        """Return the future of a seed's data, which every worker has; equal data are sent once."""
        lost = self._data is None or self._data.status != "finished"
        if lost or self._source != (protocol, seed):
            data = protocol.load(seed)
            digest = joblib.hash(data)
            if lost or digest != self._digest:
                self._data = self._send(data)
            self._source, self._digest = (protocol, seed), digest
        return self._data

    def _send(self, data: Dataset) -> Any:
        async def send() -> Any:
            return await self._client.scatter(
                [data], broadcast=True, hash=False, timeout=COUNT, asynchronous=True
            )

        try:
            # Bounded, since a worker that dies just now makes the scheduler wait for it without end.
            (sent,) = self._client.sync(send, callback_timeout=SEND)
        except OSError as error:  # a timeout among them
            raise _Gone from error
        return sent

    def _count_workers(self) -> int:
        """Return the number of worker processes; an error when there have been none for long."""
        now = time.monotonic()
        if now - self._counted < COUNT:
            return self._n_workers
        self._n_workers, answered = 0, False
        if self._client.status == "running":
            # The scheduler may be gone before the client knows.
            with contextlib.suppress(OSError):
                self._n_workers = len(self._client.nthreads(callback_timeout=CONNECT))
                answered = True
        self._counted = time.monotonic()
        if self._n_workers:
            self._seen = self._counted
        elif self._client.status == "closed" or self._counted - self._seen > LAST_WORKER:
            gone = "All workers of {} are" if answered else "The Dask scheduler at {} is"
            raise StudyError(f"{gone.format(self.address)} gone; {_GO_ON}")
        return self._n_workers

    def _wait_for_workers(self) -> None:
        while not self._count_workers():
            if time.monotonic() - self._seen > FIRST_WORKER:
                raise StudyError(
                    f"The Dask scheduler at {self.address} has no workers; start one by: "
                    f"dask worker {self.address} --nthreads 1"
                )
            time.sleep(COUNT)

    def _compare_versions(self) -> None:
        """Refuse workers that would compute other numbers, before any run is begun."""
        for worker, error in self._client.run(_check_versions, versions(), on_error="return").items():
            if isinstance(error, StudyError):
                raise error
            if isinstance(error, Exception) and not isinstance(error, OSError):  # that one is gone
                raise StudyError(f"The worker {worker} {_CANT.format(_one_line(error))}")


def _call(address: str) -> None:
    """Raise an error where no scheduler answers: of one that is silent, a client would wait for ever."""
    from distributed import Security
    from distributed.comm.core import connect

    async def call() -> None:
        options = Security().get_connection_args("client")
        try:
            comm = await asyncio.wait_for(connect(address, timeout=ANSWER, **options), ANSWER)
        except TimeoutError as error:
            raise TimeoutError(_one_line(error) if str(error) else f"silent for {ANSWER:g} s") from None
        comm.abort()

    # Notebooks have a loop in this thread.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, call()).result()


#: Runs of one process share the number of threads, the warnings' filters, and the problem of a seed.
_one_at_a_time = threading.Lock()


def _make(protocol: Protocol, method: str, seed: int, data: Dataset, wanted: dict[str, str]) -> Row:
    """Make a run on a worker."""
    _check_versions(wanted)  # this worker may have come after the others were asked
    with _one_at_a_time:
        return run_method(protocol, method, seed, _proper(data))


def _check_versions(wanted: dict[str, str]) -> None:
    """Refuse, on a worker, to make rows of another study than the client's."""
    found = versions()
    other = [
        f"{name} {found.get(name)}, not {value}" if name != "source" else "another source of skantidistill"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if other:
        raise StudyError(
            f"A worker on {platform.node()} has {', '.join(other)}: numbers may differ, and don't belong in "
            "one table; install the same everywhere."
        )


def _proper(data: Dataset) -> Dataset:
    """Return data with ordinary arrays: those that came by the network lie at any byte, or are read-only."""
    names = ("X_train", "y_train", "X_test", "y_test")
    arrays = {name: np.require(getattr(data, name), None, ["ALIGNED", "WRITEABLE"]) for name in names}
    return replace(data, **arrays)


def _row(future: Any, run: Run) -> Row | None:
    """Return the row of a run that has ended; None where it is to be made again."""
    from distributed import KilledWorker

    with contextlib.suppress(OSError):  # its worker has died since: Dask makes it again, or has lost it
        if future.status == "finished":
            return future.result(timeout=CONNECT)
    if future.status != "error":
        return None
    error = future.exception()
    if isinstance(error, KilledWorker):
        raise StudyError(
            f"{_name(run)}: {error.allowed_failures + 1} workers died while they made it, perhaps for want "
            f"of memory; {_GO_ON}"
        )
    if isinstance(error, ImportError):  # of a worker that came late
        raise StudyError(f"{_name(run)}: a worker {_CANT.format(_one_line(error))}")
    raise error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's log off stderr: what matters is told in one line."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado")]
    handlers = [(handler, handler.level) for logger in loggers for handler in logger.handlers]
    for handler, _ in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in handlers:
            handler.setLevel(level)


def _name(run: Run) -> str:
    return f"seed {run.seed}, {run.method}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
