"""Files that are large for what they are: an error in about a second, and no more memory than a few times the file."""

import base64
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from arriero.tokenizer.bpe import build_json, byte_alphabet

# What is read, in a process whose memory and processor time are looked at.
READ = """
import resource, sys, time
from pathlib import Path
from arriero.artifacts.files import read_json
from arriero.errors import InputError
from arriero.tokenizer import from_huggingface, tokenizer_from_file
path = Path(sys.argv[1])
read = {"json": read_json, "folder": from_huggingface}.get(sys.argv[2], tokenizer_from_file)
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    read(path)
except InputError as error:
    print(error)
spent = time.process_time() - started
print(spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def llama2c(pieces: int) -> bytes:
    names = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(b"<0x%02X>" % byte for byte in range(256))]
    names += [b"%x" % (index + 0x10000) for index in range(pieces)]
    return struct.pack("<i", 10) + b"".join(struct.pack("<fi", -1.0, len(name)) + name for name in names)


def tiktoken(tokens: int, width: int) -> bytes:
    """Tokens whose cuts are tokens, too."""
    names = [bytes([byte]) for byte in range(256)]
    names += [(b"%x" % index).rjust(width, b"0") for index in range(tokens)]
    return b"".join(b"%s %d\n" % (base64.b64encode(name), rank) for rank, name in enumerate(names))


CASES = {
    "values.json": ("json", lambda: b"[" + b"{}," * (10 << 20) + b"{}]", "more than 4194304 values"),
    "numbers.json": ("json", lambda: b"[" + b"1," * (15 << 20) + b"1]", "more than 4194304 values"),
    "nested.json": ("json", lambda: b"[" * (4 << 20), "is not JSON"),
    "large.json": ("json", lambda: b" " * (33 << 20), "33554432 are the most read"),
    "pieces.bin": ("file", lambda: llama2c(1 << 19), "more than 131072 pieces"),
    "large.bin": ("file", lambda: bytes(9 << 20), "8388608 are the most read"),
    "many.model": ("file", lambda: tiktoken(23_000, 128), ""),
    "large.model": ("file", lambda: tiktoken(400_000, 8), "4194304 are the most read"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_large_file_takes_a_second(name: str, tmp_path: Path) -> None:
    kind, write, said = CASES[name]
    path = tmp_path / name
    path.write_bytes(write())
    found = subprocess.run([sys.executable, "-c", READ, path, kind], capture_output=True, text=True, check=True)
    *message, numbers = found.stdout.splitlines()
    seconds, megabytes = map(float, numbers.split())
    assert said in "".join(message)
    assert not said or str(path) in "".join(message)
    assert seconds < 2.0
    assert megabytes < 300


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_every_file_of_a_tokenizer_s_folder_is_bounded(name: str, tmp_path: Path) -> None:
    """By its size, before it is read: a file of holes takes no room on the disk."""
    tokens = [*byte_alphabet(), "<eos>"]
    (tmp_path / "tokenizer.json").write_bytes(build_json(tokens, [], {"<eos>": 256}))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<eos>"}')
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 40)
    found = subprocess.run([sys.executable, "-c", READ, tmp_path, "folder"], capture_output=True, text=True, check=True)
    message, numbers = found.stdout.splitlines()
    assert f"{tmp_path / name} has {1 << 40} bytes" in message
    assert float(numbers.split()[1]) < 150
