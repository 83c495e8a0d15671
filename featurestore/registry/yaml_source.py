"""Definitions in YAML files, with the line of every object and every mistake.

Invariant: the same mapping as ``Definitions.model_dump(mode="json")`` gives the same definitions; what YAML would hide (a key
twice in one mapping, of which it keeps the last) is a mistake here.
"""

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import yaml

from featurestore.errors import Violation
from featurestore.registry.parse import Location, parse_document
from featurestore.registry.source import Origin, Source


def read_yaml(path: Path, text: str) -> Source:
    """Every definition of a YAML file, of one or several documents."""
    source = Source()
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            for line, key in _doubled_keys(node):
                violation = Violation(key, f"key {key!r} twice in one mapping", "each key once", file=f"{path}:{line}")
                source.violations.append(violation)
            _read_document(path, node, loader.construct_document(node), source)
    except yaml.YAMLError as error:
        source.violations.append(_syntax_violation(path, error))
    except RecursionError:
        source.violations.append(Violation("document", "mappings nested too deeply", "definitions", file=str(path)))
    except ValueError as error:  # such as a date that is none: 2024-13-45
        source.violations.append(Violation("document", str(error), "values that YAML can read", file=str(path)))
    finally:
        loader.dispose()
    return source


def _read_document(path: Path, node: yaml.Node, document: Any, source: Source) -> None:
    parsed = parse_document(document)
    for mistake in parsed.mistakes:
        found = mistake.violation
        file = f"{path}:{_line_of(node, mistake.location)}"
        source.violations.append(Violation(found.field, found.value, found.expected, found.object, file))
    for location, definition in parsed.definitions:
        source.definitions.append((definition, Origin(path, _line_of(node, location))))
    source.broken.extend(parsed.broken)


def _syntax_violation(path: Path, error: yaml.YAMLError) -> Violation:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return Violation("document", problem, "YAML that can be read", file=f"{path}:{mark.line + 1}" if mark else str(path))


def _line_of(node: yaml.Node, location: Location) -> int:
    """The line of what stands at a location, or of the nearest thing around it."""
    line: int = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            pairs = [pair for pair in node.value if pair[0].value == part]
            if not pairs:
                break
            key, node = pairs[-1]
            line = key.start_mark.line + 1
        else:
            break
    return line


def _doubled_keys(root: yaml.Node) -> Iterator[tuple[int, str]]:
    nodes, visited = [root], set()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys: set[Hashable] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in keys:
                        yield key.start_mark.line + 1, key.value
                    keys.add(key.value)
                nodes.append(value)
