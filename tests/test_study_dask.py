"""Runs on a Dask cluster: the rows are those of this machine, whatever happens to workers."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("distributed")
from dask_network import Network
from test_command_line import without_seconds
from test_study import SHORT, same
from test_study_store import rows_in

from skantidistill import datasets
from skantidistill.__main__ import main
from skantidistill.study import Cluster, Memory, Run, Store, StudyError, run_study
from skantidistill.study import cluster as cluster_module
from skantidistill.study.protocols import LOADERS, versions
from skantidistill.study.store import DATABASE

METHODS = ["Zero", "Uniform", "Data noise", "AD"]
SEEDS = [0, 1]


@pytest.fixture(scope="module")
def network():
    with Network() as network:
        yield network


@pytest.fixture(autouse=True)
def little_data(monkeypatch):
    """They take no time: a worker that is killed while it gets them is not to be waited for."""
    monkeypatch.setattr(cluster_module, "SEND", 10.0)


@pytest.fixture(scope="module")
def local_rows():
    return run_study(SHORT, SEEDS, METHODS)


class Killer(threading.Thread):
    """Kills a worker in the middle of a run: as soon as some rows are there, and it is stopped with one."""

    def __init__(self, network, cluster, n_rows=2, then=lambda: None):
        super().__init__(daemon=True)
        self.network, self.cluster, self.then = network, cluster, then
        self.lost, self.left = (), n_rows
        self.enough = threading.Event()

    def watch(self, run, what):
        self.left -= what == "ended"
        if self.left == 0:
            self.enough.set()

    def run(self):
        assert self.enough.wait(60)
        client, (name, process) = self.cluster._client, next(iter(self.network.workers.items()))
        known = client.scheduler_info()["workers"]
        (address,) = [address for address, about in known.items() if about["name"] == name]
        while not self.lost:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.1)  # what it sent before has come
            self.lost = client.processing()[address]
            if not self.lost:
                os.kill(process.pid, signal.SIGCONT)
        self.network.kill(name)
        self.then()


def run_and_kill(network, n_rows=2, then=lambda: None, **kwargs):
    """Run the study on a cluster, one of whose workers is killed with a run."""
    with Cluster(network.address) as cluster:
        killer = Killer(network, cluster, n_rows, then)
        killer.start()
        try:
            return run_study(SHORT, SEEDS, METHODS, cluster=cluster, watcher=killer.watch, **kwargs)
        finally:
            killer.join()
            assert killer.lost


def test_the_table_is_complete_and_the_local_one_when_a_worker_is_killed(network, local_rows):
    network.have(2)
    rows = run_and_kill(network)
    assert same(rows, local_rows)
    assert not same(rows[:1], rows[len(METHODS) : len(METHODS) + 1])
    assert len(network.workers) == 1


def test_data_that_were_lost_with_the_only_worker_are_sent_again_to_the_next(network, local_rows):
    network.have(1)
    assert same(run_and_kill(network, then=network.add_worker), local_rows)


def test_equal_data_travel_once_and_workers_load_nothing(network, monkeypatch):
    """A data set that the workers don't know by its name."""
    network.have(1)
    loaded, sent = [], []

    def load(seed):
        loaded.append(seed)
        return datasets.load_digits(random_state=seed // 2)

    monkeypatch.setitem(LOADERS, "mine", load)
    mine = replace(SHORT, data="mine")
    local = run_study(mine, [0, 1, 2], ["Zero", "Uniform"])
    loaded.clear()
    with Cluster(network.address) as cluster:
        scatter = cluster._client.scatter
        monkeypatch.setattr(
            cluster._client, "scatter", lambda *args, **kwargs: sent.append(args) or scatter(*args, **kwargs)
        )
        rows = run_study(mine, [0, 1, 2], ["Zero", "Uniform"], cluster=cluster)
    assert same(rows, local)
    assert loaded == [0, 1, 2]
    assert len(sent) == 2


def test_arrays_from_the_network_become_ordinary_ones():
    data = datasets.load_digits(random_state=0)
    raw = np.empty(data.X_train.nbytes + 1, np.uint8)
    X = raw[1:].view(np.float32).reshape(data.X_train.shape)
    X[:] = data.X_train
    X.flags.writeable = False
    assert not X.flags.aligned
    proper = cluster_module._proper(replace(data, X_train=X))
    assert proper.X_train.flags.aligned
    assert proper.X_train.flags.writeable
    assert np.array_equal(proper.X_train, data.X_train)
    assert proper.X_test is data.X_test


def test_two_runs_in_one_process_are_made_one_after_the_other(network, local_rows, monkeypatch):
    """As when a worker goes, and there are more runs than workers for a moment."""
    network.have(1)
    with Cluster(network.address) as cluster:
        assert list(cluster._client.nthreads().values()) == [2]
        monkeypatch.setattr(cluster, "_count_workers", lambda: 2)
        rows = run_study(SHORT, SEEDS[:1], METHODS, cluster=cluster)
    assert same(rows, local_rows[: len(METHODS)])


def test_workers_of_other_versions_are_refused_also_when_they_come_late(network, monkeypatch):
    network.have(1)
    other = {**versions(), "torch": "1.0", "source": "0" * 12}
    says = re.escape(f"torch {versions()['torch']}, not 1.0, another source of skantidistill")
    with Cluster(network.address) as cluster:
        monkeypatch.setattr(cluster_module, "versions", lambda: other)
        with pytest.raises(StudyError, match=says):
            run_study(SHORT, [0], ["Zero"], cluster=cluster)
    with pytest.raises(StudyError, match=says):
        Cluster(network.address)


def test_workers_that_lack_the_package_are_refused(network, monkeypatch):
    def missing(wanted):
        raise ModuleNotFoundError("No module named 'skantidistill'")

    network.have(1)
    monkeypatch.setattr(cluster_module, "_check_versions", missing)
    with pytest.raises(StudyError, match=r"can't run skantidistill's study \(No module named 'skantidis"):
        Cluster(network.address)


def test_a_student_that_cannot_be_fitted_is_told_as_ever(network):
    network.have(1)
    broken = replace(SHORT, student={**SHORT.student, "hidden_layer_sizes": (1,)})
    with pytest.raises(StudyError) as local:
        run_study(broken, [0], ["Uniform"])
    with Cluster(network.address) as cluster, pytest.raises(StudyError, match=re.escape(str(local.value))):
        run_study(broken, [0], ["Uniform"], cluster=cluster)


def test_the_command_is_interrupted_and_goes_on_to_the_same_tables(network, capsys, tmp_path):
    network.have(1)
    arguments = ["--seeds", "1", "--methods", "Zero,Uniform,AD", "--hidden", "8,4"]
    assert main([*arguments, "--out", str(tmp_path / "here")]) == 0
    local, _ = capsys.readouterr()
    folder = tmp_path / "there"
    arguments += ["--out", str(folder), "--scheduler", network.address]
    process = subprocess.Popen(
        [sys.executable, "-m", "skantidistill", "study", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A job in the background ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not (folder / DATABASE).exists() or count(folder) < 1:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert re.fullmatch(r"skantidistill: interrupted; [12] finished runs are kept in .*\n", err)
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert without_seconds(out.replace("there", "here")) == without_seconds(local)
    assert repr(rows_in(folder)) == repr(rows_in(tmp_path / "here"))


def count(folder):
    with Store(folder) as store:
        return store.count()


def test_when_all_workers_are_gone_finished_runs_are_kept(monkeypatch, network):
    monkeypatch.setattr(cluster_module, "LAST_WORKER", 1.0)
    network.have(1)
    results = Memory()
    with pytest.raises(
        StudyError, match=re.escape(f"All workers of {network.address} are gone; what was fin")
    ):
        run_and_kill(network, results=results)
    assert len(METHODS) * len(SEEDS) > len(results.rows()) >= 2


def test_when_the_scheduler_is_gone_finished_runs_are_kept(monkeypatch):
    monkeypatch.setattr(cluster_module, "CONNECT", 1.0)
    results = Memory()
    with Network() as network:
        network.have(1)
        with (
            Cluster(network.address) as cluster,
            pytest.raises(
                StudyError, match=re.escape(f"scheduler at {network.address} is gone; what was fin")
            ),
        ):
            run_study(
                SHORT,
                SEEDS,
                METHODS,
                cluster=cluster,
                results=results,
                watcher=lambda run, what: what == "ended" and network.scheduler.kill(),
            )
    assert 1 <= len(results.rows()) <= 2


def test_no_workers_are_waited_for_some_seconds(monkeypatch):
    monkeypatch.setattr(cluster_module, "FIRST_WORKER", 1.0)
    with Network() as network:
        network.have(0)
        with pytest.raises(
            StudyError, match=re.escape(f"{network.address} has no workers; start one by: dask")
        ):
            Cluster(network.address)


@pytest.mark.parametrize("listens", [False, True])
def test_a_wrong_address_is_told_within_10_seconds(capsys, monkeypatch, listens):
    assert 2 * cluster_module.ANSWER < 10  # with the time that a process takes to begin
    monkeypatch.setattr(cluster_module, "ANSWER", 1.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listens:
            other.listen()  # and never answers
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        began = time.monotonic()
        assert main(["--scheduler", address]) == 2
        assert time.monotonic() - began < 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"skantidistill: error: No Dask scheduler answers at {address} .*\n", err)


def test_without_distributed_the_remedy_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["--scheduler", "tcp://127.0.0.1:8786"]) == 2
    assert 'pip install "skantidistill[dask]"\n' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--scheduler", "10.0.0.1:8786"], "'10.0.0.1:8786' is no address such as tcp://"),
        (["--scheduler", "tcp://10.0.0.1"], "'tcp://10.0.0.1'"),
        (["--scheduler", "tcp://host:99999"], "'tcp://host:99999'"),
        (["--scheduler", "http://host:8787"], "'http://host:8787'"),
        (["--scheduler", "tcp://host:8786", "--jobs", "2"], "--jobs is for this machine; with --scheduler"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_runs(capsys, arguments, named):
    try:
        status = main(arguments)
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert re.fullmatch(rf"skantidistill: error: .*{re.escape(named)}.*\n", err)


class Ended:
    """A future that has ended as it is told to."""

    def __init__(self, status, row=None):
        self.status, self.row, self.released = status, row, False

    def result(self, timeout):
        return self.row

    def exception(self):
        return StudyError("it can't be fitted")

    def release(self):
        self.released = True


def without_network(monkeypatch, futures, n_workers):
    """Return a cluster that gives these futures, one a run, whoever asks for what."""
    monkeypatch.setattr(cluster_module, "LOOK", 0)
    cluster, submitted = object.__new__(Cluster), []

    def submit(*args, **kwargs):
        submitted.append(args)
        return futures[len(submitted) - 1]

    cluster._count_workers = lambda: n_workers
    cluster._on_workers = lambda protocol, seed: None
    cluster._client = SimpleNamespace(submit=submit)
    return cluster, submitted


def test_what_is_finished_is_given_before_an_error_ends_it_all(monkeypatch):
    futures = [Ended("error"), Ended("finished", {"row": 1}), Ended("pending"), Ended("finished", {"row": 2})]
    cluster, _ = without_network(monkeypatch, futures, n_workers=4)
    rows = cluster.make(SHORT, iter(Run(0, str(n)) for n in range(4)))
    assert [next(rows), next(rows)] == [{"row": 1}, {"row": 2}]
    with pytest.raises(StudyError, match="can't be fitted"):
        next(rows)
    assert futures[2].released


def test_as_many_runs_are_taken_as_there_are_workers(monkeypatch):
    futures, taken = [Ended("pending", {"row": n}) for n in range(5)], []
    cluster, submitted = without_network(monkeypatch, futures, n_workers=2)
    sleeps = iter(range(1000))

    def end_one(seconds):
        assert len(taken) <= next(sleeps) + 2
        futures[len(submitted) - 2].status = "finished"

    def runs():
        for n in range(5):
            taken.append(n)
            yield Run(0, str(n))

    monkeypatch.setattr(cluster_module.time, "sleep", end_one)
    rows = cluster.make(SHORT, runs())
    assert next(rows) == {"row": 0}
    assert len(taken) == 2
    assert next(rows) == {"row": 1}
    assert len(taken) == 3
    rows.close()
    assert [future.released for future in futures] == [False, False, True, False, False]


def test_a_run_whose_data_are_lost_is_tried_three_times(monkeypatch):
    cluster, submitted = without_network(monkeypatch, [Ended("cancelled")] * 9, n_workers=1)
    with pytest.raises(StudyError, match=re.escape("seed 0, Zero: the workers that hold its data are lost")):
        next(cluster.make(SHORT, iter([Run(0, "Zero")])))
    assert len(submitted) == 3


def test_a_worker_that_is_stopped_while_data_are_sent_is_not_waited_for(network, monkeypatch):
    network.have(1)
    monkeypatch.setattr(cluster_module, "SEND", 1.0)
    process = next(iter(network.workers.values()))
    with Cluster(network.address) as cluster:
        os.kill(process.pid, signal.SIGSTOP)
        try:
            with pytest.raises(StudyError, match="the workers that hold its data are lost again and again"):
                run_study(SHORT, [0], ["Zero"], cluster=cluster)
        finally:
            os.kill(process.pid, signal.SIGCONT)
