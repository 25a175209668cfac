"""llama2.c's files: both versions by a writer of our own, and no header that makes the reader read past the end."""

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arriero.containers.llama2c import open_llama2c
from arriero.errors import InputError
from arriero.model import ModelConfig, Transformer
from arriero.model.importing import open_release
from arriero.tokenizer.llama2c import tokenizer_from_llama2c
from contained import contained, fuzz, linux_only
from stages import read_model
from tiny_chat import tiny_tokenizer

ATTENTION, FEED_FORWARD = [f"attention.w{w}" for w in "qkvo"], [f"feed_forward.w{w}" for w in "123"]


def write_model(path: Path, model: Transformer, version: int) -> None:
    """As `legacy_export` and `version1_export` of llama2.c's export.py write it."""
    c, tied = model.config, model.config.tied_embeddings
    vocabulary = c.vocab_size if tied or version else -c.vocab_size
    header = struct.pack("<7i", c.dim, c.ffn_dim, c.n_layers, c.n_heads, c.n_kv_heads, vocabulary, c.max_seq_len)
    if version:
        header = (struct.pack("<Ii", 0x616B3432, 1) + header + bytes([tied])).ljust(256, b"\0")
        order = ["attention_norm", "ffn_norm", "norm", "tok_embeddings", *ATTENTION, *FEED_FORWARD]
    else:
        order = ["tok_embeddings", "attention_norm", *ATTENTION, "ffn_norm", *FEED_FORWARD, "norm", "rope"]
    state, data = model.state_dict(), header
    for part in order + ([] if tied else ["output"]):
        names = [
            n for n in state if n == f"{part}.weight" or (n.startswith("layers.") and n.endswith(f".{part}.weight"))
        ]
        data += b"".join(state[name].numpy().tobytes() for name in names)
        data += bytes(4 * c.max_seq_len * c.head_dim) if part == "rope" else b""
    path.write_bytes(data)


def vocabulary() -> bytes:
    """As `Tokenizer.export` of llama2.c's tokenizer.py writes it."""
    data = struct.pack("<i", 99)
    for token, (piece, score, _) in enumerate(tiny_tokenizer().scored_pieces()):
        spelled = f"\n{piece}\n" if token in (1, 2) else piece.replace("\u2581", " ")
        data += struct.pack("<fi", score, len(spelled.encode())) + spelled.encode()
    return data


def new_model(tied: bool = True, seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    config = ModelConfig(
        dim=16, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=320, ffn_dim=24, max_seq_len=32, tied_embeddings=tied
    )
    return Transformer(config)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1])
def test_both_versions_are_read_with_their_tokenizer(tmp_path: Path, version: int, tied: bool) -> None:
    model = new_model(tied)
    write_model(tmp_path / "model.bin", model, version)
    (tmp_path / "tok320.bin").write_bytes(vocabulary())
    found, tokenizer = read_model(tmp_path / "model.bin")
    assert found.config == model.config
    assert found.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in found.state_dict().items())
    for text in ("what does copy do?", "  ü 日本 \n", "<s> </s> <0x0A>"):
        assert tokenizer.encode(text) == tiny_tokenizer().encode(text)
    assert tokenizer.control == tiny_tokenizer().control
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


def test_the_tokenizer_is_found_or_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m.bin", new_model(), 0)
    with pytest.raises(InputError, match=r"no tokenizer.bin, nor one tok\*.bin. Set tokenizer"):
        open_release(tmp_path / "m.bin")
    for name in ("tok1.bin", "tok2.bin"):
        (tmp_path / name).write_bytes(vocabulary())
    with pytest.raises(InputError, match=r"\(tok1.bin, tok2.bin\)"):
        open_release(tmp_path / "m.bin")
    (tmp_path / "tokenizer.bin").write_bytes(vocabulary())
    (tmp_path / "x.model").write_bytes(tiny_tokenizer().files()["tokenizer.model"])
    assert open_release(tmp_path / "m.bin").tokenizer.vocab_size == 320
    assert open_release(tmp_path / "m.bin", tmp_path / "x.model").tokenizer.digest() == tiny_tokenizer().digest()


HEADER = (16, 24, 2, 4, 2, 320, 32)


@linux_only
@pytest.mark.parametrize(
    ("header", "said"),
    [
        ((16, 24, 2, 4, 2, -320, 32), "its header asks for"),
        ((16, 24, 3, 4, 2, 320, 32), "its header asks for"),
        ((2**31 - 1,) * 7, "its header says"),
        ((2**31 - 1, 24, 4096, 1, 1, 2**31 - 1, 2**31 - 1), "its header asks for"),
        ((0, 24, 2, 4, 2, 320, 32), "its header says"),
        ((16, 24, 2, 0, 2, 320, 32), "its header says"),
        ((16, 24, 2, 3, 2, 320, 32), "its header says"),
        ((16, -24, 2, 4, 2, 320, 32), "its header says"),
        ((16, 24, 2, 4, 2, -(2**31), 32), "its header asks for"),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_refused(tmp_path: Path, header: tuple[int, ...], said: str) -> None:
    path = tmp_path / "m.bin"
    write_model(path, new_model(), 0)
    data = path.read_bytes()
    assert struct.unpack("<7i", data[:28]) == HEADER
    path.write_bytes(struct.pack("<7i", *header) + data[28:])
    error = contained(lambda: open_llama2c(path))
    assert error is not None
    assert said in error


def test_other_files_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    write_model(path, new_model(), 1)
    data = path.read_bytes()
    for content, said in (
        (data[:-1], "asks for"),
        (data + b"\0", "asks for"),
        (data[:20], "only 20 bytes"),
        (data[:4] + struct.pack("<i", 2) + data[8:], r"of version 2; only float32"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=said):
            open_llama2c(path)
    with pytest.raises(InputError, match="No such file"):
        open_llama2c(tmp_path / "absent.bin")


@linux_only
@fuzz()
@given(
    st.tuples(*[st.one_of(st.sampled_from(HEADER), st.integers(-(2**31), 2**31 - 1), st.just(1))] * 7), st.booleans()
)
def test_any_header_ends_in_an_error_or_in_tensors_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, header: tuple[int, ...], cut: bool
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "m.bin"
    path.write_bytes(struct.pack("<7i", *header) + bytes(4000 if cut else 24960))

    def read() -> None:
        tensors = open_llama2c(path).tensors.values()
        assert 4 * sum(lazy.read().numel() for lazy in tensors) <= path.stat().st_size

    contained(read)


DAMAGED: list[tuple[Any, str]] = [
    (vocabulary()[:-1], "damaged at byte"),
    (vocabulary() + b"\0", "damaged at byte"),
    (vocabulary()[:8] + struct.pack("<i", 2**31 - 1) + vocabulary()[12:], "damaged at byte 4"),
    (vocabulary()[:8] + struct.pack("<i", -5) + vocabulary()[12:], "damaged at byte 4"),
    (vocabulary()[:4] + struct.pack("<f", float("nan")) + vocabulary()[8:], "damaged at byte 4"),
    (vocabulary().replace(b"<0x41>", b"<0x4\xff>"), "damaged at byte"),
    (vocabulary().replace(b"<0x41>", b"<0x42>"), "a piece twice"),
    (vocabulary().replace(b"<0x41>", b"<0xZZ>"), "there are not 256 byte pieces"),
    (vocabulary().replace(b"<unk>", b"<pad>"), "starts with"),
    (b"", "starts with"),
]


@pytest.mark.parametrize(("data", "said"), DAMAGED)
def test_a_damaged_vocabulary_is_explained(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        tokenizer_from_llama2c(data)
