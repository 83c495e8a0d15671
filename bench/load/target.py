"""What is asked for: a selection of features on a running server, the keys to ask with, and the view that writes go to.

``find`` asks a server for what it needs to know; ``own_server`` starts one with a dataset whose answers can be checked.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from featurestore_client.wire import featurestore_raw_pb2 as raw

from bench import wire
from bench.certificate import Certificate
from bench.dataset import Dataset, Indices, Strings
from bench.load import keys
from bench.server_process import FeaturestoreServer
from bench.settings import Settings, SettingsError
from featurestore.model import DataType, FeatureService

LOAD_ROWS = 10_000
SERVICE = "bench_v1"
HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Target:
    """A server and what to ask it. ``schema_id`` is that of its answers, so that requests need no schema back."""

    address: str
    selected: bytes
    features: int
    schema_id: int
    source: keys.KeySource
    project: str = ""
    view: str = ""
    types: Mapping[str, str] | None = None

    def read_requests(self, rows: int, count: int, seed: int, zipf: float = 0.0) -> list[bytes]:
        """``count`` encoded reads of ``rows`` keys each."""
        return self.reads_of(keys.draw(self.source.count, (count, rows), zipf, np.random.default_rng(seed)))

    def reads_of(self, drawn: Indices) -> list[bytes]:
        """An encoded read of each row of key numbers."""
        return [wire.read_request(self.selected, self.source.columns(each), self.schema_id) for each in drawn]

    def write_requests(self, rows: int, count: int, seed: int, zipf: float = 0.0) -> list[bytes]:
        """``count`` encoded writes of ``rows`` rows of random values each, at the server's time."""
        assert self.types is not None, "writes need a view"
        random = np.random.default_rng(seed)
        drawn = keys.draw(self.source.count, (count, rows), zipf, random)
        requests = []
        for each in drawn:
            values = {name: _random_values(DataType.parse(text), rows, random) for name, text in self.types.items()}
            batch = wire.write_batch(self.source.columns(each), values, None)
            requests.append(wire.write_request(self.project, self.view, batch))
        return requests


def find(settings: Settings) -> Target:
    """The target on a running server. Raises SettingsError for settings that contradict each other or the server."""
    try:
        return _find(settings)
    except grpc.RpcError as error:
        raise SettingsError(f"{settings.server} answers {error.code().name}: {error.details()}") from None


def _find(settings: Settings) -> Target:
    host_port = wire.address(settings.server)
    if bool(settings.service) == bool(settings.features):
        raise SettingsError("with --server, give either --service NAME or --features view:feature,view:feature")
    selected = wire.selection(settings.project, settings.service, settings.features)
    with wire.Channel(host_port) as channel:
        types = _key_types(channel, settings)
        view_types = _view_types(channel, settings, types) if settings.write_share else {}
        count = settings.key_count or settings.rows
        path = Path(settings.key_file) if settings.key_file else None
        source = keys.of_file(types, path) if path else keys.of_range(types, count, settings.key_format)
        request = wire.read_request(selected, source.columns(np.zeros(1, np.int64)))
        answer = raw.GetFeaturesResponse.FromString(channel.send(wire.GET_FEATURES, request))
    features = len(raw.AnswerSchema.FromString(answer.schema).features)
    return Target(host_port, selected, features, answer.schema_id, source, settings.project, settings.view, view_types)


def _key_types(channel: wire.Channel, settings: Settings) -> dict[str, str]:
    if settings.service:
        asked = raw.DescribeFeatureServiceRequest(project=settings.project, name=settings.service)
        schema = channel.call("DescribeFeatureService", asked, raw.DescribeFeatureServiceResponse).schema
        return {key.name: key.type for key in schema.join_keys}
    types: dict[str, str] = {}
    for view in dict.fromkeys(feature.partition(":")[0] for feature in settings.features):
        types |= _entity_types(channel, settings.project, _view(channel, settings.project, view).entity)
    return types


