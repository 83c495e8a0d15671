"""Every call but the read, as a request and the way to read its response: shared by the blocking and the asyncio client.

Invariant: a call is ``repeatable`` only if the server doing it twice leaves what doing it once would.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from featurestore_client.columns import columns_in, event_timestamps_us, key_columns, write_batch
from featurestore_client.definitions import ApplyResult, apply_request, apply_result, as_mapping
from featurestore_client.encoding import delete_request, write_request
from featurestore_client.errors import InvalidArgumentError
from featurestore_client.transport import APPLY, DELETE_FEATURES, SERVICE, WRITE_FEATURES
from featurestore_client.types import ViewSchema, parse_type
from featurestore_client.wire import featurestore_raw_pb2 as wire

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """One call: where it goes, what it says, how its answer reads."""

    method_path: str
    request: bytes
    decode: Callable[[bytes], Answer]
    repeatable: bool


class WriteCounts(NamedTuple):
    """What became of the rows that were written: ``rows = inserted + updated + equal + older``."""

    rows: int
    inserted: int
    """New rows."""
    updated: int
    """Newer than the stored row: overwrote it."""
    equal: int
    """Of the stored row's event time: overwrote it."""
    older: int
    """Older than the stored row: left it as it was."""

    @classmethod
    def of(cls, counts: wire.WriteCounts) -> "WriteCounts":
        """Of the wire's message."""
        return cls(counts.rows, counts.inserted, counts.updated, counts.equal, counts.older)

    def plus(self, other: "WriteCounts") -> "WriteCounts":
        """The counts of both."""
        return WriteCounts(*(mine + others for mine, others in zip(self, other, strict=True)))


class DeleteCounts(NamedTuple):
    """What became of the keys that were deleted."""

    deleted: int
    """Rows that were there and are no more."""
    absent: int
    """Keys that had no row."""
    older: int
    """Deletes older than the stored row: left it as it was."""


class Version(NamedTuple):
    """A version of all rows of a view."""

    number: int
    time_us: int
    """When it began to serve, in microseconds since 1970 UTC; 0 for the first."""
    rows: int
    """It had then; of an earlier version: when it was replaced."""
    source: str

    @classmethod
    def of(cls, version: wire.Version) -> "Version":
        """Of the wire's message."""
        return cls(version.number, version.time_us, version.rows, version.source)


class Replaced(NamedTuple):
    """Which version serves, and which one served before."""

    version: Version
    former: Version
    former_is_kept: bool
    """Whether ``rollback`` can bring it back."""


class ReplaceChecks(NamedTuple):
    """What a load must pass before it replaces the rows of a view. Fractions are from 0 to 1."""

    rows_min: int | None = None
    rows_max: int | None = None
    max_null_fraction: float | Mapping[str, float] | None = None
    """Of each feature, or by feature."""
    max_drop: float | None = None
    """By which fraction the number of rows may fall. Unless this is 1, a load without rows does not replace any."""


def begin_replace(project: str, view: str, source: str, rows: int) -> Call[str]:
    """BeginReplace: the name of the load."""
    return Call(
        SERVICE + "BeginReplace",
        wire.BeginReplaceRequest(project=project, view=view, source=source, rows=rows).SerializeToString(),
        lambda encoded: wire.BeginReplaceResponse.FromString(encoded).load,
        repeatable=False,
    )


def commit_replace(load: str, checks: ReplaceChecks) -> Call[Replaced]:
    """CommitReplace. Asked once more it answers the same."""
    fractions = checks.max_null_fraction
    request = wire.CommitReplaceRequest(
        load=load,
        rows_min=checks.rows_min,
        rows_max=checks.rows_max,
        max_null_fractions=fractions if isinstance(fractions, Mapping) else {} if fractions is None else {"": fractions},
        max_drop=checks.max_drop,
    )

    def decode(encoded: bytes) -> Replaced:
        return _replaced(wire.CommitReplaceResponse.FromString(encoded))

    return Call(SERVICE + "CommitReplace", request.SerializeToString(), decode, repeatable=True)


def abort_replace(load: str) -> Call[None]:
    """AbortReplace."""
    request = wire.AbortReplaceRequest(load=load).SerializeToString()
    return Call(SERVICE + "AbortReplace", request, lambda encoded: None, repeatable=True)


