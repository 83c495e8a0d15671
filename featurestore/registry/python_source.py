"""Definitions in Python files: every definition object at the top of the module, or in a list, tuple, set or mapping there.

A constructor that raises would end the file at its first mistake, and the author would find the others one run at a time. So
while a file runs, the constructors of the definition models note what is wrong and where, and hand out a placeholder that holds
what was given. Considered: running the file statement by statement, which loses the second mistake within one statement.

Invariant: outside ``read_python`` the models are as they were; placeholders never leave this module. Not thread-safe: the
constructors are swapped for the whole process while a file runs. Loading belongs to commands, not to servers.
"""

import itertools
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from pydantic import BaseModel, ValidationError

from featurestore.errors import Violation, shorten
from featurestore.model import BatchSource, Entity, FeatureReference, FeatureService, FeatureView, Field, JoinKey, Project
from featurestore.registry.definitions import KINDS, Definition, Definitions, Kind
from featurestore.registry.parse import Location, mistakes_of, object_label, raw_key
from featurestore.registry.source import Origin, Source

_MODELS: tuple[type[BaseModel], ...] = (
    Project,
    Entity,
    FeatureView,
    FeatureService,
    JoinKey,
    Field,
    FeatureReference,
    BatchSource,
)
_TOP_LEVEL = tuple(kind.model for kind in KINDS)
_CONSTRUCT = BaseModel.__init__


@dataclass(frozen=True)
class _Failure:
    """What was given to a constructor that refused it, and why."""

    given: dict[str, Any]
    error: ValidationError


