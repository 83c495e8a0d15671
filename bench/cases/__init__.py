"""The cases, one file each: ``run(settings, report)`` fills a report. ``CASES`` is the one table of them."""

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from bench.report import Report, results_table
from bench.settings import Settings


class Case(NamedTuple):
    """What a case shows, and which groups of settings it reads. The module of a case has its name."""

    shows: str
    groups: tuple[str, ...]


CASES = {
    "kernel": Case("reads and writes of the store kernel beside LMDB, dicts and Redis", ("data", "timing", "turns")),
    "memory": Case("bytes a row, of the store kernel and its peers", ("data",)),
    "scale": Case("cost of a read from 10^4 to 10^7 rows", ("data", "timing", "turns")),
    "grpc": Case(
        "GetFeatures of both engines and the client, beside an empty gRPC server and Redis", ("data", "turns", "grpc", "cores")
    ),
    "shared_memory": Case(
        "reads through shared memory and in process: one reader, two at once, and beside a writer",
        ("data", "timing", "turns", "cores"),
    ),
    "workers": Case("`serve --workers N`: requests/s, latency and instructions a request", ("data", "turns", "grpc", "cores")),
    "peers": Case("the feature store by each of its ways beside Redis, memcached, LMDB, Quorin and Feast", ("peers", "cores")),
    "ingest": Case("`featurestore ingest` into a running server, and where its time goes", ("ingest", "server")),
    "journal": Case("SQLite, LMDB and a file of our own as the journal, in the three modes of --fsync", ("disk",)),
    "durability": Case("writes in the three modes of --fsync, beside Redis's append-only file", ("disk",)),
    "start": Case("starts with tables gone and still there, and calls while a snapshot is taken", ("data", "disk")),
    "overload": Case("more requests than a server can answer, and a crowd of bad peers", ("data", "overload", "cores")),
    "interference": Case("reads while rows are loaded at full speed", ("data", "timing", "turns")),
    "load": Case("load on any running server: closed and open loop, latency percentiles", ("data", "load", "server")),
}

Run = Callable[[Settings, Report], None]


def load(name: str) -> Run:
    """The ``run`` of a case."""
    run: Run = import_module(f"bench.cases.{name}").run
    return run


def text(report: Report) -> str:
    """The results of a report as a table: the case's own ``text``, or the common one."""
    own: Callable[[Report], str] | None = getattr(import_module(f"bench.cases.{report.case}"), "text", None)
    return own(report) if own else results_table(report)
