"""Settings: every option of the benchmarks in one place, with its type, default and meaning.

The command line, ``--quick`` and the JSON report are all made from this one model. Invariant: what a case reads from here is
what the report prints, so that no figure stands without the settings it was taken with.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from featurestore_client.busy_polling import BUSY_POLL_US, BUSY_POLL_US_MAX


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part.strip().replace("_", "")) for part in text.split(",") if part.strip())
        except ValueError:
            raise ArgumentTypeError(f"got {text!r}, expected numbers separated by commas, such as 1,16,100") from None
        if not values or min(values) <= 0:
            raise ArgumentTypeError(f"got {text!r}, expected numbers above zero separated by commas, such as 1,16,100")
        return values

    return parse


def _number(kind: Callable[[str], Any], least: float, most: float) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text.replace("_", ""))
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise ArgumentTypeError(f"got {text!r}, expected a number from {least:,} to {most:,}")
        return value

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


COUNT = _number(int, 1, 1_000_000_000)
MICROSECONDS = _number(int, 0, BUSY_POLL_US_MAX)
SECONDS = _number(float, 0.001, 86_400)
SHARE = _number(float, 0, 1)
INTEGERS = _numbers(int)
RATES = _numbers(float)


def _option(
    default: Any, parse: Callable[[str], Any], group: str, meaning: str, *, quick: Any = MISSING, choices: tuple[str, ...] = ()
) -> Any:
    metadata = {"parse": parse, "group": group, "meaning": meaning, "quick": quick, "choices": choices}
    return field(default=default, metadata=metadata)


class SettingsError(ValueError):
    """Settings contradict each other, or the server that they name."""


@dataclass(frozen=True)
class Settings:
    """One run's settings. Times are in seconds, sizes in rows."""

    quick: bool = False

    rows: int = _option(1_000_000, COUNT, "data", "rows of the table", quick=2_000)
    seed: int = _option(1, COUNT, "run", "of keys, values and the order of turns")
    rows_max: int = _option(
        10_000_000, COUNT, "data", "the largest table of `scale`; lower it where memory is short", quick=3_000
    )
    subjects: tuple[str, ...] = _option((), _names, "run", "only these subjects, separated by commas (default: all)")

    rounds: int = _option(7, COUNT, "timing", "turns that each subject gets; figures are medians over them", quick=1)
    seconds: float = _option(0.3, SECONDS, "turns", "length of one turn", quick=0.01)
    in_flight: int = _option(16, COUNT, "turns", "concurrent calls in the throughput cases", quick=4)
    batch_rows: int = _option(10_000, COUNT, "timing", "rows of one batch in the write cases", quick=500)
    insert_rows: int = _option(500_000, COUNT, "timing", "at most so many new rows in one turn of `write_insert`", quick=1_000)

    grpc_rounds: int = _option(5, COUNT, "grpc", "turns that each subject of `grpc` gets", quick=1)
    client_processes: int = _option(
        2, COUNT, "grpc", "processes that share grpcio's calls in flight; at most one a core", quick=1
    )
    pin: str = _option(
        "auto",
        str,
        "cores",
        "auto: servers on the first core and load generators on the others, if any",
        choices=("auto", "off"),
    )

    server_busy_poll_us: int = _option(
        BUSY_POLL_US,
        MICROSECONDS,
        "grpc",
        "how long our native engine looks for the next request before it sleeps; said, since it has one core alone",
    )
    client_busy_poll_us: int = _option(
        BUSY_POLL_US,
        MICROSECONDS,
        "grpc",
        "the same of our client, for answers",
    )
    peers_rows: int = _option(100_000, COUNT, "peers", "rows that each subject of `peers` holds", quick=1_000)
    peers_seconds: float = _option(0.4, SECONDS, "peers", "length of one turn of `peers`", quick=0.02)
    peers_rounds: int = _option(7, COUNT, "peers", "turns that each subject gets in each case of reads", quick=1)
    peers_load_rounds: int = _option(3, COUNT, "peers", "parts that the rows are loaded in, a turn each", quick=2)

    engine: str = _option("auto", str, "server", "what speaks gRPC in servers of our own", choices=("auto", "native", "grpcio"))

    ingest_rows: int = _option(1_000_000, COUNT, "ingest", "rows of the Parquet file", quick=3_000)
    ingest_csv_rows: int = _option(300_000, COUNT, "ingest", "rows of the CSV file", quick=2_000)
    ingest_rounds: int = _option(3, COUNT, "ingest", "turns of each part of `ingest`", quick=1)

    disk: str = _option("", str, "disk", "directory on the disk to write to (default: the system's temporary one)")
    disk_rounds: int = _option(5, COUNT, "disk", "turns of each subject of `journal` and `durability`", quick=1)
    disk_keys: int = _option(200_000, COUNT, "disk", "keys that `durability` writes to", quick=2_000)
    disk_seconds: float = _option(1.0, SECONDS, "disk", "length of one turn", quick=0.3)

    overload_s: float = _option(1.0, SECONDS, "overload", "length of one stage; a quarter more goes before", quick=0.3)

    server: str = _option(
        "",
        str,
        "load",
        "grpc://host:port or unix:///path of a running server (default: one started with `rows` rows of its own)",
    )
    project: str = _option("default", str, "load", "project of the service, features and view")
    service: str = _option("", str, "load", "feature service to read")
    features: tuple[str, ...] = _option((), _names, "load", "features to read instead: view:feature,view:feature,...")
    view: str = _option("", str, "load", "feature view that writes go to")
    key_count: int = _option(0, _number(int, 0, 1 << 40), "load", "keys 0 .. N-1 of int64 join keys (default: `rows`)")
    key_file: str = _option(
        "", str, "load", "text file with one key a line, tab-separated for composite keys, instead of a range"
    )
    key_format: str = _option("{}", str, "load", "how string keys are made of 0 .. N-1, such as user_{:08d}")
    zipf: float = _option(0.0, _number(float, 0, 10), "load", "exponent of a zipf distribution over the keys; 0 is uniform")
    batch: tuple[int, ...] = _option((1, 100), INTEGERS, "load", "rows of a request, one run for each", quick=(1,))
    write_share: float = _option(0.0, SHARE, "load", "share of requests that are writes")
    closed: tuple[int, ...] = _option((1, 4, 16), INTEGERS, "load", "closed loop: requests in flight", quick=(1, 2))
    open: tuple[float, ...] = _option(
        (),
        RATES,
        "load",
        "open loop: requests/s (default: 20, 40, 60, 80, 90, 100, 120 %% of the best closed loop)",
        quick=(50.0,),
    )
    loops: str = _option("both", str, "load", "which loops to run", choices=("both", "closed", "open"))
    warmup_s: float = _option(1.0, SECONDS, "load", "not counted, before each run", quick=0.1)
    duration_s: float = _option(5.0, SECONDS, "load", "counted, each run", quick=0.3)
    timeout_s: float = _option(10.0, SECONDS, "load", "deadline of a request")
    processes: int = _option(2, COUNT, "load", "client processes", quick=1)
    waiting_max: int = _option(
        4_096,
        COUNT,
        "load",
        "open loop: unanswered requests a process holds at most; later arrivals wait, and their wait counts",
    )

    def as_json(self, groups: tuple[str, ...]) -> dict[str, Any]:
        """The settings of these groups as plain JSON values."""
        names = ["quick", *(each.name for each in fields(self) if each.metadata.get("group") in ("run", *groups))]
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def add_options(parser: ArgumentParser) -> None:
    """Adds one flag for each setting to ``parser``."""
    groups: dict[str, Any] = {}
    for each in fields(Settings):
        if each.name == "quick":
            parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs, measures nothing")
            continue
        metadata = each.metadata
        group = groups.setdefault(metadata["group"], parser.add_argument_group(metadata["group"]))
        shown = ",".join(map(str, each.default)) if isinstance(each.default, tuple) else each.default
        default = f" (default: {shown})" if shown not in ("", 0) and "default:" not in metadata["meaning"] else ""
        group.add_argument(
            "--" + each.name.replace("_", "-"),
            type=metadata["parse"],
            choices=metadata["choices"] or None,
            metavar=None
            if metadata["choices"]
            else metadata["parse"].__name__.upper().replace("PARSE", "N").replace("_NAMES", "NAMES"),
            default=None,
            help=metadata["meaning"] + default,
        )


def from_arguments(arguments: Namespace) -> Settings:
    """The settings that the flags ask for: defaults, then ``--quick``, then each flag that was given."""
    chosen: dict[str, Any] = {"quick": arguments.quick}
    for each in fields(Settings):
        if each.name == "quick":
            continue
        given = getattr(arguments, each.name)
        if given is not None:
            chosen[each.name] = given
        elif arguments.quick and each.metadata["quick"] is not MISSING:
            chosen[each.name] = each.metadata["quick"]
    return Settings(**chosen)
