"""Reading a message from a stranger's bytes."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from featurestore.errors import InvalidArgumentError

_Message = TypeVar("_Message", bound=Message)


def parse(message_class: type[_Message], data: bytes) -> _Message:
    """The message, or INVALID_ARGUMENT when the bytes are none."""
    try:
        return message_class.FromString(data)
    except DecodeError:
        name = message_class.DESCRIPTOR.full_name.replace(".raw.", ".")
        raise InvalidArgumentError.of("request", f"{len(data)} bytes that do not decode", f"a {name} message") from None


async def one_request(message_class: type[_Message], requests: AsyncIterator[bytes]) -> _Message:
    """The message of a method that has one request and many answers."""
    async with aclosing(requests):  # type: ignore[type-var]  # a generator, as the table of methods has it
        data = await anext(requests, None)
    if data is None:
        raise InvalidArgumentError.of("request", "none", "one")
    return parse(message_class, data)