def rollback(project: str, view: str, version: int | None) -> Call[Replaced]:
    """Rollback. A second try would roll back further."""
    request = wire.RollbackRequest(project=project, view=view, version=version or 0).SerializeToString()

    def decode(encoded: bytes) -> Replaced:
        return _replaced(wire.RollbackResponse.FromString(encoded))

    return Call(SERVICE + "Rollback", request, decode, repeatable=False)


def _replaced(response: wire.CommitReplaceResponse | wire.RollbackResponse) -> Replaced:
    return Replaced(Version.of(response.version), Version.of(response.former), response.former_is_kept)


def write(view: ViewSchema, data: Any, event_timestamps: Any, timestamp_column: str | None) -> Call[WriteCounts]:
    """WriteFeatures. Without event times the server's clock is the time, and a second try would be a later write."""
    batch = write_batch(view, data, event_timestamps=event_timestamps, timestamp_column=timestamp_column)
    return Call(
        WRITE_FEATURES,
        write_request(view.project, view.view, batch),
        lambda encoded: WriteCounts.of(wire.WriteFeaturesResponse.FromString(encoded).counts),
        repeatable=batch.timed,
    )


def delete(view: ViewSchema, keys: Any, event_timestamps: Any) -> Call[DeleteCounts]:
    """DeleteFeatures."""
    columns = columns_in(keys)
    for name in columns:
        if name not in view.join_keys:
            raise InvalidArgumentError.of("keys", name, f"only the join keys {', '.join(view.join_keys)} of view {view.view!r}")
    timestamps = None if event_timestamps is None else event_timestamps_us(event_timestamps, "event_timestamps")
    encoded_keys = key_columns(view, columns)

    def decode(encoded: bytes) -> DeleteCounts:
        response = wire.DeleteFeaturesResponse.FromString(encoded)
        return DeleteCounts(response.deleted, response.absent, response.older)

    request = delete_request(view.project, view.view, encoded_keys, timestamps)
    return Call(DELETE_FEATURES, request, decode, repeatable=timestamps is not None)


def apply(definitions: Any, *, dry_run: bool, prune: bool, base_version: int | None) -> Call[ApplyResult]:
    """Apply. A second try after one that took effect would report no changes, so there is none."""
    request = apply_request(definitions, dry_run=dry_run, prune=prune, base_version=base_version)
    return Call(APPLY, request, apply_result, repeatable=dry_run)


def listing(method: str, field: str, project: str | None) -> Call[list[dict[str, Any]]]:
    """One of List...: ``method`` as in the proto, the response's only field."""
    request: Message = getattr(wire, f"{method}Request")()
    if project:
        request = getattr(wire, f"{method}Request")(project=project)
    response: type[Message] = getattr(wire, f"{method}Response")
    return Call(
        SERVICE + method,
        request.SerializeToString(),
        lambda encoded: [as_mapping(each) for each in getattr(response.FromString(encoded), field)],
        repeatable=True,
    )


def description(method: str, project: str, name: str) -> Call[dict[str, Any]]:
    """One of Describe...: ``method`` as in the proto."""
    request: Message = getattr(wire, f"{method}Request")(project=project, name=name)
    response: type[Message] = getattr(wire, f"{method}Response")
    return Call(
        SERVICE + method,
        request.SerializeToString(),
        lambda encoded: as_mapping(response.FromString(encoded)),
        repeatable=True,
    )


def status() -> Call[dict[str, Any]]:
    """GetStatus."""
    request = wire.GetStatusRequest().SerializeToString()
    return Call(SERVICE + "GetStatus", request, lambda encoded: as_mapping(wire.GetStatusResponse.FromString(encoded)), True)


def take_snapshot() -> Call[dict[str, Any]]:
    """TakeSnapshot. A second one, where nothing was written since the first, is the first."""
    request = wire.TakeSnapshotRequest().SerializeToString()
    return Call(
        SERVICE + "TakeSnapshot", request, lambda encoded: as_mapping(wire.TakeSnapshotResponse.FromString(encoded)), True
    )


def view_schema(view: Mapping[str, Any], entity: Mapping[str, Any]) -> ViewSchema:
    """The schema of a view from the descriptions of it and its entity."""
    return ViewSchema(
        view["project"],
        view["name"],
        {key["name"]: parse_type(key["type"]) for key in entity["join_keys"]},
        {feature["name"]: parse_type(feature["type"]) for feature in view["features"]},
    )
