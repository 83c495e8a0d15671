"""What a handler is told of its call."""

import grpc
import pytest

from featurestore.errors import ErrorCode, UnauthenticatedError
from featurestore.server.api_keys import ApiKeys
from featurestore.server.context import CallContext, joined
from featurestore.server.failure import GRPC_NUMBERS


def test_text_of_a_key_that_came_twice_is_joined():
    metadata = joined([("a", "1"), ("b-bin", b"\xff"), ("a", "2"), ("b-bin", b"\x00")])
    assert metadata == {"a": "1,2", "b-bin": b"\x00"}


def test_a_second_key_does_not_take_the_place_of_the_first():
    keys = ApiKeys(["right"])
    keys.check(CallContext(metadata=joined([("authorization", "Bearer right")])))
    with pytest.raises(UnauthenticatedError):
        keys.check(CallContext(metadata=joined([("authorization", "Bearer wrong"), ("authorization", "Bearer right")])))


def test_text_is_empty_where_there_is_none():
    context = CallContext(metadata={"user-agent": "tool/1", "trace-bin": b"\x01"})
    assert (context.user_agent, context.text("other"), context.text("trace-bin")) == ("tool/1", "", "")


def test_codes_have_the_numbers_of_grpc():
    canonical = {code.name: code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    assert {code.value: GRPC_NUMBERS[code] for code in ErrorCode} == canonical
