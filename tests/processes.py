"""Real processes that a test may kill, interrupt or starve, forked from one that has imported all."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import cholesky
from threadpoolctl import threadpool_limits

resource = pytest.importorskip("resource", reason="Windows forks no process and limits no memory")

# The server imports once; a process that it forks is there at once.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "skantidistill.study",
        "skantidistill.commands.tune",
        "torch._dynamo",  # which torch imports at the first step of an optimiser
        "distributed",
        "tests.dask_network",
        "test_campaign_faults",  # as pytest names it: what is run is found there
    ]
)


@contextlib.contextmanager
def process(target, *arguments):
    """Give a process that runs ``target(pipe, *arguments)`` and the other end of its pipe; then end it."""
    here, there = CONTEXT.Pipe()
    begun = CONTEXT.Process(target=_in_one_thread, args=(target, there, *arguments))
    begun.start()
    there.close()
    try:
        yield begun, here
    finally:
        begun.kill()
        begun.join()
        here.close()


def _in_one_thread(target, *arguments):
    """Run a process with one thread, as ``conftest.py`` does: on a busy machine two wait for each other.

    OpenBLAS takes 32 MiB of its own at the first product, and asks for them for ever where it gets none.
    NumPy brings one, and SciPy another, which its L-BFGS-B calls.
    """
    torch.set_num_threads(1)
    with threadpool_limits(1):
        np.ones((200, 200)) @ np.ones((200, 200))
        cholesky(np.eye(200))
        target(*arguments)


def have_more_memory(n_bytes):
    """Let this process take so many bytes more than it has, and none beyond; return what holds the others."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size, (_, most) = pages * os.sysconf("SC_PAGE_SIZE"), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size, most))
    held = []
    for block in (2**20, 2**16, 2**12):  # what was freed before would be used again
        with contextlib.suppress(MemoryError):
            while True:
                held.append(bytearray(block))
    resource.setrlimit(resource.RLIMIT_AS, (size + n_bytes, most))
    return held
