"""Files of torch.save: plain torch reads ours, we read theirs, and a hostile one ends in an error, unexecuted."""

import collections
import io
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.containers import torch_zip
from arriero.containers.lazy import LazyTensor
from arriero.errors import InputError
from contained import contained, fuzz, linux_only

TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3).T,
    "a": torch.ones(3, dtype=torch.bfloat16),
    "none": torch.ones(0, 4, dtype=torch.int8),
    "n": torch.tensor(3),
    "large": torch.arange(5000, dtype=torch.float16),
}


def lazies(tensors: dict[str, torch.Tensor]) -> dict[str, LazyTensor]:
    return {name: LazyTensor.of(tensor) for name, tensor in tensors.items()}


def check_equal(found: dict[str, Any], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert tuple(found[name].shape) == tuple(tensor.shape)
        assert torch.equal(found[name].read() if isinstance(found[name], LazyTensor) else found[name], tensor)


def test_plain_torch_and_zip_tools_read_what_we_write(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.pth", tmp_path / "archive.pth"
    torch_zip.save(ours, lazies(TENSORS))
    torch.save({name: tensor.contiguous() for name, tensor in TENSORS.items()}, theirs)
    for mmap in (False, True):
        loaded = torch.load(ours, mmap=mmap, weights_only=True)
        check_equal(loaded, TENSORS)
        assert all(tensor.data_ptr() % 64 == 0 for tensor in loaded.values())
    with zipfile.ZipFile(ours) as our_zip, zipfile.ZipFile(theirs) as their_zip:
        assert our_zip.testzip() is None, "every checksum must be right"
        for name in ("data.pkl", "byteorder", "version", *(f"data/{key}" for key in range(len(TENSORS)))):
            assert our_zip.read(f"archive/{name}") == their_zip.read(f"archive/{name}")
    torch_zip.save(tmp_path / "again.pth", lazies(TENSORS))
    assert (tmp_path / "again.pth").read_bytes() == ours.read_bytes()


def test_we_read_what_torch_writes(tmp_path: Path) -> None:
    """Also a module's state, parameters, and tensors that share one storage, as in Meta's Llama 1."""
    path, shared = tmp_path / "theirs.pth", torch.arange(24.0)
    parts = {"first": shared[:12].view(3, 4), "second": shared[12:].view(4, 3).T, "kept": torch.nn.Parameter(shared)}
    for saved in (TENSORS, parts, torch.nn.Linear(3, 2).state_dict(), collections.OrderedDict(TENSORS)):
        torch.save(saved, path)
        check_equal(torch_zip.open_lazy(path), dict(saved))


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch_zip.save(path, lazies(TENSORS))

    def full() -> torch.Tensor:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        torch_zip.save(path, {"a": TENSORS["a"], "w": LazyTensor((2,), torch.float32, full)} | lazies(TENSORS))
    check_equal(torch_zip.open_lazy(path), TENSORS)
    assert os.listdir(tmp_path) == ["w.pth"]


class Payload:
    def __init__(self, call: Any, *arguments: Any) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def write_zip(path: Path, entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, data)


def pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=2)


def tensor_of(*arguments: Any) -> Any:
    """The pickle of {"w": _rebuild_tensor_v2(...)} over a storage of four float32."""

    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", torch.FloatStorage, "0", "cpu", 4) if isinstance(obj, Storage) else None

    out = io.BytesIO()
    described = Payload(torch._utils._rebuild_tensor_v2, Storage(), *arguments, False, collections.OrderedDict())
    Pickler(out, 2).dump({"w": described})
    return out.getvalue()


DATA, VERSION = ("a/data/0", bytes(16)), ("a/version", b"3\n")
FOUR = ("a/data.pkl", tensor_of(0, (4,), (1,)))
BOMBS = {
    "bytearray": (pickled(Payload(bytearray, 1 << 40)), "bytearray"),
    "a huge tensor": (pickled(Payload(torch.Tensor, 1 << 40)), "calls for"),
    "code": (pickled(Payload(exec, "raise SystemExit")), "__builtin__.exec"),
    "many steps": (b"\x80\x02" + b"N" * 300_000 + b".", "steps"),
    "long": (b"\x80\x02X" + (900_000).to_bytes(4, "little") + b"a" * (2 << 20), "bytes; 1048576 are the most"),
    "lying length": (b"\x80\x02X" + (1 << 31).to_bytes(4, "little") + b"a.", "data.pkl|expected"),
    "protocol 4": (pickle.dumps({"a": [Payload(os.getcwd)]}, protocol=4), "FRAME"),
    "no dict": (pickled(1), "no dict"),
    "no tensor": (pickled({"w": 1}), "is no tensor"),
    "no name": (pickled({1: 1}), "is no tensor"),
    "stride of zero": (tensor_of(0, (1 << 40,), (0,)), "fewer bytes than it needs"),
    "beyond its storage": (tensor_of(0, (5,), (1,)), "torch cannot read it"),
    "offset beyond it": (tensor_of(1 << 60, (4,), (1,)), "torch cannot read it"),
    "negative": (tensor_of(0, (-4,), (1,)), "torch cannot read it"),
    "empty": (b"", "damaged"),
}


@linux_only
@pytest.mark.parametrize("name", BOMBS)
def test_a_pickle_of_more_than_tensors_is_refused(tmp_path: Path, name: str) -> None:
    data, said = BOMBS[name]
    write_zip(tmp_path / "w.pth", [("a/data.pkl", data), DATA, VERSION])
    error = contained(lambda: torch_zip.open_lazy(tmp_path / "w.pth"))
    assert error is not None
    assert re.search(said, error)
    assert str(tmp_path / "w.pth") in error


def test_a_payload_is_not_executed(tmp_path: Path) -> None:
    """The same file, opened by a reader without care, does its harm."""
    target = tmp_path / "harm"
    torch.save({"w": torch.ones(2), "x": Payload(os.mkdir, str(target))}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"calls for 'posix\.mkdir'"):
        torch_zip.open_lazy(tmp_path / "w.pth")
    assert not target.exists()
    torch.load(tmp_path / "w.pth", weights_only=False)
    assert target.exists()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([FOUR, ("a/../../evil", b"")], "an entry 'a/../../evil'"),
        ([FOUR, ("/etc/evil", b"")], "an entry '/etc/evil'"),
        ([FOUR, ("b/data/0", bytes(16))], "an entry 'b/data/0'"),
        ([FOUR, VERSION], "torch cannot read it"),
        ([DATA], "no data.pkl"),
        ([], "is no zip"),
        ([FOUR, DATA, ("a/byteorder", b"big")], "big-endian"),
        ([("a/data.pkl", b"")] + [(f"a/data/{n}", b"") for n in range(30_000)], "directory is longer"),
    ],
)  # fmt: skip
def test_a_zip_that_torch_did_not_write_is_refused(tmp_path: Path, entries: list[tuple[str, bytes]], said: str) -> None:
    write_zip(tmp_path / "w.pth", entries)
    with pytest.raises(InputError, match=said):
        torch_zip.open_lazy(tmp_path / "w.pth")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    write_zip(tmp_path / "w.pth", [FOUR, ("a/data/0", bytes(1 << 24))], zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="is compressed"):
        torch_zip.open_lazy(tmp_path / "w.pth")


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    """The trick of zip bombs without recursion: many entries that share their bytes."""
    path = tmp_path / "w.pth"
    write_zip(path, [FOUR, ("a/data/0", bytes(16)), ("a/data/1", bytes(16))])
    data = path.read_bytes()
    first, second = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x01\x02")), data.rindex(b"PK\x01\x02")
    path.write_bytes(data[: second + 42] + data[first + 42 : first + 46] + data[second + 46 :])
    with pytest.raises(InputError, match="overlap"):
        torch_zip.open_lazy(path)


