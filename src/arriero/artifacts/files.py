"""Files that are whole or absent: written under a temporary name, synced, renamed."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from arriero.errors import InputError


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write in the place of `path`: a reader, or a crash, sees the old file or the new one, nothing between.

    It takes its place when the block ends, and not if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # on a full disk, half a file would take the room of the next try
    sync_folder(path.parent)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes `data` whole or not at all."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """A whole file. Raises InputError naming it if it is missing, unreadable, or larger than `most_bytes`."""
    if not path.is_file():  # or a folder, or a pipe, which would never end
        raise InputError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > most_bytes:
        raise InputError(f"{path} has {path.stat().st_size} bytes; {most_bytes} are the most read of such a file.")
    return data


# Llama 3's tokenizer.json has 17 MB and a million values. Python takes 60 bytes and more for each.
MOST_JSON_BYTES, MOST_JSON_VALUES = 32 << 20, 1 << 22


def read_json(path: Path, *, most_bytes: int = MOST_JSON_BYTES) -> Any:
    """Raises InputError naming the file if it is missing, larger than `most_bytes` or in its values, or not JSON."""
    data = read_bytes(path, most_bytes)
    if sum(map(data.count, (b",", b"[", b"{"))) > MOST_JSON_VALUES:
        raise InputError(f"{path} holds more than {MOST_JSON_VALUES} values, which are the most read of such a file.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}.") from None


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value a line, keys sorted, so that equal rows give equal bytes."""
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of each line that is not blank. Raises InputError naming file and line."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, expected a JSONL file.") from None
    with file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8"))
                if b"\\u" in line:  # only an escape yields half of a character, which no file and no tokenizer takes
                    json.dumps(value, ensure_ascii=False).encode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}:{number}: byte {error.start + 1} of the line is not UTF-8. Convert the file to UTF-8."
                ) from None
            except UnicodeEncodeError as error:
                around = error.object[max(0, error.start - 20) : error.end]
                raise InputError(
                    f"{path}:{number}: half a character (a lone surrogate) near {around!r}: a text was cut within an "
                    "emoji. Delete the half, or write the line anew."
                ) from None
            except ValueError as error:
                raise InputError(f"{path}:{number}: not JSON ({error}). Each line must be one JSON object.") from None
            yield number, value


def file_digest(path: Path) -> str:
    """SHA-256 of the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's relative names and contents. Raises InputError if there is nothing."""
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        raise InputError(f"There is no file or folder {path}.")
    total = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = os.fsencode(file.relative_to(path).as_posix())  # which need not be UTF-8
        total.update(name + b"\0" + file_digest(file).encode() + b"\n")
    return total.hexdigest()
