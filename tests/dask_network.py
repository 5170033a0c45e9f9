"""A Dask scheduler and its workers, each a process of its own that a test may kill."""

import asyncio
import socket
import time

import distributed

from tests.processes import CONTEXT


def serve_scheduler(port):
    async def serve():
        async with distributed.Scheduler(host="127.0.0.1", port=port, dashboard=False) as scheduler:
            await scheduler.finished()

    asyncio.run(serve())


def serve_worker(address, name):
    """Serve with two threads: more than runs at a time."""

    async def serve():
        async with distributed.Worker(address, name=name, nthreads=2, dashboard=False) as worker:
            await worker.finished()

    asyncio.run(serve())


class Network:
    """A scheduler at ``address``, and ``workers``: processes by their names."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._begin(serve_scheduler, port)
        self.workers = {}
        self._n_begun = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
            process.join()

    def add_worker(self):
        name = f"worker-{self._n_begun}"
        self.workers[name] = self._begin(serve_worker, self.address, name)
        self._n_begun += 1
        return name

    def have(self, n_workers):
        """Start workers, or kill some, until there are as many, and the scheduler knows it."""
        while len(self.workers) > n_workers:
            self.kill(next(iter(self.workers)))
        while len(self.workers) < n_workers:
            self.add_worker()
        with distributed.Client(self.address, set_as_default=False, timeout=30) as client:
            deadline = time.monotonic() + 30
            while len(client.nthreads()) != n_workers:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self, name):
        process = self.workers.pop(name)
        process.kill()
        process.join()

    def _begin(self, target, *arguments):
        process = CONTEXT.Process(target=target, args=arguments, daemon=True)
        process.start()
        return process
