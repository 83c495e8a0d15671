"""One load: files in, acknowledged batches out, a checkpoint behind, and an account of every row.

    reader thread      decodes Parquet and Arrow, cuts text into blocks
    worker threads     parse text, convert and check, cut to messages
    calling thread     encodes and sends (in the client), settles what is acknowledged

A few parts are under way at a time and no more, so memory is bounded whatever the size of the files. Invariant: a row is
settled (counted, its reject written, the checkpoint moved past it) only once all rows before it are.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import pyarrow as pa
from featurestore_client import ReplaceChecks, Replaced

from featurestore.errors import CancelledError, FailedPreconditionError, FeatureStoreError, InvalidArgumentError
from featurestore.ingest.checkpoint import Binding, Checkpoint, Counts, Position, Progress, read_checkpoint
from featurestore.ingest.conversion import Conversion
from featurestore.ingest.mapping import DEFAULT_TIMESTAMP_COLUMN, Mapping, Naming, map_columns
from featurestore.ingest.messages import NOTHING, Message, MessageMaker, SourceContext
from featurestore.ingest.readers import Part, Reader, Wanted, open_reader
from featurestore.ingest.rejects import Reject, RejectFile, RejectLimit
from featurestore.ingest.sources import Format, Source
from featurestore.ingest.times import TimeFormat
from featurestore.ingest.where import Where
from featurestore.model import Entity, FeatureView
from featurestore.replace_checks import check_names, null_failures, row_failures

PARTS_AHEAD = 4
"""How many parts are read before they are needed."""
WORKERS = 2
REJECTS_SHOWN = 5
SOURCES_NAMED = 3
_UNCUT_ROWS = 1 << 30  # the batches have their size already: the client is not to cut them again


class Sink(Protocol):
    """What a load needs of a client: ``featurestore_client.Client`` has it."""

    def ingest(
        self,
        view: str,
        data: Any,
        *,
        timestamp_column: str | None = None,
        batch_rows: int | None = None,
        progress: Callable[[Any], None] | None = None,
        project: str = "default",
    ) -> Any: ...

    def replace(
        self,
        view: str,
        data: Any,
        *,
        source: str = "",
        checks: Any = ...,
        timestamp_column: str | None = None,
        batch_rows: int | None = None,
        progress: Callable[[Any], None] | None = None,
        project: str = "default",
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How files are read. What is not said is as in the view's batch source, or as the names say."""

    naming: Naming = field(default_factory=Naming)
    times: TimeFormat = field(default_factory=TimeFormat)
    null_values: tuple[str, ...] = ()
    where: str | None = None
    delimiter: str | None = None
    max_rejects: RejectLimit = field(default_factory=RejectLimit)
    rejects: Path | None = None

    def binding(self) -> dict[str, Any]:
        """Those options that change which rows there are and what is in them."""
        return {
            "map": [list(pair) for pair in self.naming.columns],
            "key": list(self.naming.keys),
            "timestamp": self.naming.timestamp,
            "timestamp_format": self.times.text,
            "timezone": self.times.timezone,
            "null_value": list(self.null_values),
            "where": self.where,
            "delimiter": self.delimiter,
        }


