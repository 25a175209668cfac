"""GGUF files byte by byte, right and wrong ones."""

import struct


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def number_entry(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", 4, value)


def tensor_header(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_bytes(
    entries: list[bytes],
    tensors: list[bytes],
    data: bytes = b"",
    *,
    version: int = 3,
    tensor_count: int | None = None,
    entry_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    counts = [len(made) if told is None else told for told, made in ((tensor_count, tensors), (entry_count, entries))]
    header = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(entries) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data
