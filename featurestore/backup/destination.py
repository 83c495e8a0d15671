"""Where a backup lies: a directory, or a URL that fsspec opens. Names are paths below it, with slashes."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from featurestore.durability.reading import sync_directory
from featurestore.urls import file_system_of


class Destination(Protocol):
    """Files by name. Raises OSError."""

    def __str__(self) -> str: ...

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where it is not there."""
        ...

    def open_to_read(self, name: str) -> BinaryIO:
        """A file, from its beginning."""
        ...

    def open_to_write(self, name: str) -> BinaryIO:
        """A new file. It is there once it was closed."""
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Puts a file there, or another in its place: at one instant."""
        ...

    def sizes(self) -> dict[str, int]:
        """The bytes of each file."""
        ...

    def remove(self, names: list[str]) -> None:
        """Takes files away, and directories that are left empty."""
        ...


def open_destination(place: str) -> Destination:
    """Of a path, or of a URL such as ``s3://bucket/backups``."""
    if "://" not in place or place.startswith("file://"):
        return DirectoryDestination(Path(place.removeprefix("file://")))
    return UrlDestination(place)


class _SyncedFile:
    """A file that the disk has once it was closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())

    def __enter__(self) -> "_SyncedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DirectoryDestination:
    """A directory of this machine, or one that is mounted."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str) -> bytes | None:
        """As in ``Destination``; so all the others."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def open_to_read(self, name: str) -> BinaryIO:
        return (self.root / name).open("rb")

    def open_to_write(self, name: str) -> BinaryIO:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return _SyncedFile(path)  # type: ignore[return-value]

    def replace(self, name: str, content: bytes) -> None:
        beside = f".{name}.new"
        try:
            with self.open_to_write(beside) as file:
                file.write(content)
            (self.root / beside).replace(self.root / name)
        except BaseException:
            (self.root / beside).unlink(missing_ok=True)
            raise
        sync_tree(self.root)

    def sizes(self) -> dict[str, int]:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {path.relative_to(self.root).as_posix(): path.stat().st_size for path in paths}

    def remove(self, names: list[str]) -> None:
        for name in names:
            path = self.root / name
            path.unlink(missing_ok=True)
            with suppress(OSError):  # there are others in it
                for parent in path.relative_to(self.root).parents[:-1]:
                    (self.root / parent).rmdir()


class UrlDestination:
    """What fsspec opens."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        file_system, root = file_system_of("the backup's place", self._url)
        self._files: Any = file_system
        self._root = root.rstrip("/")

    def __str__(self) -> str:
        return self._url

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def read(self, name: str) -> bytes | None:
        """As in ``Destination``; so all the others."""
        try:
            content: bytes = self._files.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return content

    def open_to_read(self, name: str) -> BinaryIO:
        file: BinaryIO = self._files.open(self._path(name), "rb")
        return file

    def open_to_write(self, name: str) -> BinaryIO:
        self._files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
        file: BinaryIO = self._files.open(self._path(name), "wb")
        return file

    def replace(self, name: str, content: bytes) -> None:
        self._files.makedirs(self._root, exist_ok=True)
        self._files.pipe_file(self._path(name), content)

    def sizes(self) -> dict[str, int]:
        self._files.invalidate_cache()
        found: dict[str, dict[str, Any]] = self._files.find(self._root, detail=True)
        root = self._root.lstrip("/")
        return {path.lstrip("/").removeprefix(root).lstrip("/"): int(info["size"]) for path, info in found.items()}

    def remove(self, names: list[str]) -> None:
        for name in names:
            self._files.rm_file(self._path(name))


def sync_tree(directory: Path) -> None:
    """Has the disk take the names in a directory, and in those below it."""
    for path in (directory, *(each for each in directory.rglob("*") if each.is_dir())):
        sync_directory(path)
