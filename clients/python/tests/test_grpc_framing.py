"""gRPC's framing: what one end writes the other reads, in whatever pieces, and what is wrong is told by the right status."""

import gzip
import math
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from featurestore_client.grpc_framing import (
    FramingError,
    decode_message,
    decode_timeout,
    decompressed,
    encode_message,
    encode_timeout,
    frame,
    header_pairs,
    metadata_of,
    pairs_of,
    unframe,
)
from hypothesis import given, settings
from hypothesis import strategies as st

MessageReader = pytest.importorskip("featurestore_client.message_reader", exc_type=ImportError).MessageReader

LIMIT = 10_000


def error_of(call, *arguments, **options) -> FramingError:
    with pytest.raises(FramingError) as raised:
        call(*arguments, **options)
    return raised.value


@contextmanager
def refused_at_most(*statuses: str) -> Iterator[None]:
    """What is within may be refused, by one of the statuses, and may not fail in any other way."""
    try:
        yield
    except FramingError as error:
        if error.status not in statuses:
            raise


# ---------------------------------------------------------------------------------------------------------------- messages


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8), st.lists(st.integers(1, 400), max_size=50))
def test_messages_are_read_whole_however_they_are_cut(messages, cuts):
    stream = b"".join(frame(message, compress=compress) for message, compress in messages)
    reader = MessageReader(LIMIT, "gzip")
    read = []
    while stream:
        cut = cuts.pop() if cuts else len(stream)
        whole = reader.read(stream[:cut])
        read += zip(whole, reader.compressed, strict=True)
        stream = stream[cut:]
    assert read == messages
    assert reader.is_between


def test_messages_are_read_when_cut_at_each_byte():
    stream = frame(b"first") + frame(b"") + frame(b"second" * 20, compress=True) + frame(b"third")
    for cut in range(len(stream) + 1):
        reader = MessageReader(LIMIT, "gzip")
        assert reader.read(stream[:cut]) + reader.read(stream[cut:]) == [b"first", b"", b"second" * 20, b"third"]
        assert reader.is_between


def test_a_message_that_has_begun_is_not_between():
    reader = MessageReader(LIMIT)
    assert reader.is_between
    for byte in frame(b"ab")[:-1]:
        assert reader.read(bytes([byte])) == []
        assert not reader.is_between
    assert reader.read(b"b") == [b"ab"]
    assert reader.is_between


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 31, (1 << 32) - 1])
def test_a_message_above_the_limit_is_refused_by_its_prefix(size):
    reader = MessageReader(LIMIT)
    assert reader.read(b"\0" + size.to_bytes(4, "big")[:3]) == []
    error = error_of(reader.read, size.to_bytes(4, "big")[3:])
    assert error.status == "RESOURCE_EXHAUSTED"
    assert error.message == f"a message of {size} bytes: expected at most {LIMIT}"


def test_a_message_of_the_limit_is_read():
    assert MessageReader(LIMIT).read(frame(bytes(LIMIT))) == [bytes(LIMIT)]
    assert MessageReader(LIMIT, "gzip").read(frame(bytes(LIMIT), compress=True)) == [bytes(LIMIT)]


@pytest.mark.parametrize("flag", [2, 7, 255])
def test_flags_that_mean_nothing_are_refused(flag):
    error = error_of(MessageReader(LIMIT, "gzip").read, bytes([flag]) + frame(b"x")[1:])
    assert error.status == "INTERNAL"
    assert error.message == f"a message begins with {flag}: expected 0, or 1 where it is compressed"


def test_compressed_messages_need_an_encoding():
    error = error_of(MessageReader(LIMIT).read, frame(b"x", compress=True))
    assert error.status == "INTERNAL"
    assert "grpc-encoding is identity: expected gzip" in error.message


