"""Feast's online store in Redis and in SQLite, through its SDK, and Feast's own feature server over HTTP.

Tuned as its documentation says: one feature view, so that a read is one round trip; a registry that no read refreshes; entity
key serialization 3; ``skip_dedup``, by which writes to Redis need no read before; a feature server without access log, whose
process is not replaced after so many requests. A read ends in ``to_dict`` (over HTTP in the JSON's values), which is not yet
the matrix that the others answer: making that of it is not counted against Feast.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench import footprint
from bench.cores import started_on
from bench.dataset import Chunk, Floats, Indices
from bench.ports import free_port
from bench.redis_process import RedisProcess
from bench.subjects import Read, Subject, UnavailableError

os.environ["FEAST_USAGE"] = "False"  # before the import: no reports to the project from a benchmark

import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

KEY, VIEW, SERVICE = "user", "bench_floats", "bench_v1"
START_S = 120.0
NEVER_S = 10**9


class _Feast(Subject):
    in_process = False

    def open(self) -> None:
        self._repository = self.directory / "feast"
        self._repository.mkdir()
        configuration = {
            "project": "bench",
            "provider": "local",
            "registry": {"path": str(self._repository / "registry.db"), "cache_ttl_seconds": 0},  # 0: never refreshed
            "online_store": self._online_store(),
            "offline_store": {"type": "dask"},
            "entity_key_serialization_version": 3,
        }
        (self._repository / "feature_store.yaml").write_text(json.dumps(configuration))  # JSON is YAML
        self._store = FeatureStore(repo_path=str(self._repository))
        names = self.dataset.feature_names
        entity = Entity(name=KEY, join_keys=[KEY], value_type=ValueType.INT64)
        source = FileSource(path=str(self._repository / "unused.parquet"), timestamp_field="event_timestamp")
        schema = [Field(name=name, dtype=Float32) for name in names]
        view = FeatureView(name=VIEW, entities=[entity], ttl=timedelta(0), schema=schema, source=source, online=True)
        self._store.apply([entity, view, FeatureService(name=SERVICE, features=[view])])
        self._service = self._store.get_feature_service(SERVICE)

    def keys(self, indices: Indices) -> Any:
        return {KEY: self.dataset.integer_keys(indices).tolist()}

    def reader(self) -> Read:
        get, service = self._store.get_online_features, self._service
        return lambda keys: get(features=service, entity_rows=keys, full_feature_names=False).to_dict()

    def batch(self, chunk: Chunk) -> Any:
        frame = pd.DataFrame(chunk.floats, columns=self.dataset.feature_names)
        frame.insert(0, KEY, chunk.keys)
        frame["event_timestamp"] = pd.Timestamp.now(tz="UTC")
        return frame

    def write(self, batch: Any) -> None:
        self._store.write_to_online_store(VIEW, df=batch)

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        return np.array([answer[name] for name in self.dataset.feature_names], np.float32).T, []

    def _online_store(self) -> dict[str, Any]:
        raise NotImplementedError


class FeastRedis(_Feast):
    def open(self) -> None:
        if reason := RedisProcess.missing():
            raise UnavailableError(reason)
        self._redis = RedisProcess(self.directory, tcp=True, cores=self.server_cores)
        super().open()
        self._empty_bytes = self._used_bytes()

    def close(self) -> None:
        self._redis.stop()

    def outside_bytes(self) -> int:
        return self._used_bytes() - self._empty_bytes

    def _used_bytes(self) -> int:
        with self._redis.client() as client:
            memory = client.info("memory")
        return int(memory["used_memory"]) - int(memory["mem_clients_normal"])

    def _online_store(self) -> dict[str, Any]:
        return {"type": "redis", "connection_string": f"127.0.0.1:{self._redis.port}", "skip_dedup": True}


class FeastSqlite(_Feast):
    def close(self) -> None:
        self._store.teardown()

    def outside_bytes(self) -> int:
        return footprint.file_bytes(self._path.parent)

    @property
    def _path(self) -> Path:
        return self.directory / "sqlite" / "online.db"

    def _online_store(self) -> dict[str, Any]:
        self._path.parent.mkdir()
        return {"type": "sqlite", "path": str(self._path)}


class FeastHttp(FeastRedis):
    """``feast serve`` before the same Redis; one connection that is kept."""

    def open(self) -> None:
        super().open()
        self._port = free_port()
        command = [
            *(str(Path(sys.executable).with_name("feast")), "--chdir", str(self._repository), "serve"),
            *("--port", str(self._port), "--no-access-log", "--max-requests", "0", "--registry_ttl_sec", str(NEVER_S)),
        ]
        self._log = self.directory / "feast-serve.log"
        with self._log.open("wb") as log, started_on(self.server_cores):
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._await_ready()
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        super().close()

    def keys(self, indices: Indices) -> bytes:
        asked = {"feature_service": SERVICE, "entities": super().keys(indices), "full_feature_names": False}
        return json.dumps(asked).encode()

    def reader(self) -> Read:
        connection = self._connection
        headers = {"Content-Type": "application/json"}

        def read(body: bytes) -> Any:
            connection.request("POST", "/get-online-features", body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != http.client.OK:
                raise RuntimeError(f"feast serve answers {answer.status}: {text[:400]!r}")
            return json.loads(text)

        return read

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        values = [each["values"] for each in answer["results"]]
        return super().decode(dict(zip(answer["metadata"]["feature_names"], values, strict=True)))

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
            try:
                connection.request("GET", "/health")
                if connection.getresponse().status == http.client.OK:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"feast serve was not ready within {START_S:g} s: {self._log.read_text()[-2_000:]}")
            time.sleep(0.05)
