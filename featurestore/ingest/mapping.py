"""Which column of a file is which join key, feature or time, decided once a file from its schema.

Invariant: a mapping that exists has a column for every join key and for the event time (unless the load gives one time to all
rows), at least one feature, no column twice, and only types that can be converted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from featurestore.errors import InvalidArgumentError, Violation, nearest
from featurestore.ingest.conversion import arrow_type, is_convertible
from featurestore.ingest.readers import Wanted
from featurestore.ingest.sources import Format, Source
from featurestore.model import DataType, Entity, FeatureView, Scalar

DEFAULT_TIMESTAMP_COLUMN = "event_timestamp"
NOW = "now"
"""In place of a timestamp column: all rows get the time at which the load began."""
_TIMESTAMP = DataType(scalar=Scalar.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Naming:
    """What the command, or else the view's batch source, says of the columns. Equal names need no saying."""

    columns: tuple[tuple[str, str], ...] = ()
    """(file column, feature or join key)"""
    keys: tuple[str, ...] = ()
    """File columns, as ``column=join_key``, or in the order of the join keys that are not yet named."""
    timestamp: str | None = None
    """A file column, or ``now``."""


@dataclass(frozen=True, slots=True)
class Target:
    """A join key or feature, the file column that feeds it, and the type it is to have."""

    name: str
    column: str
    type: DataType


@dataclass(frozen=True, slots=True)
class Mapping:
    """What becomes of the columns of one file."""

    keys: tuple[Target, ...]
    features: tuple[Target, ...]
    late: tuple[Target, ...]
    """Features that later records may have, where a format has no schema."""
    timestamp: str | None
    """None: the time at which the load began."""
    left_out: tuple[str, ...]
    """Features that the file does not have."""
    unused: tuple[str, ...]
    """Columns of the file that go nowhere."""

    def targets(self) -> Iterator[Target]:
        """The keys and features that the file has."""
        yield from self.keys
        yield from self.features

    def wanted(self, also: Sequence[str], null_values: tuple[str, ...]) -> Wanted:
        """What the reader is to read, with columns that are needed for something else as well."""
        columns: dict[str, pa.DataType | None] = dict.fromkeys(also)
        if self.timestamp is not None:
            columns[self.timestamp] = arrow_type(_TIMESTAMP)
        columns |= {target.column: arrow_type(target.type) for target in self.targets()}
        return Wanted(columns, {target.column: arrow_type(target.type) for target in self.late}, null_values)


def naming_of(view: FeatureView, said: Naming) -> Naming:
    """What is said, completed by the view's batch source. A column said to be something is not also what the source says."""
    if view.source is None:
        return said
    taken = {column for column, _ in said.columns} | {target for _, target in said.columns}
    from_source = [
        (column, target) for column, target in view.source.columns.items() if column not in taken and target not in taken
    ]
    return Naming((*said.columns, *from_source), said.keys, said.timestamp or view.source.timestamp_column)


def map_columns(
    view: FeatureView, entity: Entity, naming: Naming, *, source: Source, schema: pa.Schema, number_unit: str | None
) -> Mapping:
    """The mapping of one file, of which ``number_unit`` is the unit of times that are numbers.

    Raises InvalidArgumentError with all that is wrong.
    """
    wrong: list[Violation] = []
    columns = list(schema.names)
    key_types = {key.name: key.type for key in entity.join_keys}
    feature_types = {feature.name: feature.type for feature in view.features}

    def refuse(field: str, value: str, expected: str) -> None:
        wrong.append(Violation(field, value, expected, file=source.name))

    def said_by(option: str, column: str) -> bool:
        if column in columns:
            return True
        refuse(option, repr(column), f"a column of the file: {nearest(column, columns)}")
        return False

    column_of: dict[str, str] = {}
    for column, target in naming.columns:
        if target not in key_types and target not in feature_types:
            known = nearest(target, [*key_types, *feature_types])
            refuse("--map", f"{column}={target}", f"a feature or join key of view {view.name!r}: {known}")
        elif column in column_of.values():
            refuse("--map", f"{column}={target}", f"a column that feeds nothing else, as {column!r} does")
        elif target in column_of:
            refuse("--map", f"{column}={target}", f"one column for {target!r}, which has {column_of[target]!r} already")
        elif said_by("--map", column):
            column_of[target] = column
    for key in naming.keys:
        column, _, target = key.rpartition("=") if "=" in key and key not in columns else (key, "", "")
        target = target or next((name for name in key_types if name not in column_of), "")
        if target not in key_types:
            refuse("--key", key, f"one column for each join key of {entity.name!r}: {', '.join(key_types)}")
        elif target in column_of:
            refuse("--key", key, f"one column for {target!r}, which has {column_of[target]!r} already")
        elif said_by("--key", column):
            column_of[target] = column
    timestamp = naming.timestamp or DEFAULT_TIMESTAMP_COLUMN
    timestamp_column: str | None = timestamp
    if timestamp == NOW and NOW not in columns:
        timestamp_column = None
    elif timestamp not in columns:
        way_out = "name it with --timestamp COLUMN, or say --timestamp now to give all rows the time of this load"
        refuse("--timestamp", repr(timestamp), f"a column of the file: {nearest(timestamp, columns)}; {way_out}")

    taken = set(column_of.values())
    for name in [*key_types, *feature_types]:
        if name not in column_of and name in columns and name not in taken:
            column_of[name] = name
    for name in key_types:
        if name not in column_of and not any(violation.field in ("--key", "--map") for violation in wrong):
            refuse("--key", repr(name), f"a column for join key {name!r}: {nearest(name, columns)}; name it with --key COLUMN")
    features = {name: kind for name, kind in feature_types.items() if name in column_of}
    is_loose = source.format is Format.JSON_LINES
    if not features and not wrong:
        shown = ", ".join(repr(name) for name in list(feature_types)[:8])
        refuse(
            "--map",
            f"the columns {', '.join(map(repr, columns[:8]))}",
            f"at least one feature: {shown}; or --map column=feature",
        )
    for name, kind in {**key_types, **features}.items():
        column = column_of.get(name, "")
        if column in columns:
            if columns.count(column) > 1:
                refuse(column, "the column twice", "distinct names of the columns that are used")
            elif not is_convertible(schema.field(column).type, kind):
                refuse(column, f"a column of {schema.field(column).type}", f"what can become {kind} for {name!r}")
    if timestamp_column in columns:
        kind = schema.field(timestamp_column).type
        if columns.count(timestamp_column) > 1:
            refuse("--timestamp", repr(timestamp_column), "a column whose name is there once")
        elif not is_convertible(kind, _TIMESTAMP):
            refuse("--timestamp", f"{timestamp_column!r} of {kind}", "a column of times, numbers or text")
        elif number_unit is None and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            refuse(
                "--timestamp-format", "none", f"s, ms, us or ns: {timestamp_column!r} holds numbers since 1970, of which unit?"
            )
    if wrong:
        raise InvalidArgumentError("; ".join(str(violation) for violation in wrong), wrong)

    def target_of(name: str) -> Target:
        return Target(name, column_of.get(name, name), {**key_types, **feature_types}[name])

    left_out = tuple(name for name in feature_types if name not in column_of)
    used = {*column_of.values(), timestamp_column}
    return Mapping(
        tuple(target_of(name) for name in key_types),
        tuple(target_of(name) for name in features),
        tuple(target_of(name) for name in left_out if name not in used) if is_loose else (),
        timestamp_column,
        left_out,
        tuple(dict.fromkeys(name for name in columns if name not in used)),
    )
