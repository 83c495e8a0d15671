"""Structured logs on standard error: one event a line, as text for people or as JSON for machines.

A record's message names the event; what belongs to it comes as ``extra={"fields": {...}}`` and stands apart, so that a search
for ``event="serving"`` finds it whatever the values are.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal

LogFormat = Literal["text", "json"]


def configure_logs(log_format: LogFormat, level: str, process: str = "") -> None:
    """Sends all of the process's logs to standard error in this format, each line with the process's name if it has one."""
    handler = logging.StreamHandler(sys.stderr)
    if process:
        handler.addFilter(lambda record: _add_field(record, "process", process))
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("grpc").setLevel(logging.WARNING)


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """What belongs to the event."""
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def _add_field(record: logging.LogRecord, name: str, value: str) -> bool:
    record.fields = {name: value, **fields_of(record)}
    return True


def _time_text(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time_text(record), "level": record.levelname, "event": record.getMessage(), **fields_of(record)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_plain(value)}" for name, value in fields_of(record).items())
        line = f"{_time_text(record)} {record.levelname:<7} {record.getMessage()}{fields}"
        return line + ("\n" + self.formatException(record.exc_info) if record.exc_info else "")


def _plain(value: object) -> str:
    text = str(value)
    return json.dumps(text) if not text or any(character.isspace() or character == '"' for character in text) else text
