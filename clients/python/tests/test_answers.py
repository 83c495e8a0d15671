"""Every form that a FeatureBatch takes holds what the server sent, and says what is not there."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from featurestore_client import FeatureBatch, ValueStatus
from featurestore_client.answers import AnswerSchema, matrix_of
from featurestore_client.wire import featurestore_raw_pb2 as wire

PRESENT, NULL, NOT_FOUND, EXPIRED = (status.value for status in ValueStatus)


def answer_of(
    features: list[tuple[str, str, int]], views: list[str], *, expired_values: bool = False, **fields: Any
) -> FeatureBatch:
    schema = wire.AnswerSchema(
        features=[wire.AnswerFeature(name=name, type=text, view_index=index) for name, text, index in features], views=views
    )
    answer = wire.GetFeaturesResponse(schema_id=7, schema=schema.SerializeToString(), **fields)
    received = wire.GetFeaturesResponse.FromString(answer.SerializeToString())
    return FeatureBatch.decode(received, AnswerSchema.decode(7, received.schema), expired_values=expired_values)


@pytest.fixture
def matrix_batch() -> FeatureBatch:
    """Three rows: all there; a null and an absent view; expired."""
    nan = np.nan
    return answer_of(
        [("a", "float32", 0), ("b", "float32", 0), ("c", "float32", 1)],
        ["carriers", "airports"],
        rows=3,
        matrix=wire.Column(float32s=np.array([[1, 2, 3], [4, nan, nan], [nan, nan, 9]], np.float32).tobytes()),
        row_statuses=bytes([PRESENT, PRESENT, EXPIRED, PRESENT, NOT_FOUND, PRESENT]),
        nulls=bytes([0b000, 0b010, 0b000]),
        event_timestamps_us=np.array([10, 20, 30, 40, 0, 60]).tobytes(),
    )


def strings(data: bytes, *offsets: int) -> wire.Column:
    return wire.Column(data=data, offsets=np.array(offsets, np.int32).tobytes())


MIXED: list[tuple[str, str, Any, list[Any]]] = [
    ("flag", "bool", wire.Column(bools=b"\x01\x00\x00"), [True, False, None]),
    ("small", "int32", wire.Column(int32s=np.array([1, -2, 0], np.int32).tobytes()), [1, -2, None]),
    ("large", "int64", wire.Column(int64s=np.array([2**62, -2, 0]).tobytes()), [2**62, -2, None]),
    ("single", "float32", wire.Column(float32s=np.array([0.5, 2, np.nan], np.float32).tobytes()), [0.5, 2.0, None]),
    ("double", "float64", wire.Column(float64s=np.array([0.1, 2, np.nan]).tobytes()), [0.1, 2.0, None]),
    (
        "at",
        "timestamp",
        wire.Column(int64s=np.array([1, 86_400_000_000, 0]).tobytes()),
        [datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC), None],
    ),
    (
        "text",
        "string",
        strings("grüßea".encode(), 0, 7, 8, 8),
        ["grüße", "a", None],
    ),
    ("plain", "string", strings(b"abc", 0, 2, 3, 3), ["ab", "c", None]),
    (
        "blob",
        "bytes",
        strings(b"\xff\x00c", 0, 2, 3, 3),
        [b"\xff\x00", b"c", None],
    ),
    (
        "vector",
        "float32[2]",
        wire.Column(float32s=np.array([1, 2, 3, 4, np.nan, np.nan], np.float32).tobytes()),
        [[1.0, 2.0], [3.0, 4.0], None],
    ),
]


@pytest.fixture
def mixed_batch() -> FeatureBatch:
    """Every type in a column of its own; nothing is there in the third row."""
    return answer_of(
        [(name, text, 0) for name, text, _, _ in MIXED],
        ["things"],
        rows=3,
        columns=[column for _, _, column, _ in MIXED],
        row_statuses=bytes([PRESENT, PRESENT, NOT_FOUND]),
    )


def test_one_dtype_gives_a_matrix_without_a_copy(matrix_batch: FeatureBatch) -> None:
    matrix = matrix_batch.to_numpy()
    assert isinstance(matrix, np.ndarray)
    np.testing.assert_array_equal(matrix, np.array([[1, 2, 3], [4, np.nan, np.nan], [np.nan, np.nan, 9]], np.float32))
    assert matrix.dtype == np.float32
    assert not matrix.flags.writeable
    assert not matrix.flags.owndata
    assert matrix_batch.to_numpy() is matrix
    assert np.shares_memory(matrix_batch["b"], matrix)
    assert len(matrix_batch) == matrix_batch.rows == 3
    assert matrix_batch.names == ("a", "b", "c")
    assert matrix_batch.types == {"a": "float32", "b": "float32", "c": "float32"}


def test_statuses_join_rows_and_nulls(matrix_batch: FeatureBatch) -> None:
    expected = [[PRESENT, PRESENT, PRESENT], [PRESENT, NULL, NOT_FOUND], [EXPIRED, EXPIRED, PRESENT]]
    assert matrix_batch.statuses.tolist() == expected
    assert matrix_batch.statuses.dtype == np.uint8


def test_statuses_are_all_present_where_nothing_is_said() -> None:
    batch = answer_of([("a", "float32", 0)], ["v"], rows=2, matrix=wire.Column(float32s=bytes(8)))
    assert batch.statuses.tolist() == [[PRESENT], [PRESENT]]
    assert batch.event_timestamps is None


def test_event_timestamps_are_by_row_and_view(matrix_batch: FeatureBatch) -> None:
    times = matrix_batch.event_timestamps
    assert times is not None
    assert matrix_batch.views == ("carriers", "airports")
    np.testing.assert_array_equal(times, np.array([[10, 40], [20, "NaT"], [30, 60]], "M8[us]"))


def test_expired_values_are_values_where_they_were_asked_for() -> None:
    fields: dict[str, Any] = {
        "rows": 2,
        "matrix": wire.Column(int64s=np.array([5, 6, 7, 0]).tobytes()),
        "row_statuses": bytes([PRESENT, EXPIRED]),
        "nulls": bytes([0, 0b10]),
    }
    features = [("a", "int64", 0), ("b", "int64", 0)]
    assert answer_of(features, ["v"], **fields).to_dict() == {"a": [5, None], "b": [6, None]}
    asked = answer_of(features, ["v"], expired_values=True, **fields)
    assert asked.to_dict() == {"a": [5, 7], "b": [6, None]}
    assert asked.statuses.tolist() == [[PRESENT, PRESENT], [EXPIRED, EXPIRED]]


def test_mixed_types_give_a_dict_of_arrays(mixed_batch: FeatureBatch) -> None:
    arrays = mixed_batch.to_numpy()
    assert isinstance(arrays, dict)
    assert list(arrays) == [name for name, _, _, _ in MIXED]
    assert arrays["vector"].shape == (3, 2)
    assert arrays["at"].dtype == np.dtype("M8[us]")
    assert arrays["text"].tolist() == ["grüße", "a", ""]
    assert mixed_batch["large"] is arrays["large"]
    with pytest.raises(KeyError):
        mixed_batch["missing"]


def test_mixed_types_give_one_structured_array_on_request(mixed_batch: FeatureBatch) -> None:
    table = mixed_batch.to_numpy(structured=True)
    assert table.shape == (3,)
    assert table["vector"].tolist()[1] == [3.0, 4.0]
    assert table[1]["plain"] == "c"


def test_to_dict_holds_python_values_and_none(mixed_batch: FeatureBatch, matrix_batch: FeatureBatch) -> None:
    assert mixed_batch.to_dict() == {name: values for name, _, _, values in MIXED}
    assert matrix_batch.to_dict() == {"a": [1.0, 4.0, None], "b": [2.0, None, None], "c": [3.0, None, 9.0]}


def test_to_arrow_holds_the_types_and_nulls(mixed_batch: FeatureBatch, matrix_batch: FeatureBatch) -> None:
    batch = mixed_batch.to_arrow()
    batch.validate(full=True)
    assert batch.to_pydict() == {name: values for name, _, _, values in MIXED}
    assert batch.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert batch.schema.field("vector").type == pa.list_(pa.float32(), 2)
    matrix_batch.to_arrow().validate(full=True)
    assert matrix_batch.to_arrow().to_pydict() == matrix_batch.to_dict()


def test_to_pandas_is_missing_where_a_value_is(mixed_batch: FeatureBatch, matrix_batch: FeatureBatch) -> None:
    frame = mixed_batch.to_pandas()
    assert frame.isna().to_numpy().tolist() == [[False] * len(MIXED)] * 2 + [[True] * len(MIXED)]
    for name, text, _, values in MIXED:
        there = frame[name].tolist()[:2]
        assert [each.tolist() for each in there] == values[:2] if text == "float32[2]" else there == values[:2]
    assert frame["large"].dtype == pd.Int64Dtype()
    frame = matrix_batch.to_pandas()
    assert frame.dtypes.tolist() == [np.float32] * 3
    frame.loc[0, "a"] = 5.0  # a frame of one's own, unlike the answer


def test_a_matrix_of_vectors_and_one_of_strings() -> None:
    elements = np.arange(12, dtype=np.float64)
    vectors = answer_of(
        [("u", "float64[2]", 0), ("w", "float64[4]", 0)], ["v"], rows=2, matrix=wire.Column(float64s=elements.tobytes())
    )
    matrix = vectors.to_numpy()
    assert isinstance(matrix, np.ndarray)
    assert matrix.shape == (2, 6)
    assert vectors["w"].tolist() == [[2, 3, 4, 5], [8, 9, 10, 11]]
    vectors.to_arrow().validate(full=True)
    assert vectors.to_arrow().to_pydict() == vectors.to_dict()
    texts = answer_of([("s", "string", 0), ("t", "string", 0)], ["v"], rows=2, matrix=strings(b"abc", 0, 1, 2, 2, 3))
    assert texts.to_dict() == {"s": ["a", ""], "t": ["b", "c"]}
    assert texts.to_arrow().to_pydict() == texts.to_dict()


def test_to_torch_gives_tensors(matrix_batch: FeatureBatch) -> None:
    torch = pytest.importorskip("torch")
    tensor = matrix_batch.to_torch()
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(tensor.numpy(), matrix_batch.to_numpy())
    tensor[0, 0] = 5.0
    columns = answer_of(
        [("a", "int64", 0), ("b", "bool", 0)],
        ["v"],
        rows=2,
        columns=[wire.Column(int64s=np.array([1, 2]).tobytes()), wire.Column(bools=b"\x01\x00")],
    ).to_torch()
    assert columns["a"].tolist() == [1, 2]
    assert columns["b"].dtype == torch.bool


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for package in ("pandas", "pyarrow", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    return


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize(("method", "extra"), [("to_pandas", "pandas"), ("to_arrow", "arrow"), ("to_torch", "torch")])
def test_an_absent_extra_is_named(matrix_batch: FeatureBatch, method: str, extra: str) -> None:
    with pytest.raises(ImportError, match=rf"pip install 'featurestore-client\[{extra}\]'"):
        getattr(matrix_batch, method)()


def schema_of(*types: str) -> AnswerSchema:
    features = [wire.AnswerFeature(name=f"f{index}", type=text) for index, text in enumerate(types)]
    return AnswerSchema.decode(7, wire.AnswerSchema(features=features, views=["v"]).SerializeToString())


@pytest.mark.parametrize("rows", [1, 127, 128, 16_384])
@pytest.mark.parametrize("rest", [{}, {"row_statuses": b"\x02", "nulls": b"\x01", "event_timestamps_us": bytes(8)}])
def test_a_matrix_is_found_where_protobuf_finds_it(rows: int, rest: dict[str, bytes]) -> None:
    schema = schema_of("float32[3]", "float32")
    values = np.arange(rows * 4, dtype=np.float32).tobytes()
    answer = wire.GetFeaturesResponse(rows=rows, schema_id=7, matrix=wire.Column(float32s=values), **rest)
    assert matrix_of(answer.SerializeToString(), schema) == (rows, values, wire.GetFeaturesResponse(**rest))


def test_an_answer_of_another_form_is_left_to_protobuf() -> None:
    schema = schema_of("float32", "float32")
    answer = wire.GetFeaturesResponse(rows=1, schema_id=7, matrix=wire.Column(float32s=bytes(8)))
    encoded = answer.SerializeToString()
    assert matrix_of(encoded, schema) is not None
    assert matrix_of(encoded, schema_of("float32", "int64")) is None
    assert matrix_of(encoded, schema_of("string")) is None
    assert matrix_of(encoded, schema_of("float32")) is None
    assert all(matrix_of(encoded[:end], schema) is None for end in range(len(encoded)))
    for changed in ({"schema_id": 8}, {"rows": 2}, {"schema": b"x"}, {"matrix": wire.Column(float64s=bytes(8))}):
        fields = {"rows": 1, "schema_id": 7, "matrix": answer.matrix, **changed}
        assert matrix_of(wire.GetFeaturesResponse(**fields).SerializeToString(), schema) is None
