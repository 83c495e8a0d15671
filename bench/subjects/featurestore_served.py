"""The feature store as a model server uses it: ``featurestore serve``, our Python client, one subject a way in.

Rows come in by ``Client.ingest`` and go out by ``Client.get`` of a feature service. Memory is the server's segments.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import featurestore_client
import numpy as np
from featurestore_client.busy_polling import BUSY_POLL_US

from bench import footprint, wire
from bench.dataset import Chunk, Floats, Indices
from bench.load.target import SERVICE, define
from bench.server_process import FeaturestoreServer
from bench.subjects import Read, Subject, UnavailableError

KEY = "user"


class _Served(Subject):
    # Ends look for each other as by default where a process has several cores: pinned to one, they would not.
    in_process = False
    transport: Literal["native", "grpcio"] = "native"

    def open(self) -> None:
        with ExitStack() as stack:
            self._server = stack.enter_context(
                FeaturestoreServer(self.directory, cores=self.server_cores, busy_poll_us=BUSY_POLL_US)
            )
            with wire.Channel(self._server.address) as channel:
                _, self._view = define(channel, self.dataset)
            try:
                self._client = stack.enter_context(self._connect(self._url()))
                self._client.get(SERVICE, {KEY: [0]})
                self._writer = stack.enter_context(self._connect(self._write_url()))
            except (featurestore_client.FeatureStoreError, OSError, ValueError) as error:
                raise UnavailableError(f"connecting to {self._url()} fails: {error}") from None
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()

    def keys(self, indices: Indices) -> Any:
        return {KEY: self.dataset.integer_keys(indices)}

    def reader(self) -> Read:
        get = self._client.get
        return lambda keys: get(SERVICE, keys).to_numpy()

    def batch(self, chunk: Chunk) -> Mapping[str, Any]:
        columns = zip(self.dataset.float_names, np.ascontiguousarray(chunk.floats.T), strict=True)
        return {KEY: chunk.keys, **dict(columns)}

    def write(self, batch: Any) -> None:
        self._writer.ingest(self._view, batch)

    def settle(self) -> bool:
        self._server.settle()
        return False

    def outside_bytes(self) -> int:
        return footprint.file_bytes(self._server.directory / "segments")

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        return answer, []

    def _connect(self, url: str) -> featurestore_client.Client:
        return featurestore_client.connect(url, transport=self.transport, busy_poll_us=BUSY_POLL_US)

    def _url(self) -> str:
        raise NotImplementedError

    def _write_url(self) -> str:
        return self._url()


class FeaturestoreGrpc(_Served):
    def _url(self) -> str:
        return self._server.url


class FeaturestoreGrpcio(FeaturestoreGrpc):
    transport = "grpcio"


class FeaturestoreUnix(_Served):
    def _url(self) -> str:
        return self._server.unix_url


class FeaturestoreShm(_Served):
    """Reads from the server's segments, in this process. Writes go to the server over its unix socket."""

    def _url(self) -> str:
        return f"shm://{self._server.address}"

    def _write_url(self) -> str:
        return self._server.unix_url
