"""Redis as an online store, through redis-py with hiredis: over a unix socket on the same host, or (``...Tcp``) over TCP.

``redis_hash`` is the usual layout: a hash an entity, a field a feature (float32 bytes). ``redis_packed`` is the best we know: a
string an entity with the packed row, read by one GET or MGET (strings follow the floats by msgpack). ``redis_raw`` asks for
the same rows over a plain socket, commands made before and answers viewed where they came: no client can be faster.
"""

import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.dataset import Chunk, Floats, Indices
from bench.redis_process import RedisProcess
from bench.subjects import Read, UnavailableError
from bench.subjects.packed_rows import PackedRows, split

ANSWER_S = 10


class _Redis(PackedRows):
    in_process = False
    tcp = False

    def open(self) -> None:
        if reason := RedisProcess.missing():
            raise UnavailableError(reason)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = RedisProcess(self.directory, tcp=self.tcp, cores=self.server_cores)
        self._client = self._process.client()
        self._empty_bytes = self._used_bytes()

    def close(self) -> None:
        self._client.close()
        self._process.stop()

    def _used_bytes(self) -> int:
        memory = self._client.info("memory")
        # Buffers of the connection that loaded the rows are not the rows'.
        return int(memory["used_memory"]) - int(memory["mem_clients_normal"])

    def outside_bytes(self) -> int:
        return self._used_bytes() - self._empty_bytes

    def reader(self) -> Read:
        client = self._process.client()
        return lambda keys: self._read(client, keys)

    def _read(self, client: Any, keys: Any) -> Any:
        raise NotImplementedError


class RedisPacked(_Redis):
    def _read(self, client: Any, keys: Any) -> Any:
        return self.matrix(client.mget(keys) if len(keys) > 1 else (client.get(keys[0]),))

    def batch(self, chunk: Chunk) -> Any:
        return dict(self.items(chunk))

    def write(self, batch: Any) -> None:
        self._client.mset(batch)


class RedisHash(_Redis):
    def open(self) -> None:
        super().open()
        self._fields = [name.encode() for name in self.dataset.feature_names]

    def _read(self, client: Any, keys: Any) -> Any:
        if len(keys) == 1:
            return self.matrix(client.hmget(keys[0], self._fields))
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, self._fields)
        return self.matrix([value for row in pipeline.execute() for value in row])

    def batch(self, chunk: Chunk) -> Any:
        rows = (dict(zip(self._fields, split(row, 4), strict=True)) for row in split(chunk.floats.tobytes(), self._float_bytes))
        return list(zip(split(self._integer_keys(chunk).tobytes(), 8), rows, strict=True))

    @staticmethod
    def _integer_keys(chunk: Chunk) -> npt.NDArray[np.int64]:
        assert isinstance(chunk.keys, np.ndarray), "this subject takes no part where keys are strings"
        return chunk.keys

    def write(self, batch: Any) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for key, row in batch:
            pipeline.hset(key, mapping=row)
        pipeline.execute()

    def load(self, chunk: Chunk) -> None:
        # Mass insertion, as Redis's documentation has it: the commands' bytes, made at once, straight into the socket. Every
        # command has the same length, so that they are one matrix in which only keys and values differ.
        head = b"*%d\r\n$4\r\nHSET\r\n$8\r\n" % (2 + 2 * len(self._fields))
        template = bytearray(head + bytes(8) + b"\r\n")
        places = []
        for field in self._fields:
            template += b"$%d\r\n%b\r\n$4\r\n" % (len(field), field)
            places.append(len(template))
            template += bytes(4) + b"\r\n"
        commands = np.empty((chunk.rows, len(template)), np.uint8)
        commands[:] = np.frombuffer(template, np.uint8)
        commands[:, len(head) : len(head) + 8] = self._integer_keys(chunk).view(np.uint8).reshape(-1, 8)
        values = chunk.floats.view(np.uint8).reshape(chunk.rows, -1, 4)
        for number, place in enumerate(places):
            commands[:, place : place + 4] = values[:, number]
        answer = b":%d\r\n" % len(self._fields)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._process.socket))
            # In parts that answer less than a socket buffer holds, so that neither side waits for the other to read.
            for start in range(0, chunk.rows, 1_000):
                part = commands[start : start + 1_000]
                connection.sendall(part.tobytes())
                expected = answer * len(part)
                received = b""
                while len(received) < len(expected):
                    received += connection.recv(1 << 16)
                if received != expected:
                    raise RuntimeError(f"redis-server refused a row: {received[:200]!r}, expected {answer!r} for each")

    def decode(self, answer: Any) -> tuple[Floats, Sequence[Sequence[str]]]:
        return answer, []


class RedisHashTcp(RedisHash):
    tcp = True


class RedisPackedTcp(RedisPacked):
    tcp = True


class RedisRawTcp(RedisPackedTcp):
    def calls(self, indices: Indices) -> list[Any]:
        return [(len(keys), _command(keys)) for keys in super().calls(indices)]

    def reader(self) -> Read:
        connection = socket.create_connection(("127.0.0.1", self._process.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A row that is missing makes the answer shorter than what is waited for. (Python's own timeout polls before a recv.)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", ANSWER_S, 0))
        send, receive, receive_into = connection.sendall, connection.recv, connection.recv_into
        width, value_head = self._width, b"$%d\r\n" % self._float_bytes
        stride = len(value_head) + self._float_bytes + len(b"\r\n")

        def read(call: Any) -> Any:
            rows, command = call
            # Rows of one length make an answer of one length: nothing has to be parsed to know where its values are.
            head = b"*%d\r\n" % rows + value_head
            size = len(head) - len(value_head) + rows * stride
            send(command)
            answer: bytes | bytearray = receive(size)
            if len(answer) < size:
                whole = bytearray(size)
                whole[: len(answer)] = answer
                view, done = memoryview(whole), len(answer)
                while done < size:
                    if not (more := receive_into(view[done:])):
                        raise ConnectionError(f"redis-server closed the connection after {done} bytes of {size}")
                    done += more
                answer = whole
            if not answer.startswith(head):
                raise ConnectionError(f"redis-server answers {bytes(answer[:80])!r}, expected {head!r}")
            return np.ndarray((rows, width), np.float32, answer, len(head), (stride, 4))

        return read


def _command(keys: list[bytes]) -> bytes:
    parts = [b"MGET", *keys]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
