"""The files of a source, on this machine or in an object store, and how they are opened."""

import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow.fs as arrow_fs

from arriero.data.readers.source import ENDINGS, SourceConfig, SourceFormat
from arriero.data.text_files import FOREIGN
from arriero.errors import InputError

SCHEMES = ("s3", "gs", "hf")
# One request to a store takes about as long for a byte as for some million.
BUFFER_BYTES = 4 << 20
REMOTE = re.compile(r"(?P<root>(?P<scheme>[a-z][a-z0-9]*)://[^/?]+)/?(?P<path>.*?)(?P<query>\?\w+=.*)?", re.DOTALL)


@dataclass(frozen=True)
class SourceFile:
    """One file. `name` is its path within the source (below a folder, or below what a pattern leaves open), so that
    documents are named alike wherever the source lies. `bytes` is 0 where the size is not known.
    """

    uri: str
    name: str
    bytes: int
    format: SourceFormat


class RawFile:
    """A file's bytes. Failures of the store raise InputError: they say nothing of the file, so the run must stop."""

    def __init__(self, uri: str, file: Any) -> None:
        self.uri, self._file = uri, file
        self.count = 0  # bytes read so far

    def read(self, size: int = -1) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except OSError as error:
            raise InputError(f"{self.uri} could not be read: {error}. Run again to go on.") from error
        self.count += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        return int(self._file.tell())

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> "RawFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def flush(self) -> None:
        """Arrow calls it."""


def is_remote(uri: str) -> bool:
    """Whether it lies in an object store."""
    return REMOTE.fullmatch(uri) is not None


def open_file(uri: str) -> RawFile:
    """Raises OSError if the file is missing, no file, or may not be read; InputError if the store fails."""
    remote = _remote(uri)
    if remote is None:
        # Opening a pipe would wait for its writer.
        if not stat.S_ISREG(os.stat(uri).st_mode):
            raise IsADirectoryError(0, "not a file")
        return RawFile(uri, open(uri, "rb"))
    try:
        return RawFile(uri, io.BufferedReader(remote.system.open_input_file(remote.path), BUFFER_BYTES))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except OSError as error:
        raise InputError(f"{uri} could not be opened: {error}. Run again to go on.") from error


def list_files(source: SourceConfig) -> list[SourceFile]:
    """The source's files, in order of their names. Raises InputError if there are none, or of no clear format."""
    path, place = source.path, f"source {source.name!r}: {source.path}"
    remote = _remote(path)
    found, is_folder = _local_files(path) if remote is None else _remote_files(remote, place)
    if not found and is_folder:
        return []
    if not found:
        raise InputError(f"{place} names no file. Check the path.")
    format = source.format
    if format is SourceFormat.AUTO:
        format = _common_format([name for _, name, _ in found], place)
    if is_folder:
        endings = source.endings(format)
        found = [file for file in found if file[1].lower().endswith(endings)]
        if not found:
            wanted = ", ".join(endings)
            raise InputError(f"{place} holds no file that ends in {wanted}. Check path, format and suffixes.")
    return sorted((SourceFile(*file, format) for file in found), key=lambda file: file.name)


def _common_format(names: list[str], place: str) -> SourceFormat:
    formats = {
        next((format for format, endings in ENDINGS.items() if name.lower().endswith(endings)), None) for name in names
    } - {None}
    if len(formats) != 1:
        seen = ", ".join(sorted(filter(None, formats))) or "none that is known"
        raise InputError(f"{place}: the files' endings tell no single format ({seen}). Set the source's format.")
    (format,) = formats
    assert format is not None
    return format


Found = tuple[str, str, int]  # uri, name, bytes


def _local_files(path: str) -> tuple[list[Found], bool]:
    """The files, and whether `path` is a folder."""
    if os.path.isdir(path):
        return list(_walk(path)), True
    if os.path.lexists(path) or (parts := _split_pattern(path)) is None:
        return ([(path, os.path.basename(path), _size(path))] if os.path.lexists(path) else []), False
    base, pattern = parts
    return [file for file in _walk(base or ".") if pattern.fullmatch(file[1])], False


def _walk(root: str) -> Iterator[Found]:
    """Files below `root` but for hidden ones and foreign folders; links to folders are not followed: they may loop."""
    for folder, folders, files in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name[0] != "." and not any(Path(folder, name, mark).exists() for mark in FOREIGN)
        ]
        for file in files:
            if file[0] != ".":
                path = os.path.join(folder, file)
                name = os.fsencode(Path(path).relative_to(root).as_posix())  # which need not be UTF-8
                yield path, name.decode("utf-8", "backslashreplace"), _size(path)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:  # a link to nothing: quarantined when it is read
        return 0


@dataclass(frozen=True)
class _Remote:
    system: Any
    root: str  # "s3://bucket", or "hf://datasets"
    path: str  # as the file system names it: "bucket/key"
    query: str


def _remote(uri: str) -> _Remote | None:
    """The store that `uri` names; None for a path on this machine. Raises InputError on an unknown store."""
    match = REMOTE.fullmatch(uri)
    if match is None:
        return None
    if match["scheme"] not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InputError(f"{uri}: unknown store {match['scheme']}://. Known are {known} and paths on this machine.")
    first = match["root"].partition("://")[2]
    query = match["query"] or ""
    return _Remote(_system(match["root"] + query), match["root"], f"{first}/{match['path']}".rstrip("/"), query)


@lru_cache
def _system(root: str) -> Any:
    try:
        return arrow_fs.FileSystem.from_uri(root)[0]
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"{root} cannot be opened: {error}.") from error


def _remote_files(remote: _Remote, place: str) -> tuple[list[Found], bool]:
    parts = _split_pattern(remote.path)
    base, pattern = (remote.path, None) if parts is None else parts
    try:
        info = remote.system.get_file_info(base)
        if pattern is None and info.type is arrow_fs.FileType.File:
            return [_found(remote, info, os.path.dirname(base))], False
        infos = remote.system.get_file_info(arrow_fs.FileSelector(base, allow_not_found=True, recursive=True))
    except OSError as error:
        raise InputError(f"{place} could not be listed: {error}. Check address, access and network.") from error
    files = [_found(remote, info, base) for info in infos if info.type is arrow_fs.FileType.File]
    files = [file for file in files if not any(part[0] == "." for part in file[1].split("/") if part)]
    if pattern is not None:
        files = [file for file in files if pattern.fullmatch(file[1])]
    return files, pattern is None and info.type is arrow_fs.FileType.Directory


def _found(remote: _Remote, info: Any, base: str) -> Found:
    scheme = remote.root.partition("://")[0]
    return f"{scheme}://{info.path}{remote.query}", info.path[len(base) :].lstrip("/"), info.size or 0


WILDCARDS = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _split_pattern(path: str) -> tuple[str, re.Pattern[str]] | None:
    """The folder before the first wildcard, and what paths below it must match; None if there is no wildcard."""
    wild = re.search(r"[*?]", path)
    if wild is None:
        return None
    base, _, rest = path[: wild.start()].rpartition("/")
    if path.startswith("/") and not base:
        base = "/"
    rest = path[len(base) :].lstrip("/")
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", rest)
    return base, re.compile("".join(WILDCARDS.get(part) or re.escape(part) for part in parts), re.DOTALL)