@pytest.mark.parametrize(
    "message", [b"", random.Random(1).randbytes(300_000), bytes(1_000_000)], ids=["none", "noise", "zeros"]
)
def test_what_was_compressed_comes_back_whatever_pieces_it_is_inflated_in(message):
    packed = gzip.compress(message, mtime=0)
    assert decompressed(packed, len(message)) == message
    for wrong in (packed[:-1], packed + b"y", packed + bytes(100_000)):
        assert error_of(decompressed, wrong, len(message)).status == "INTERNAL"
    if message:
        assert error_of(decompressed, packed, len(message) - 1).status == "RESOURCE_EXHAUSTED"


def test_a_bomb_is_not_unpacked_beyond_the_limit():
    bomb = gzip.compress(bytes(64 << 20))
    tracemalloc.start()
    error = error_of(decompressed, bomb, 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert error.status == "RESOURCE_EXHAUSTED"
    assert peak < 4 << 20


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"\x1f\x8b",
        gzip.compress(b"x", mtime=0)[:-1],
        gzip.compress(b"x", mtime=0) + b"y",
        gzip.compress(b"x", mtime=0) * 2,
        zlib.compress(b"x"),
    ],
)
def test_what_is_not_one_whole_gzip_is_refused(body):
    assert error_of(decompressed, body, LIMIT).status == "INTERNAL"


def test_pieces_of_a_message_take_no_more_memory_than_its_bytes():
    reader = MessageReader(4 << 20)
    tracemalloc.start()
    assert reader.read(b"\0" + (200_000).to_bytes(4, "big")) == []
    for index in range(30_000):
        reader.read(b"%03d" % (index % 1_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 150_000), min_size=1, max_size=4), st.lists(st.integers(1, 70_000), min_size=1, max_size=8))
def test_messages_are_the_same_however_large_the_pieces_are_that_they_come_in(sizes, pieces):
    messages = [bytes([index]) * size for index, size in enumerate(sizes)]
    sent = b"".join(map(frame, messages))
    reader, found, position = MessageReader(1 << 20), [], 0
    while position < len(sent):
        piece = pieces[position % len(pieces)]
        found += reader.read(sent[position : position + piece])
        position = min(position + piece, len(sent))
        read_whole = sum(len(message) + 5 for message in found)
        assert reader.held_bytes == position - read_whole
        assert reader.is_between == (reader.held_bytes == 0)
    assert found == messages


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=10), st.sampled_from(["identity", "gzip"]))
def test_whatever_comes_is_read_or_refused(pieces, encoding):
    reader = MessageReader(100, encoding)
    with refused_at_most("INTERNAL", "RESOURCE_EXHAUSTED"):
        for piece in pieces:
            assert all(len(message) <= 100 for message in reader.read(piece))


def test_unframe_takes_one_whole_plain_message_and_nothing_else():
    assert unframe(frame(b"abc"), LIMIT) == b"abc"
    assert unframe(frame(b""), LIMIT) == b""
    for data in (b"", b"\0\0\0", frame(b"abc")[:-1], frame(b"a") + frame(b"b"), frame(b"a", compress=True), b"\7\0\0\0\0"):
        assert unframe(data, LIMIT) is None
    assert unframe(frame(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    assert unframe(frame(bytes(LIMIT + 1)), LIMIT) is None


# ---------------------------------------------------------------------------------------------------------------- metadata

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-.", min_size=1, max_size=20).filter(
    lambda name: not name.endswith("-bin")
)
PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=50).map(str.strip)
PAIRS = st.lists(
    st.one_of(st.tuples(NAMES, PRINTABLE), st.tuples(NAMES.map(lambda name: f"{name}-bin"), st.binary(max_size=50))), max_size=8
)


@given(PAIRS)
def test_metadata_comes_back_as_it_went(metadata):
    reserved = {"te", "content-type", "grpc-encoding", "grpc-accept-encoding", "grpc-timeout", "grpc-status", "grpc-message"}
    metadata = [(name, value) for name, value in metadata if name not in reserved]
    block = b"".join(name + b"\0" + value + b"\0" for name, value in header_pairs(metadata))
    assert metadata_of(pairs_of(block)) == metadata


