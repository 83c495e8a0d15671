"""URLs that fsspec opens (``s3://...``): one place, and one sentence where it cannot."""

from typing import Any

from featurestore.errors import InvalidArgumentError


def file_system_of(field: str, url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it. InvalidArgumentError names ``field`` where fsspec has none for it."""
    import fsspec  # noqa: PLC0415  only where a URL is meant

    try:
        file_system, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InvalidArgumentError.of(field, url, f"a path, or a URL that fsspec can open: {error}") from None
    return file_system, str(path)