def zip_parts(entries: list[tuple[str, bytes]]) -> tuple[bytes, bytes]:
    """A zip's entries and its directory, without its end."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
        start = archive.start_dir
    return out.getvalue()[:start], out.getvalue()[start:-22]


def test_a_second_directory_is_refused(tmp_path: Path) -> None:
    """zipfile finds a directory by its length, torch's reader by its place: each would see another pickle."""
    path, evil = tmp_path / "w.pth", pickled({"w": Payload(bytearray, 1000)})
    there, its_directory = zip_parts([("a/data.pkl", evil), ("a/data/0", bytes(4096)), VERSION])
    here, directory = zip_parts([FOUR, DATA, VERSION])
    assert len(directory) == len(its_directory)
    moved, at, shift = bytearray(directory), 0, len(there) - len(here)  # zipfile adds the rest
    while at < len(moved):
        (offset,) = struct.unpack_from("<I", moved, at + 42)
        struct.pack_into("<I", moved, at + 42, offset + shift)
        at += 46 + struct.unpack_from("<H", moved, at + 28)[0]
    end = b"PK\5\6" + struct.pack("<4H2IH", 0, 0, 3, 3, len(directory), len(there), 0)
    path.write_bytes(there + its_directory + here + moved + end)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("a/data.pkl") == FOUR[1], "zipfile sees a harmless pickle"
    assert torch.load(path, weights_only=True) == {"w": bytearray(1000)}, "torch sees the other"
    with pytest.raises(InputError, match="its zip's directory is not the one"):
        torch_zip.open_lazy(path)