def _view_types(channel: wire.Channel, settings: Settings, types: Mapping[str, str]) -> dict[str, str]:
    if not settings.view:
        raise SettingsError("--write-share needs --view, the feature view to write to")
    view = _view(channel, settings.project, settings.view)
    entity = _entity_types(channel, settings.project, view.entity)
    if entity != types:
        raise SettingsError(f"--view {settings.view} has join keys {entity}, expected those of the reads, {dict(types)}")
    return {feature.name: feature.type for feature in view.features}


def _view(channel: wire.Channel, project: str, name: str) -> raw.FeatureView:
    asked = raw.DescribeFeatureViewRequest(project=project, name=name)
    return channel.call("DescribeFeatureView", asked, raw.DescribeFeatureViewResponse).feature_view


def _entity_types(channel: wire.Channel, project: str, name: str) -> dict[str, str]:
    asked = raw.DescribeEntityRequest(project=project, name=name)
    entity = channel.call("DescribeEntity", asked, raw.DescribeEntityResponse).entity
    return {key.name: key.type for key in entity.join_keys}


def _random_values(kind: DataType, rows: int, random: np.random.Generator) -> npt.NDArray[np.generic] | Strings:
    if kind.is_variable:
        return keys.strings([f"value-{number}" for number in random.integers(0, 1_000_000, rows).tolist()])
    drawn = random.integers(0, 1_000, (rows, kind.length or 1))
    return np.ascontiguousarray(drawn.astype(kind.numpy).reshape(-1))


@dataclass(frozen=True)
class OwnServer:
    """A server that the bench started, with a dataset in it."""

    server: FeaturestoreServer
    dataset: Dataset
    target: Target

    def checked_read(self, indices: Indices) -> bytes:
        """The answer's bytes to a read of these rows, without schema. Raises RuntimeError unless it holds their values."""
        [request] = self.target.reads_of(indices[None, :])
        with wire.Channel(self.target.address, self.server.certificate) as channel:
            answer = channel.send(wire.GET_FEATURES, request)
        expected, found = self.dataset.chunk(indices).floats, wire.matrix(answer)
        if not np.array_equal(found, expected):
            raise RuntimeError(f"the server answers {len(indices)} rows wrongly: got {found}, expected {expected}")
        return answer


@contextmanager
def own_server(
    dataset: Dataset,
    memory_directory: Path,
    *,
    certificate: Certificate | None = None,
    **options: Any,
) -> Iterator[OwnServer]:
    """Starts ``featurestore serve``, defines the dataset's view and a service of all its features, and writes all rows.

    It is at rest then. ``options``: of ``FeaturestoreServer``.
    """
    with (
        FeaturestoreServer(memory_directory, certificate=certificate, **options) as server,
        wire.Channel(server.address, certificate) as channel,
    ):
        project, view = define(channel, dataset)
        event_us = time.time_ns() // 1_000 - HOUR_US
        source = keys.of_dataset(dataset)
        for start in range(0, dataset.rows, LOAD_ROWS):
            chunk = dataset.slice(start, start + LOAD_ROWS)
            columns = dict(zip(dataset.float_names, np.ascontiguousarray(chunk.floats.T), strict=True))
            numbers = np.arange(start, start + chunk.rows, dtype=np.int64)
            batch = wire.write_batch(source.columns(numbers), columns, event_us)
            channel.send(wire.WRITE_FEATURES, wire.write_request(project, view, batch))
        selected = wire.selection(project, SERVICE)
        request = wire.read_request(selected, source.columns(np.zeros(1, np.int64)))
        answer = raw.GetFeaturesResponse.FromString(channel.send(wire.GET_FEATURES, request))
        server.settle()
        types = dict.fromkeys(dataset.float_names, "float32")
        features = len(dataset.feature_names)
        yield OwnServer(
            server, dataset, Target(server.address, selected, features, answer.schema_id, source, project, view, types)
        )


def define(channel: wire.Channel, dataset: Dataset) -> tuple[str, str]:
    """Applies the definitions of a dataset, and returns its project and view."""
    view = dataset.view
    references = [{"view": view.name, "feature": name} for name in dataset.feature_names]
    service = FeatureService.model_validate({"name": SERVICE, "features": references})
    wanted = wire.definitions([dataset.entity], [view], [service])
    channel.call("Apply", raw.ApplyRequest(definitions=wanted), raw.ApplyResponse)
    return view.project, view.name
