"""What a start reads ahead of what it applies, and what it says meanwhile."""

import threading
from collections.abc import Iterator

import pytest

from featurestore.service import recovery
from featurestore.service.read_ahead import ReadAhead


def test_items_come_in_order_and_only_so_many_are_made_ahead() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == 3:
                enough.set()
            yield number

    with ReadAhead(items(), 3) as ahead:
        assert next(ahead) == 0
        assert enough.wait(10)
        assert len(made) <= 1 + 3 + 1
        assert list(ahead) == [*range(1, 50)]


def test_what_the_making_ends_with_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the file is damaged")

    with ReadAhead(items(), 4) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="the file is damaged"):
            next(ahead)


def test_the_thread_ends_where_the_rest_is_not_wanted() -> None:
    def forever() -> Iterator[int]:
        while True:
            yield 1

    before = threading.active_count()
    with ReadAhead(forever(), 2) as ahead:
        next(ahead)
    assert threading.active_count() == before


def test_a_long_start_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "TOLD_EVERY_S", 0)
    progress = recovery.LoggedProgress()
    with caplog.at_level("INFO"):
        progress(0, 200)
        progress(50, 200)
        progress(200, 200)
    (record,) = caplog.records
    assert record.message == "recovering"
    assert (record.fields["share"], record.fields["bytes"]) == ("25%", 200)  # type: ignore[attr-defined]