def test_binary_metadata_comes_padded_or_not_and_joined():
    assert metadata_of([("a-bin", "YQ"), ("b-bin", "YQ=="), ("c-bin", "YQ, Yg==,"), ("d-bin", "")]) == [
        ("a-bin", b"a"),
        ("b-bin", b"a"),
        ("c-bin", b"a"),
        ("c-bin", b"b"),
        ("c-bin", b""),
        ("d-bin", b""),
    ]


@pytest.mark.parametrize("text", ["Y", "Y Q", "*", "YQ==YQ==", "\xe9\xe9", "=", "YQ\xa0", "\u0663"])
def test_binary_metadata_that_is_none_is_refused(text):
    error = error_of(metadata_of, [("x-bin", text)])
    assert error.status == "INTERNAL"
    assert error.message.startswith("metadata x-bin is ")


@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_any_binary_metadata_is_read_or_refused(text):
    with refused_at_most("INTERNAL"):
        metadata_of([("x-bin", text)])


@pytest.mark.parametrize(
    ("name", "value"),
    [("x", b"bytes"), ("x-bin", "text"), ("x", "line\nend"), ("x", "\0"), ("x", "ü"), ("ü", "x"), ("x", "\x7f")],
)
def test_metadata_that_http2_cannot_carry_is_refused(name, value):
    with pytest.raises(ValueError):  # noqa: PT011  UnicodeEncodeError is one
        header_pairs([(name, value)])


# ---------------------------------------------------------------------------------------------------------------- timeouts


@given(st.floats(1e-9, 9e7))
def test_timeouts_keep_their_first_digits(seconds):
    text = encode_timeout(seconds)
    assert 2 <= len(text) <= 9
    decoded = decode_timeout(text)
    assert decoded <= seconds * (1 + 1e-12)
    assert math.isclose(decoded, seconds, rel_tol=1e-4, abs_tol=1e-9)


@pytest.mark.parametrize("seconds", [0.0, -1.0, -1e9])
def test_a_timeout_that_has_passed_is_the_shortest_one(seconds):
    assert encode_timeout(seconds) == b"1n"


def test_a_timeout_beyond_the_digits_is_the_longest_one():
    assert encode_timeout(1e12) == b"99999999S"
    assert decode_timeout(b"99999999H") == 99_999_999 * 3_600


@pytest.mark.parametrize(
    "text", [b"", b"1", b"S", b"-1S", b"+1S", b" 1S", b"1.5S", b"1s", b"123456789S", b"1\xb2S", b"1S ", b"\xff"]
)
def test_timeouts_that_are_none_are_refused(text):
    error = error_of(decode_timeout, text)
    assert error.status == "INTERNAL"
    assert error.message.endswith("expected 1 to 8 digits and one of H, M, S, m, u, n")


@given(st.binary(max_size=12))
def test_any_timeout_is_read_or_refused(text):
    with refused_at_most("INTERNAL"):
        assert 0 <= decode_timeout(text) <= 99_999_999 * 3_600


# ---------------------------------------------------------------------------------------------------------------- messages


@given(st.text())
def test_status_messages_come_back_as_they_went(text):
    encoded = encode_message(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert decode_message(encoded.decode()) == text.encode("utf-8", "replace").decode()


def test_status_messages_are_plain_where_they_can_be():
    assert encode_message("a b, 100% sure: \t\u00fc") == b"a b, 100%25 sure: %09%C3%BC"
    assert decode_message("100% %zz %") == "100% %zz %"


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_any_status_message_has_a_text(text):
    assert isinstance(decode_message(text), str)


def test_noise_in_random_pieces_never_breaks_the_reader():
    chance = random.Random(7)
    for _ in range(3_000):
        reader = MessageReader(1_000, chance.choice(["identity", "gzip"]))
        stream = bytearray(
            b"".join(frame(chance.randbytes(chance.randrange(200)), compress=chance.random() < 0.5) for _ in range(4))
        )
        for _ in range(chance.randrange(4)):
            stream[chance.randrange(len(stream))] ^= 1 << chance.randrange(8)
        with refused_at_most("INTERNAL", "RESOURCE_EXHAUSTED"):
            while stream:
                cut = chance.randrange(1, 100)
                reader.read(bytes(stream[:cut]))
                del stream[:cut]