@pytest.mark.parametrize("change", ["front", "behind", "comment", "between", "count", "locator"])
def test_anything_but_entries_directory_and_end_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "w.pth"
    write_zip(path, [FOUR, DATA, VERSION])
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, 10, 10)
    path.write_bytes(
        {
            "front": data[:30] + data,
            "behind": data + b"x",
            "comment": data[:-2] + b"\1\0x",
            "between": data[:end] + bytes(7) + data[end:],
            "count": data[: end + 10] + b"\2\0" + data[end + 12 :],
            "locator": data[:end] + record + locator + data[end:],
        }[change]
    )
    with pytest.raises(InputError, match="damaged"):
        torch_zip.open_lazy(path)


def test_a_directory_of_64_bits_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    torch_zip.save(tmp_path / "w.pth", lazies(TENSORS))
    assert b"PK\6\7" in (tmp_path / "w.pth").read_bytes()
    check_equal(torch_zip.open_lazy(tmp_path / "w.pth"), TENSORS)


def test_names_that_two_readers_take_for_different_ones_are_refused(tmp_path: Path) -> None:
    """torch's reader knows no upper case and no end of a name at a zero byte."""
    path, evil = tmp_path / "w.pth", pickled({"w": Payload(bytearray, 1000)})
    write_zip(path, [("a/DATA.pkl", evil), FOUR, DATA])
    with pytest.raises(InputError, match="names an entry twice"):
        torch_zip.open_lazy(path)
    write_zip(path, [FOUR, DATA])
    path.write_bytes(path.read_bytes().replace(b"a/data/0", b"a/data\x000"))
    with pytest.raises(InputError, match="an entry 'a/data"):
        torch_zip.open_lazy(path)


def test_old_and_missing_files_are_explained(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"is no zip.*save it again"):
        torch_zip.open_lazy(tmp_path / "old.pth")
    with pytest.raises(InputError, match="No such file"):
        torch_zip.open_lazy(tmp_path / "absent.pth")


WHOLE = {"w": torch.arange(64.0).reshape(8, 8), "v": torch.ones(5, dtype=torch.bfloat16)}


@linux_only
@fuzz()
@given(st.data())
def test_damage_ends_in_an_error_or_in_tensors(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "w.pth"
    if data.draw(st.booleans()):
        torch.save(WHOLE, path)
    else:
        torch_zip.save(path, lazies(WHOLE))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        kind = data.draw(st.sampled_from(["flip", "large", "cut", "repeat"]))
        if kind == "flip":
            content[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "large":
            content[place : place + 4] = b"\xff\xff\xff\x7f"[: max(0, len(content) - place)]
        elif kind == "cut":
            del content[max(place, 1) :]
        else:
            content[place:place] = content[place : place + 50]
    path.write_bytes(content)

    def read() -> None:
        for tensor in torch_zip.open_lazy(path).values():
            assert tensor.read().clone().nbytes <= len(content)

    contained(read)


MEMORY = """
import sys, torch
from pathlib import Path
from arriero.containers import torch_zip
from arriero.containers.lazy import LazyTensor
MB, path = 1 << 20, Path(sys.argv[1]) / "w.pth"
def private():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) // 1024
def made():
    global most
    most = max(most, private())
    return torch.ones(2 * MB)
made_once = torch.ones(2 * MB); del made_once
before = most = private()
torch_zip.save(path, {str(n): LazyTensor((2 * MB,), torch.float32, made) for n in range(13)})
total = 0.0
for tensor in torch_zip.open_lazy(path).values():
    total += tensor.read().sum().item()
    most = max(most, private())
assert total == 26 * MB
print(path.stat().st_size // MB, most - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_neither_writing_nor_reading_holds_the_file_in_memory(tmp_path: Path) -> None:
    """104 MB in tensors of 8 MB. Freed blocks go back to the system at once, or glibc keeps some of them, or not."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], check=True, capture_output=True, text=True, env=environment
    ).stdout
    size, most = map(int, done.split())
    assert size >= 104
    assert most <= 24, f"{most} MB beyond the start"
