"""Checksums: any bit counts, wherever it stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.durability.checksum import checksum, message_checksum


@pytest.mark.parametrize("of", [checksum, message_checksum])
@given(data=st.binary(max_size=200))
def test_any_bit_and_any_byte_more_changes_it(of, data: bytes):
    found = of(data)
    for place in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            assert of(flipped) != found
    assert of(data + b"\0") != found
    assert of(data[:-1]) != found or not data


def test_they_are_what_is_on_disk():
    data = bytes(range(256)) * 300
    parts = (b"", data[:45], data)
    assert [f"{checksum(each):016x}" for each in parts] == ["9f2c0816d02e5659", "76257c3c44b0c6fc", "4ba5f45c4459a826"]
    assert [f"{message_checksum(each):016x}" for each in parts] == ["8ced3a0d202d3117", "3949744527315e3c", "cac38cda054de73a"]