class _Recording:
    """Each object that was constructed while the file ran, by identity: its line, and what was wrong with it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.constructed: list[BaseModel] = []  # kept, so that no identity is given out twice
        self.failures: dict[int, _Failure] = {}
        self.absorbed: set[int] = set()  # parts whose mistakes are told with the object that they were given to
        self._folder = path.parent.resolve()
        self._origins: dict[int, Origin] = {}
        self._unnamed = itertools.count()

    def construct(self, instance: BaseModel, given: dict[str, Any], frame: FrameType) -> None:
        """Stands in for the constructor of ``instance``, called from ``frame``."""
        self.constructed.append(instance)
        self._origins[id(instance)] = self._origin(frame)
        try:
            _CONSTRUCT(instance, **{name: self._revealed(value) for name, value in given.items()})
        except ValidationError as error:
            self.failures[id(instance)] = _Failure(given, error)
            self._fill(instance, given)

    def origin(self, instance: BaseModel) -> Origin:
        """The line that constructed the object."""
        return self._origins.get(id(instance), Origin(self.path, 1))

    def violations(self) -> Iterator[Violation]:
        """Every mistake, told with the definition that it is in where there is one."""
        for instance in self.constructed:
            failure = self.failures.get(id(instance))
            if failure is None or id(instance) in self.absorbed:
                continue
            for mistake in mistakes_of(failure.error, type(instance), _label(instance, failure.given)):
                found = mistake.violation
                origin = self._origin_within(instance, failure.given, mistake.location)
                yield Violation(found.field, found.value, found.expected, found.object, str(origin))

    def _revealed(self, value: Any) -> Any:
        """What was given for an object that failed, in its place: so its mistakes come up again, with their path."""
        if isinstance(value, (list, tuple)):
            return [self._revealed(item) for item in value]
        failure = self.failures.get(id(value))
        if failure is None:
            return value
        if isinstance(value, _TOP_LEVEL):  # an entity given to a view: it is referred to, not part of it
            return value.name
        self.absorbed.add(id(value))
        return {name: self._revealed(item) for name, item in failure.given.items()}

    def _fill(self, instance: BaseModel, given: dict[str, Any]) -> None:
        """Makes a placeholder of an object that failed, so that the rest of the file can go on using it."""
        values = {}
        for name, field in type(instance).model_fields.items():
            required = field.is_required()
            missing = f"unnamed_{next(self._unnamed)}" if required else field.get_default(call_default_factory=True)
            values[name] = given.get(name, missing)
        for name, value in (
            ("__dict__", values),
            ("__pydantic_fields_set__", set(given)),
            ("__pydantic_extra__", None),
            ("__pydantic_private__", None),
        ):
            object.__setattr__(instance, name, value)

    def _origin(self, frame: FrameType | None) -> Origin:
        """The innermost line of the file, or of a neighbour that it imports."""
        while frame is not None:
            file = frame.f_code.co_filename
            if file == str(self.path):
                return Origin(self.path, frame.f_lineno)
            if file.startswith(f"{self._folder}/"):
                return Origin(self.path.parent / Path(file).relative_to(self._folder), frame.f_lineno)
            frame = frame.f_back
        return Origin(self.path, 1)

    def _origin_within(self, instance: BaseModel, given: dict[str, Any], location: Location) -> Origin:
        part: Any = given.get(str(location[0])) if location else None
        if len(location) > 1 and isinstance(location[1], int) and isinstance(part, (list, tuple)):
            part = part[location[1]]
        return self._origins.get(id(part)) or self.origin(instance)


def read_python(path: Path, text: str) -> Source:
    """Runs a Python file and takes the definitions of its namespace."""
    source, recording = Source(), _Recording(path)
    try:
        code = compile(text, str(path), "exec")
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        problem = error.msg if isinstance(error, SyntaxError) else str(error)
        source.violations.append(Violation("file", problem, "Python that compiles", file=f"{path}{line}"))
        return source
    module = ModuleType(f"featurestore_definitions_{path.stem}")
    module.__file__ = str(path)
    with _importable(path.parent, module), _recorded(recording):
        failure = _run(code, module, path)
    source.violations.extend(recording.violations())
    if failure is not None:
        source.violations.append(failure)
    source.violations.sort(key=lambda violation: _place(violation.file))
    for instance in recording.constructed:
        if isinstance(instance, _TOP_LEVEL) and id(instance) in recording.failures:
            source.broken.extend(key for key in (raw_key(_kind_of(instance), vars(instance)),) if key is not None)
    for value in list(vars(module).values()):
        for definition in _definitions_within(value):
            if id(definition) not in recording.failures:
                source.definitions.append((definition, recording.origin(definition)))
    return source


def _run(code: CodeType, module: ModuleType, path: Path) -> Violation | None:
    try:
        exec(code, vars(module))  # noqa: S102  the user's own file, named on the command line
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = frames[-1].lineno if frames else 1
        return Violation("file", f"{type(error).__name__}: {error}", "Python that runs to its end", file=f"{path}:{line}")
    return None


@contextmanager
def _importable(folder: Path, module: ModuleType) -> Iterator[None]:
    """Lets the file import its neighbours, and forgets them afterwards, so that the next run reads them anew."""
    entry, write_bytecode = str(folder.resolve()), sys.dont_write_bytecode
    before = set(sys.modules)
    sys.path.insert(0, entry)
    sys.modules[module.__name__] = module
    sys.dont_write_bytecode = True
    try:
        yield
    finally:
        sys.dont_write_bytecode = write_bytecode
        sys.path.remove(entry)
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if name == module.__name__ or (file and Path(file).resolve().is_relative_to(entry)):
                del sys.modules[name]


@contextmanager
def _recorded(recording: _Recording) -> Iterator[None]:
    def construct(instance: BaseModel, /, **given: Any) -> None:
        recording.construct(instance, given, sys._getframe(1))

    for model in _MODELS:
        setattr(model, "__init__", construct)  # noqa: B010  mypy refuses an assignment to __init__
    try:
        yield
    finally:
        for model in _MODELS:
            delattr(model, "__init__")


def _place(file: str) -> tuple[str, int]:
    name, _, line = file.rpartition(":")
    return name, int(line)


def _definitions_within(value: Any) -> Iterator[Definition]:
    if isinstance(value, _TOP_LEVEL):
        yield value
    elif isinstance(value, Definitions):
        yield from value.objects()
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from (item for item in value if isinstance(item, _TOP_LEVEL))
    elif isinstance(value, Mapping):
        yield from (item for item in value.values() if isinstance(item, _TOP_LEVEL))


def _label(instance: BaseModel, given: Mapping[str, Any]) -> str:
    if isinstance(instance, _TOP_LEVEL):
        return object_label(_kind_of(instance), given)
    name = given.get("name")
    return type(instance).__name__ + (f" {shorten(name, 40)}" if isinstance(name, str) else "")


def _kind_of(definition: BaseModel) -> Kind:
    return next(kind for kind in KINDS if isinstance(definition, kind.model))
