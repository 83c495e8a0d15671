"""Every option of the server: its type, default, bounds and meaning, in one place.

Filled, the strongest first, from flags of the command line, the environment (``FEATURESTORE_...``) and a TOML or YAML file.
``load_settings`` also says where each value came from. Nothing else in the program reads the environment for these.
"""

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, model_validator

from featurestore.address import Address
from featurestore.errors import InvalidArgumentError, Violation, nearest, shorten
from featurestore.memory_size import bytes_of

ENVIRONMENT_PREFIX = "FEATURESTORE_"
MAX_MEMORY_BYTES_MIN = 1 << 20
COUNT_MAX = 1 << 62
"""Of bytes and rows: what the kernel counts in is 64 bits wide."""
SHARDS_MAX = 1_024
Source = Literal["default", "file", "environment", "flag"]


def _listen_address(text: str) -> str:
    Address.parse(text)
    return text


def _unix_socket(text: str) -> str:
    if text not in ("auto", "off") and not Path(text).is_absolute():
        raise ValueError("expected auto, off, or an absolute path such as /run/featurestore/127.0.0.1-7400.sock")
    return text


def _max_memory(value: Any) -> Any:
    text = str(value) if isinstance(value, int) else value
    if isinstance(text, str) and not MAX_MEMORY_BYTES_MIN <= bytes_of(text) <= COUNT_MAX:
        raise ValueError(f"expected at least {MAX_MEMORY_BYTES_MIN >> 20} MiB, and no more than {COUNT_MAX} bytes")
    return text


