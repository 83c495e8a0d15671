"""Definitions from a file or a directory of them.

Responsible for finding the files and putting what they hold together. Invariant: whatever mixture of YAML and Python they are
written in, the same definitions come out; two files may say the same definition, never two different ones under one name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from featurestore.errors import InvalidArgumentError, Violation
from featurestore.registry.definitions import Definition, Definitions, ObjectKey, key_of
from featurestore.registry.parse import raise_violations
from featurestore.registry.python_source import read_python
from featurestore.registry.source import Origin, Source


def _read_yaml(path: Path, text: str) -> Source:
    from featurestore.registry.yaml_source import read_yaml  # noqa: PLC0415  a server, which starts without, reads none

    return read_yaml(path, text)


_READERS: Mapping[str, Callable[[Path, str], Source]] = {".py": read_python, ".yaml": _read_yaml, ".yml": _read_yaml}
_SOMETHING = (
    "at least one: in YAML under projects, entities, feature_views or feature_services, "
    "in Python as an object at the top of the module"
)
FILE_BYTES_MAX = 16 << 20


@dataclass(frozen=True)
class Loaded:
    """What files of definitions hold.

    ``definitions`` are the valid ones and ``origins`` say where each was written. ``violations`` are the mistakes and
    ``broken`` the names of the objects that have some; both are empty in what ``load`` returns.
    """

    definitions: Definitions
    origins: Mapping[ObjectKey, Origin]
    violations: tuple[Violation, ...] = ()
    broken: frozenset[ObjectKey] = frozenset()


def load(path: Path) -> Loaded:
    """The definitions of a .py, .yaml or .yml file, or of all such files under a directory.

    Files and folders whose names begin with a dot or an underscore are left out. Raises InvalidArgumentError with every mistake
    of every file: file and line, object, field, value, and what was expected.
    """
    loaded = survey(path)
    raise_violations(loaded.violations)
    return loaded


def survey(path: Path) -> Loaded:
    """As ``load``, but returns the mistakes beside what is valid. Raises only when there is nothing to read."""
    definitions: dict[ObjectKey, Definition] = {}
    origins: dict[ObjectKey, Origin] = {}
    violations: list[Violation] = []
    broken: set[ObjectKey] = set()
    for file in _files(path):
        source = _read(file)
        violations.extend(source.violations)
        broken.update(source.broken)
        for definition, origin in source.definitions:
            key = key_of(definition)
            if key not in definitions:
                definitions[key], origins[key] = definition, origin
            elif definitions[key] != definition:
                expected = f"one definition of this name, or the same as in {origins[key]}"
                violations.append(Violation("name", repr(definition.name), expected, str(key), str(origin)))
    if not definitions and not violations:
        raise InvalidArgumentError(
            f"{path}: got no definition, expected {_SOMETHING}", [Violation("path", str(path), _SOMETHING)]
        )
    return Loaded(Definitions.of(definitions), origins, tuple(dict.fromkeys(violations)), frozenset(broken))


def _files(path: Path) -> list[Path]:
    if path.is_file() and path.suffix in _READERS:
        return [path]
    kinds = "a .py, .yaml or .yml file, or a directory of them"
    if not path.exists():
        raise InvalidArgumentError(f"{path}: there is no such file, expected {kinds}", [Violation("path", str(path), kinds)])
    if not path.is_dir():
        raise InvalidArgumentError.of("path", str(path), kinds)
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in _READERS and file.is_file() and not any(part[0] in "._" for part in file.relative_to(path).parts)
    ]
    if not files:
        raise InvalidArgumentError(
            f"{path}: got a directory without any, expected {kinds}", [Violation("path", str(path), kinds)]
        )
    return files


def _read(file: Path) -> Source:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            expected = f"at most {FILE_BYTES_MAX} bytes"
            return Source(violations=[Violation("file", f"{file.stat().st_size} bytes", expected, file=str(file))])
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return Source(violations=[Violation("file", f"byte {error.start} is not UTF-8", "UTF-8 text", file=str(file))])
    except OSError as error:
        return Source(violations=[Violation("file", error.strerror or str(error), "a file that can be read", file=str(file))])
    return _READERS[file.suffix](file, text)
