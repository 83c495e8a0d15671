"""The client against a real server process: what it does about a server that restarts or asks for a key, and its README.

What it reads and writes is in the repository's ``tests/conformance``, over every path.
"""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import featurestore_client
import pytest
from featurestore_client import UnauthenticatedError

NOW = datetime.now(UTC)

DEFINITIONS: dict[str, Any] = {
    "entities": [{"name": "user", "join_keys": [{"name": "user", "type": "int64"}]}],
    "feature_views": [{"name": "bulk", "entity": "user", "features": [{"name": "f0", "type": "float32"}]}],
}


def test_a_restart_in_the_middle_of_an_ingest_is_survived(start: Callable[..., Any]) -> None:
    process = start()
    restarted = threading.Thread(target=process.restart)
    with featurestore_client.connect(process.address) as client:
        client.apply(DEFINITIONS)

        def data() -> Iterator[dict[str, Any]]:
            for batch in range(40):
                if batch == 20:
                    restarted.start()
                yield {"user": [batch], "f0": [float(batch)], "event_timestamp": [NOW]}

        counts = client.ingest("bulk", data(), window=4)
        restarted.join()
        assert counts.rows == 40
        assert client.get(["bulk:f0"], {"user": [39]}).to_dict() == {"f0": [39.0]}


def test_an_api_key_is_asked_for(start: Callable[..., Any], connect: Any) -> None:
    process = start(FEATURESTORE_API_KEYS="one,two")
    assert connect(process.address, api_key="two").list_projects() is not None
    for key in (None, "three"):
        with pytest.raises(UnauthenticatedError):
            connect(process.address, api_key=key).list_projects()


def test_the_readme_prints_what_it_shows(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    blocks = re.findall(r"```(python|text)\n(.*?)```", text, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "text"] * 5
    names: dict[str, Any] = {}
    address = start().address
    for (_, code), (_, shown) in zip(blocks[::2], blocks[1::2], strict=True):
        exec(code.replace("grpc://127.0.0.1:7400", address), names)  # noqa: S102  our own page
        assert capsys.readouterr().out == shown
    names["client"].close()