class Settings(BaseModel):
    """The server's settings. The text of each is its meaning; `featurestore config` prints them all."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    directory: Path = Field(Path("featurestore-data"), description="where definitions and the journal are kept")
    segments: Path | None = Field(
        None, description="where rows are mapped; /dev/shm/featurestore-<user>-<directory> when not set"
    )

    fsync: Literal["always", "interval", "never"] = Field(
        "interval",
        description="when the disk has a write: before it is acknowledged, every fsync_interval_s, or when the system sees fit",
    )
    fsync_interval_s: float = Field(
        1.0, gt=0, le=3_600, description="with fsync interval: what a loss of power may take, at most, in seconds of writes"
    )

    snapshot_bytes_min: int = Field(
        256 << 20,
        ge=1,
        le=COUNT_MAX,
        description="bytes of the journal from which on a snapshot takes its place, if the rows take no more",
    )

    versions_kept: int = Field(
        1, ge=0, le=100, description="earlier versions of a view's rows that rollback can bring back, where loads replace them"
    )
    replace_idle_s: float = Field(
        60.0, gt=0, le=86_400, description="seconds without a stream until a load that replaces a view's rows is given up"
    )

    listen: Annotated[str, AfterValidator(_listen_address)] = Field(
        "127.0.0.1:7400", description="HOST:PORT of gRPC; port 0 takes a free one"
    )
    workers: int = Field(
        0, ge=0, le=256, description="processes that read, beside one that owns the store and writes; 0: one process does all"
    )
    grpc_engine: Literal["auto", "native", "grpcio"] = Field(
        "auto", description="what speaks gRPC: native (libnghttp2), grpcio, or auto: native where it is built"
    )
    unix_socket: Annotated[str, AfterValidator(_unix_socket)] = Field(
        "auto",
        description="path of a socket for callers of this machine; auto: where clients look, unless TLS is on; off: none",
    )
    shared_memory: Literal["off", "owner", "group", "all"] = Field(
        "group", description="whose clients on this machine may map the tables and read them without a call"
    )
    connection_age_max_s: float | None = Field(
        None, gt=0, description="after which clients are asked to connect anew, as load balancers need; never when not set"
    )
    busy_poll_us: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="how long the native engine looks for the next request before it sleeps, while they follow one another so "
        "closely; 0: not at all; 200 when not set, or 0 where the process may use one core alone",
    )
    insecure: bool = Field(False, description="listen beyond this machine without both TLS and API keys")
    tls_certificate: Path | None = Field(None, description="PEM file of the server's certificate chain; turns TLS on")
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of authorities; clients must show a certificate of theirs (mTLS)"
    )
    api_keys: tuple[SecretStr, ...] = Field((), description="keys of which each call must carry one; with commas between them")
    api_keys_file: Path | None = Field(
        None,
        description="file with an API key a line, beside those of api_keys; # begins a comment, but not within a key",
    )
    message_bytes_max: int = Field(64 << 20, ge=1 << 10, le=2**31 - 1, description="bytes of one request message")

    read_rows_max: int = Field(10_000, ge=1, le=10_000_000, description="rows of one GetFeatures request")
    read_bytes_max: int = Field(
        256 << 20, ge=1 << 10, le=2**31 - 1, description="bytes of one answer: of its numbers, and of its strings"
    )
    batch_rows_max: int = Field(1_000_000, ge=1, le=COUNT_MAX, description="rows of one write or delete")
    rows_max: int = Field(200_000_000, ge=1, le=COUNT_MAX, description="rows of all tables")
    max_memory: Annotated[str | None, BeforeValidator(_max_memory)] = Field(
        None,
        description="memory of all tables: bytes such as 8GB or 512MiB, or a share of the machine's such as 80%; when not set, "
        "what the machine has",
    )
    key_bytes_max: int = Field(1_024, ge=8, le=65_535, description="bytes of one key")
    value_bytes_max: int = Field(1 << 20, ge=1, le=1 << 30, description="bytes of one string or bytes value")
    shards: int = Field(16, ge=1, le=SHARDS_MAX, description="shards of a new table; a power of two")
    delete_window_s: float = Field(
        86_400, gt=0, le=1e9, description="for so long a deleted row is kept from coming back by a late event"
    )
    reclaim_rows_per_s: int = Field(
        100_000, ge=1, le=10**9, description="pace at which rows past their retention leave memory, per table"
    )

    log_format: Literal["text", "json"] = Field("text", description="log lines for people or for machines")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least serious events that are logged"
    )
    drain_timeout_s: float = Field(10, ge=0, le=3_600, description="how long calls in flight may take to end after SIGTERM")

    @model_validator(mode="before")
    @classmethod
    def _split_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("api_keys"), str):
            keys = [key.strip() for key in data["api_keys"].split(",")]
            return {**data, "api_keys": [key for key in keys if key]}
        return data

    @model_validator(mode="after")  # its errors read "setting|got|expected"
    def _consistent(self) -> "Settings":
        if self.shards & (self.shards - 1):
            raise ValueError(f"shards|{self.shards}|a power of two such as 16")
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise ValueError(f"{missing}|nothing|a file, because TLS needs both a certificate and its key")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("tls_certificate|nothing|a file, because tls_client_ca asks clients for certificates over TLS")
        return self

    @property
    def memory_bytes_max(self) -> int | None:
        """What ``max_memory`` comes to here."""
        return None if self.max_memory is None else bytes_of(self.max_memory)

    @property
    def segments_directory(self) -> Path:
        """Where rows are mapped."""
        if self.segments is not None:
            return self.segments
        return default_segments(self.directory)


def default_segments(directory: Path) -> Path:
    """The place in memory that belongs to a directory, the same each time it is opened by the same user."""
    name = blake2b(os.fsencode(directory.resolve()), digest_size=6).hexdigest()
    return Path("/dev/shm") / f"featurestore-{os.getuid()}-{name}"  # noqa: S108  no temporary file: shared memory of our own name


def load_settings(flags: Mapping[str, Any], file: Path | None = None) -> tuple[Settings, dict[str, Source]]:
    """The settings and where each came from. ``flags`` that are None were not given.

    InvalidArgumentError, in sentences, for every wrong value, with the file, variable or flag that it stands in.
    """
    layers: list[tuple[Source, dict[str, Any]]] = [
        ("file", _read_file(file) if file else {}),
        ("environment", {name: os.environ[key] for name in Settings.model_fields if (key := _variable(name)) in os.environ}),
        ("flag", {name: value for name, value in flags.items() if value is not None}),
    ]
    values: dict[str, Any] = {}
    sources: dict[str, Source] = dict.fromkeys(Settings.model_fields, "default")
    for source, layer in layers:
        values.update(layer)
        sources.update(dict.fromkeys(layer, source))
    try:
        return Settings(**values), sources
    except ValidationError as error:
        violations = [_violation(details, sources, file) for details in error.errors(include_url=False)]
        raise InvalidArgumentError("\n".join(str(violation) for violation in violations), violations) from None


def _variable(name: str) -> str:
    return ENVIRONMENT_PREFIX + name.upper()


def _violation(details: Any, sources: Mapping[str, Source], file: Path | None) -> Violation:
    if not details["loc"]:  # a check across several settings, which names them itself
        name, value, expected = details["msg"].removeprefix("Value error, ").split("|")
        return Violation(name, value, expected)
    name = str(details["loc"][0])
    expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    if details["type"] == "extra_forbidden":
        return Violation(name, "a setting that does not exist", nearest(name, Settings.model_fields), file=str(file or ""))
    place = {
        "file": name,
        "environment": _variable(name),
        "flag": "--" + name.replace("_", "-"),
        "default": name,
    }[sources[name]]
    value = "a value" if name == "api_keys" else shorten(details["input"])
    return Violation(place, value, expected, file=str(file) if sources[name] == "file" else "")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError(f"{path}: {error.strerror}; expected a TOML or YAML file of settings") from None
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{path}: byte {error.start} is not UTF-8; expected a TOML or YAML file of settings"
        ) from None
    import tomllib  # noqa: PLC0415  a start without a file does without both

    import yaml  # noqa: PLC0415  as above

    try:
        if path.suffix == ".toml":
            return tomllib.loads(text)
        if path.suffix in (".yaml", ".yml"):
            document = yaml.safe_load(text)
        else:
            raise InvalidArgumentError(f"{path}: got the suffix {path.suffix!r}, expected .toml, .yaml or .yml")
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        problem = str(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            # The whole of it quotes the line, in which an API key may stand.
            problem = f"{error.problem} (at line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1})"
        raise InvalidArgumentError(f"{path}: {problem}; expected a TOML or YAML file of settings") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidArgumentError(
            f"{path}: got {shorten(document)}, expected a mapping of settings, such as 'listen: 127.0.0.1:7400'"
        )
    return {str(name): value for name, value in document.items()}


def read_secret_file(path: Path, setting: str) -> bytes:
    """The content of a file that a setting names, or a sentence that says which setting and why not."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidArgumentError.of(setting, str(path), f"a file that can be read ({error.strerror})") from None
