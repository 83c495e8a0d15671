"""What a load that replaces has to pass, in words: one text for the server, and for a dry run, which sees the files alone."""

from collections.abc import Iterator, Mapping, Sequence

from featurestore.errors import InvalidArgumentError


def check_names(names: Mapping[str, object], view: str, features: Sequence[str]) -> None:
    """Raises InvalidArgumentError where a limit is for a feature that the view does not have; "" is for all others."""
    for name in names:
        if name and name not in features:
            raise InvalidArgumentError.of("max_null_fraction", name, f"a feature of view {view!r}: {', '.join(features)}")


def row_failures(rows: int, rows_min: int, rows_max: int | None) -> Iterator[str]:
    """Where there are too few or too many."""
    if rows < rows_min:
        yield f"rows: got {rows}, expected at least {rows_min}"
    if rows_max is not None and rows > rows_max:
        yield f"rows: got {rows}, expected at most {rows_max}"


def drop_failures(rows: int, former: int, max_drop: float | None) -> Iterator[str]:
    """Where there are too many fewer than before. Without any row at all that has to be asked for."""
    if rows == 0 and former and max_drop is None:
        yield f"rows: got none, and there are {former} now: a load without rows is taken where max_drop is 1 (--max-drop 100%)"
    if max_drop is not None and former and rows < former * (1 - max_drop):
        yield f"rows: got {rows}, {1 - rows / former:.1%} fewer than the {former} of now, expected at most {max_drop:.1%}"


def null_failures(nulls: Mapping[str, int], rows: int, limits: Mapping[str, float]) -> Iterator[str]:
    """Where a feature is null too often; ``limits`` are fractions by feature, under "" for those that are not named."""
    for name, count in nulls.items():
        limit = limits.get(name, limits.get(""))
        if limit is not None and count > rows * limit:
            yield f"{name}: got {count / rows:.1%} nulls, expected at most {limit:.1%}"
