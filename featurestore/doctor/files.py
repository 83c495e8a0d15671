"""Whether what a start, or a rollback, reads is there, by names, heads and last records: quick enough to be asked every few
minutes. What lies between, ``featurestore verify`` reads.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from featurestore.doctor.finding import Finding, ok, problem
from featurestore.doctor.place import Place
from featurestore.durability import Snapshot, find_version, latest_snapshot
from featurestore.durability.reading import JournalFile, journal_files, journal_in, mapped, needless_files, records_behind
from featurestore.durability.record import FILE_HEAD_BYTES
from featurestore.errors import FeatureStoreError
from featurestore.registry import Registry
from featurestore.registry.registry import FILE_NAME as REGISTRY
from featurestore.registry.versions import Versions, journal_needed_after

_ATTEMPTS_MAX = 10
_TAILS_BYTES = (1 << 16, 1 << 22, 1 << 62)
"""Where the last record of a file is looked for: most are short."""


class _Store(NamedTuple):
    """What is to be there."""

    snapshot: Snapshot | None
    journal: list[JournalFile]
    versions: Versions
    views: int


def files(place: Place) -> Finding:
    """Definitions, journal, snapshot, and versions of views' rows belong together."""
    name, verify = "files", f"featurestore verify {place.directory}"
    change = f"put what is missing or damaged back from a backup, or restore one; {verify} says what can be recovered"
    for _ in range(_ATTEMPTS_MAX):
        try:
            store = _look(place)
            wrong = next(_wrong(place, store), "")
            if not wrong:
                break
            if _is_the_same(store, _look(place)):  # else a server has finished a snapshot or a version meanwhile
                return problem(name, wrong, change)
        except FileNotFoundError:
            continue
        except FeatureStoreError as error:
            return problem(name, error.message, change)
    return ok(name, f"those that a start reads are there, by their beginnings and ends; {verify} reads everything")


def _look(place: Place) -> _Store:
    snapshot, journal = latest_snapshot(place.journal), journal_files(place.journal)
    registry = Registry.open(place.directory)
    return _Store(snapshot, journal, registry.all_versions, len(registry.current.feature_views))


def _is_the_same(one: _Store, other: _Store) -> bool:
    return (one.snapshot, one.journal[:1], one.versions) == (other.snapshot, other.journal[:1], other.versions)


def _wrong(place: Place, store: _Store) -> Iterator[str]:
    """Sentences. Raises FeatureStoreError for a head that cannot be read."""
    registry = place.directory / REGISTRY
    has_rows = store.snapshot is not None or any(file.path.stat().st_size > FILE_HEAD_BYTES for file in store.journal)
    if has_rows and not registry.exists():
        yield f"{registry} is not there, and without it nobody knows the views of the rows in {place.journal}"
    if store.views and not place.journal.exists():
        yield f"{place.journal} is not there, and what was written to {store.views} views is in it"
    covered = store.snapshot.definitions if store.snapshot is not None else 0
    if store.snapshot is not None:
        yield from _wrong_in(store.snapshot.directory, journal_files(store.snapshot.directory), 0, store.snapshot.records)
    base = store.snapshot.base if store.snapshot is not None else 0
    after = journal_needed_after(store.versions, base, covered)
    yield from _wrong_in(place.journal, store.journal, after, None)
    for view, each in store.versions.items():
        for number in sorted(each.numbers_on_disk(covered)):
            found = find_version(place.journal, view, number)
            if found is None:
                yield f"{place.journal}/versions/{view}: version {number} of that view's rows is not there"
            else:
                yield from _wrong_in(found.directory, journal_files(found.directory), 0, found.records)


def _wrong_in(directory: Path, found: list[JournalFile], after: int, last: int | None) -> Iterator[str]:
    """Of files that are to hold the records behind ``after``, up to ``last`` where that is known."""
    needed = found[needless_files(found, after) :]
    if last and not needed:
        yield f"{directory}: got no file, expected {last} records"
    if needed and needed[0].first_sequence > after + 1:
        expected = f"expected {after + 1} in it" + (", or a snapshot in its place" if last is None else "")
        yield f"{directory}: got a first file that begins with record {needed[0].first_sequence}, {expected}"
    journal = 0
    ends = [*(following.first_sequence - 1 for following in needed[1:]), last]
    for file, end in zip(needed, ends, strict=False):
        with mapped(file.path) as data:
            number = journal_in(data, *file)
            if journal not in (0, number):
                yield f"{file.path} is a file of another journal than the one before it"
            journal = number
            if end and not _holds(data, end, journal):
                yield f"{file.path}: got no whole record {end} at its end: it is damaged, or files behind it are missing"


def _holds(data: memoryview, sequence: int, journal: int) -> bool:
    """Whether that record is in the file, and whole: looked for from the end on."""
    return any(
        record.sequence == sequence
        for tail_bytes in _TAILS_BYTES
        for record in records_behind(data, max(FILE_HEAD_BYTES, len(data) - tail_bytes), sequence, journal)
    )
