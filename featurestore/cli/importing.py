"""Imports that a person waits for."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back_collector() -> Iterator[None]:
    """Within it the garbage collector does not run, and what was made in it is not looked at later: what is imported stays.

    To look it over again and again, or even once, would take a tenth of a start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