@dataclass(frozen=True, slots=True)
class LoadState:
    """How far a load is."""

    counts: Counts
    seconds: float
    fraction: float | None
    """Of all bytes, from 0 to 1; None where a size is not known."""
    file: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a load has done. With ``--resume``, the rows and seconds of the interrupted runs are included."""

    project: str
    view: str
    files: int
    counts: Counts
    seconds: float
    dry_run: bool
    resumed: bool
    interrupted: bool
    left_out: tuple[str, ...]
    """Features that no file has: rows keep what they hold; those of a load that replaces have null there."""
    unused: tuple[str, ...]
    """Columns that go nowhere."""
    examples: tuple[Reject, ...]
    """The first rows that were rejected in this run."""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "project": self.project,
            "view": self.view,
            "files": self.files,
            **asdict(self.counts),
            "seconds": round(self.seconds, 3),
            "rows_per_s": round(self.counts.read / self.seconds) if self.seconds else 0,
            "dry_run": self.dry_run,
            "resumed": self.resumed,
            "interrupted": self.interrupted,
        }


class TooManyRejectsError(InvalidArgumentError):
    """More rows were refused than the load allows."""


class Load:
    """A load of files into one view. ``run`` it once; ``stop`` it from a signal handler or another thread."""

    def __init__(
        self,
        view: FeatureView,
        entity: Entity,
        sources: list[Source],
        options: LoadOptions,
        *,
        store: str = "",
        checkpoint: Path | None = None,
        resume: bool = False,
        replaces: ReplaceChecks | None = None,
    ) -> None:
        """``store`` is the server or directory, to which a checkpoint belongs. ``replaces``: all rows of the view are to be
        replaced by these, if they pass those checks; such a load cannot be resumed.

        Raises FailedPreconditionError where ``resume`` finds a checkpoint of something else, NotFoundError and
        InvalidArgumentError for files and options that make no sense.
        """
        self._view, self._entity, self._sources, self._options = view, entity, sources, options
        self._replaces = replaces
        self.replaced: Replaced | None = None
        """Which version of the view's rows serves now, and which did before."""
        self._checkpoint_path = checkpoint
        started_us = time.time_ns() // 1_000
        self._binding = Binding.of(store, view, options=options.binding(), sources=sources, started_us=started_us)
        self._start = Progress(Position(), 0, Counts(), 0, 0.0)
        self.resumed = False
        if resume:
            self._resume()
        names = {*(key.name for key in entity.join_keys), *(feature.name for feature in view.features)}
        self._timestamp_name = DEFAULT_TIMESTAMP_COLUMN
        while self._timestamp_name in names:
            self._timestamp_name = "_" + self._timestamp_name
        self._where = Where(options.where) if options.where else None
        self._maker = MessageMaker(self._timestamp_name, self._binding.started_us, self._where)
        self._stopping = threading.Event()
        self._pending: deque[tuple[int, Message]] = deque()
        self._unsettled: Message | None = None
        self._sent = 0
        self._seen = Counts() + self._start.counts
        self._settled = self._start
        self._written_before = self._start.counts.written, self._start.counts.older
        self._fraction: float | None = None
        self._mappings: list[Mapping] = []
        self._examples: list[Reject] = []
        self._nulls: dict[str, int] = {}
        """Of each feature, in a dry run."""
        self._began_s = time.monotonic()
        self._reject_file: RejectFile | None = None
        self._checkpoint: Checkpoint | None = None

    def _resume(self) -> None:
        if any(source.is_standard_input for source in self._sources):
            raise InvalidArgumentError.of("--resume", "standard input", "files: what was read of a pipe is gone")
        found = read_checkpoint(self._checkpoint_path) if self._checkpoint_path else None
        if found is None:
            return
        binding, progress = found
        difference = self._binding.difference(binding)
        if difference is not None:
            raise FailedPreconditionError(
                f"--resume: the checkpoint {str(self._checkpoint_path)!r} is of another load: {difference}. "
                "Start over without --resume, which loads all rows again and changes none that are there"
            )
        self._binding = binding
        if progress is not None:
            self._start = progress
            self.resumed = True

    @property
    def is_replacing(self) -> bool:
        """Whether it replaces all rows of the view."""
        return self._replaces is not None

    @property
    def has_sent(self) -> bool:
        """Whether any row was sent in this run."""
        return self._sent > 0

    @property
    def resumed_counts(self) -> Counts:
        """What the interrupted runs had settled."""
        return self._start.counts

    def stop(self) -> None:
        """Ends the load after what is under way: it is acknowledged, and the checkpoint says where to go on."""
        self._stopping.set()

    # ---------------------------------------------------------------------------------------------------------------- running

    def run(self, sink: Sink | None, on_progress: Callable[[LoadState], None] | None = None) -> Summary:
        """Loads everything; without a sink only validates it.

        Raises TooManyRejectsError, the reader's errors, and the client's, after settling what had been acknowledged.
        """
        self._began_s = time.monotonic()
        self._on_progress = on_progress or (lambda state: None)
        rejects = self._options.rejects
        self._reject_file = RejectFile(rejects, self._start.rejects_bytes) if rejects is not None else None
        if sink is not None and self._checkpoint_path is not None:
            self._checkpoint = Checkpoint(self._checkpoint_path, self._binding, self._start if self.resumed else None)
        done = False
        try:
            if sink is None:
                for batch in self._batches(check_limit=False):
                    self._count_nulls(batch)
                    self._settle(self._sent, None)
            else:
                self._send(sink)
            self._settle(self._sent, None)
            done = not self._stopping.is_set()
            if done:
                self._check_limit(self._settled.counts, at_end=True)
                if sink is None and self._replaces is not None:
                    self._check_replaces(self._replaces)
        finally:
            if self._checkpoint is not None:
                # Where nothing was sent there is nothing to go on with.
                self._checkpoint.close(done=done or not (self.has_sent or self.resumed))
            if self._reject_file is not None:
                # Those that ended the load, though it stays before them: resuming finds them again.
                self._reject_file.write(self._unsettled.rejects if self._unsettled else ())
                self._reject_file.close()
        return self.summary(dry_run=sink is None)

    def _send(self, sink: Sink) -> None:
        def acknowledged(progress: Any) -> None:
            counts = progress.counts
            self._settle(progress.acknowledged_sequence, (counts.rows - counts.older, counts.older))

        options: dict[str, Any] = {
            "timestamp_column": self._timestamp_name,
            "batch_rows": _UNCUT_ROWS,
            "progress": acknowledged,
            "project": self._view.project,
        }
        if self._replaces is not None:
            source = ", ".join(each.name for each in self._sources[:SOURCES_NAMED])
            more = len(self._sources) - SOURCES_NAMED
            self.replaced = sink.replace(
                self._view.name,
                self._all_batches(),
                source=source + (f" and {more} more" if more > 0 else ""),
                checks=self._replaces,
                **options,
            )
            self._settle(self._sent, None)
            return
        try:
            counts = sink.ingest(self._view.name, self._batches(check_limit=True), **options)
        except Exception as error:
            # Acknowledged since the last report: their rows count as written, for nobody is left to say how many were older.
            sequence = getattr(error, "acknowledged_sequence", None)
            if sequence:
                self._settle(sequence, None)
            raise
        self._settle(self._sent, (counts.rows - counts.older, counts.older))

    def _all_batches(self) -> Iterator[pa.RecordBatch]:
        """Those of a load that counts wholly or not at all."""
        yield from self._batches(check_limit=True)
        if self._stopping.is_set():
            raise CancelledError("stopped: the view's rows are as they were")
        self._check_limit(self._seen, at_end=True)

    def _count_nulls(self, batch: pa.RecordBatch) -> None:
        names = set(batch.schema.names)
        for feature in self._view.features:
            nulls = batch.column(feature.name).null_count if feature.name in names else batch.num_rows
            self._nulls[feature.name] = self._nulls.get(feature.name, 0) + nulls

    def _check_replaces(self, checks: ReplaceChecks) -> None:
        """What the server will check of these rows, as far as they alone show it: raises what it would."""
        rows, given = self._settled.counts.written, checks.max_null_fraction
        limits = {} if given is None else {"": given} if isinstance(given, float | int) else given
        check_names(limits, self._view.name, [feature.name for feature in self._view.features])
        failed = [*row_failures(rows, checks.rows_min or 0, checks.rows_max), *null_failures(self._nulls, rows, limits)]
        if failed:
            raise FailedPreconditionError(f"view {self._view.name!r} would not be replaced: {'; '.join(failed)}")

    def _batches(self, *, check_limit: bool) -> Iterator[pa.RecordBatch]:
        """The batches to send, as the client asks for them."""
        for message in self._messages():
            if self._stopping.is_set():
                return
            read, rejected = self._seen.read + message.read, self._seen.rejected + len(message.rejects)
            self._seen = Counts(read=read, rejected=rejected)
            self._examples += message.rejects[: REJECTS_SHOWN - len(self._examples)]
            if check_limit and message.rejects:
                try:
                    self._check_limit(self._seen, at_end=False)
                except TooManyRejectsError:
                    self._unsettled = message
                    raise
            if message.batch.num_rows:
                self._sent += 1
            self._pending.append((self._sent, message))
            if message.batch.num_rows:
                batch, message.batch = message.batch, NOTHING
                yield batch

    def _check_limit(self, counts: Counts, *, at_end: bool) -> None:
        limit = self._options.max_rejects
        if not limit.is_passed(counts.rejected, counts.read, at_end=at_end):
            return
        example = f"; the first: {self._examples[0]}" if self._examples else ""
        raise TooManyRejectsError(
            f"--max-rejects: {counts.rejected} of {counts.read} rows rejected, at most {limit} allowed{example}. "
            "Mend the rows, or allow more with --max-rejects N or P%, and keep a list of them with --rejects FILE"
        )

    # ---------------------------------------------------------------------------------------------------------------- reading

    def _messages(self) -> Iterator[Message]:
        """The messages in order, a few parts ahead of the caller."""
        parts = self._parts()
        with (
            ThreadPoolExecutor(1, "featurestore-read") as reader,
            ThreadPoolExecutor(WORKERS, "featurestore-convert") as workers,
        ):
            ahead: deque[Future[list[Message] | None]] = deque()

            def prepare(found: Future[tuple[SourceContext, Part, int] | None]) -> list[Message] | None:
                part = found.result()
                if part is None:
                    return None
                with _sentences(part[0].source):
                    return self._maker.messages(*part)

            def begin() -> None:
                ahead.append(workers.submit(prepare, reader.submit(next, parts, None)))

            try:
                for _ in range(PARTS_AHEAD):
                    begin()
                while (messages := ahead.popleft().result()) is not None:
                    begin()
                    yield from messages
            finally:
                for future in ahead:
                    future.cancel()
                reader.shutdown(cancel_futures=True)
                workers.shutdown(cancel_futures=True)
                parts.close()

    def _parts(self) -> Generator[tuple[SourceContext, Part, int], None, None]:
        start = self._start.position
        for index, source in enumerate(self._sources):
            if index < start.source:
                continue
            with _sentences(source):
                reader = open_reader(source, self._options.delimiter)
                try:
                    context, wanted = self._context(index, source, reader)
                    token = start.token if index == start.source and start.token else None
                    skipped = start.records if token else 0  # of the part that the token leads to
                    for part in reader.parts(wanted, token):
                        yield context, part, skipped
                        skipped = 0
                finally:
                    reader.close()

    def _context(self, index: int, source: Source, reader: Reader) -> tuple[SourceContext, Wanted]:
        options = self._options
        schema = reader.schema
        mapping = map_columns(
            self._view, self._entity, options.naming, source=source, schema=schema, number_unit=options.times.unit
        )
        self._mappings.append(mapping)
        where_columns = self._where.columns(schema.names) if self._where else []
        for name in where_columns:
            if where_columns.count(name) > 1:
                raise InvalidArgumentError.of("--where", name, f"a column whose name is once in {source.name}")
        conversion = Conversion(options.times, options.null_values, source.format is not Format.CSV)
        context = SourceContext(index, source, reader.position_unit, mapping, conversion, tuple(where_columns))
        return context, mapping.wanted(where_columns, options.null_values)

    # --------------------------------------------------------------------------------------------------------------- settling

    def _settle(self, sequence: int, written: tuple[int, int] | None) -> None:
        """Takes account of all messages up to a sequence. ``written`` is (written, older) of this run so far, where known."""
        before = self._settled
        read, filtered, rejected = before.counts.read, before.counts.filtered, before.counts.rejected
        position = before.position
        rows = 0
        while self._pending and self._pending[0][0] <= sequence:
            _, message = self._pending.popleft()
            read += message.read
            filtered += message.filtered
            rejected += len(message.rejects)
            rows += message.read - message.filtered - len(message.rejects)
            position = message.position
            self._fraction = self._overall(position.source, message.fraction)
            if self._reject_file is not None:
                self._reject_file.write(message.rejects)
        if written is None:
            counts = Counts(read, filtered, rejected, before.counts.written + rows, before.counts.older)
        else:
            base = self._written_before
            counts = Counts(read, filtered, rejected, base[0] + written[0], base[1] + written[1])
        if counts == before.counts and position == before.position:
            return
        rejects_bytes = self._reject_file.size_bytes if self._reject_file is not None else 0
        self._settled = Progress(position, sequence, counts, rejects_bytes, self._seconds())
        if self._checkpoint is not None:
            self._checkpoint.write(self._settled)
        file = self._sources[position.source].name
        self._on_progress(LoadState(counts, self._settled.seconds, self._fraction, file))

    def _overall(self, index: int, fraction: float | None) -> float | None:
        sizes = [source.size_bytes for source in self._sources]
        if fraction is None or None in sizes:
            return None
        total = sum(size or 0 for size in sizes)
        return (sum(size or 0 for size in sizes[:index]) + fraction * (sizes[index] or 0)) / total if total else 1.0

    def _seconds(self) -> float:
        return self._start.seconds + time.monotonic() - self._began_s

    def summary(self, *, dry_run: bool = False) -> Summary:
        """What has been done so far; for a load that ended with an error as well."""
        mappings = self._mappings
        left_out = [
            name for name in (mappings[0].left_out if mappings else ()) if all(name in each.left_out for each in mappings)
        ]
        return Summary(
            self._view.project,
            self._view.name,
            len(self._sources),
            self._settled.counts,
            self._seconds(),
            dry_run,
            self.resumed,
            self._stopping.is_set(),
            tuple(left_out),
            tuple(dict.fromkeys(name for each in mappings for name in each.unused)),
            tuple(self._examples),
        )


class _sentences:  # noqa: N801  a context manager, named as it reads
    """Turns what libraries raise over a broken file into an error that names the file."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (pa.ArrowException, OSError, BadZipFile, EOFError)) and not isinstance(error, FeatureStoreError):
            text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            expected = f"a whole {self._source.format.value} file"
            raise InvalidArgumentError.of(self._source.name, text, expected) from error
