"""memcached with one packed row a key, through libmc (a client in C++): ``get_multi`` over TCP.

Keys are the decimal digits of the int64, since the text protocol allows no other bytes. Memory is the server's own.
"""

import shutil
import socket
import subprocess
import time
from typing import Any

import libmc

from bench import footprint
from bench.cores import started_on
from bench.dataset import Chunk, Indices
from bench.ports import free_port
from bench.subjects import Read, UnavailableError
from bench.subjects.packed_rows import PackedRows, split

START_S = 10.0
MEMORY_MAX_MB = 8_192


class MemcachedRows(PackedRows):
    in_process = False

    def open(self) -> None:
        if not shutil.which("memcached"):
            raise UnavailableError("memcached is not installed")
        port = free_port()
        # The limit is high enough for nothing to be evicted; one thread, as one core is the server's.
        options = ("-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", "1", "-m", str(MEMORY_MAX_MB), "-u", "root")
        with started_on(self.server_cores):
            self._process = subprocess.Popen(["memcached", *options], stderr=subprocess.DEVNULL)
        self._await_ready(port)
        self._client = libmc.Client([f"127.0.0.1:{port}"])
        self._empty_bytes = footprint.private_bytes(self._process.pid)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()

    def calls(self, indices: Indices) -> list[Any]:
        keys = [str(key) for key in self.dataset.integer_keys(indices.reshape(-1)).tolist()]
        return [keys[start : start + indices.shape[1]] for start in range(0, len(keys), indices.shape[1])]

    def reader(self) -> Read:
        get, get_multi, matrix = self._client.get, self._client.get_multi, self.matrix

        def read(keys: Any) -> Any:
            if len(keys) == 1:
                return matrix((get(keys[0]),))
            found = get_multi(keys)
            return matrix([found[key] for key in keys])

        return read

    def batch(self, chunk: Chunk) -> Any:
        assert not isinstance(chunk.keys, tuple), "this subject takes no part where keys are strings"
        keys = [str(key) for key in chunk.keys.tolist()]
        return dict(zip(keys, split(chunk.floats.tobytes(), self._float_bytes), strict=True))

    def write(self, batch: Any) -> None:
        if not self._client.set_multi(batch):
            raise RuntimeError("memcached refused rows")

    def outside_bytes(self) -> int:
        return footprint.private_bytes(self._process.pid) - self._empty_bytes

    def _await_ready(self, port: int) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise RuntimeError(f"memcached did not start within {START_S:g} s") from None
                time.sleep(0.01)
