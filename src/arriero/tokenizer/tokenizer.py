"""What every tokenizer offers: text to ids and back. Control tokens never come from text, only from structure."""

import codecs
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

from arriero.errors import InputError

MOST_TOKENS = 1 << 20  # of a vocabulary; the largest of released models have 260,000


class Tokenizer(ABC):
    """A vocabulary with its encoder.

    vocab_size: ids are 0 .. vocab_size - 1
    control: the tokens that no text yields, by name ("<s>", "<|im_start|>"), to their ids
    literal: the tokens that a text yields wherever it holds their names, to their ids
    bos_id: the token that starts a document in training text, None where the model has none
    eos_id: the token that ends a document in training text
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        control: Mapping[str, int],
        *,
        literal: Mapping[str, int],
        bos_id: int | None,
        eos_id: int,
        leading_space: bool,
    ) -> None:
        """`pieces`: each id's bytes, empty for control ids. `leading_space`: whether encoding puts a space in front."""
        self.vocab_size = len(pieces)
        self.control = MappingProxyType(dict(control))
        self.literal = MappingProxyType(dict(literal))
        self.bos_id = bos_id
        self.eos_id = eos_id
        self._pieces = tuple(pieces)
        self._leading_space = leading_space

    def encode(self, text: str, *, continued: bool = False) -> list[int]:
        """Ids of `text`, without BOS or EOS and never a control id. Raises InputError on a lone surrogate.

        `continued`: the text goes on where other text ends, so that no space is put in front.
        """
        return _valid(self._encode_continued if continued else self._encode, [text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text, faster."""
        return _valid(self._encode, texts)

    @abstractmethod
    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts. Raises UnicodeEncodeError or TypeError on a lone surrogate, as the libraries do."""

    def _encode_continued(self, texts: Sequence[str]) -> list[list[int]]:
        """The same without a space in front; a family that puts one there overrides it."""
        return self._encode(texts)

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """The vocabulary's file or files, by name, as `save_tokenizer` writes them."""

    def digest(self) -> str:
        """SHA-256 that tokenizers share which give every text the same ids."""
        total = hashlib.sha256(f"{self.bos_id} {self.eos_id}".encode())
        for name, data in sorted(self.files().items()):
            total.update(f"\0{name}\0{len(data)}\0".encode() + data)
        return total.hexdigest()

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; control ids yield nothing, bytes that are not UTF-8 yield U+FFFD."""
        decoder = self.stream()
        return "".join([decoder.push(token) for token in ids]) + decoder.flush()

    def stream(self) -> "StreamDecoder":
        """A decoder for ids that arrive one by one."""
        return StreamDecoder(self)

    def piece(self, token: int) -> bytes:
        """The bytes that an id stands for; empty for a control id. Raises ValueError outside the vocabulary."""
        if not 0 <= token < self.vocab_size:
            raise ValueError(f"id {token} is outside the vocabulary of {self.vocab_size}")
        return self._pieces[token]

    @cached_property
    def names(self) -> Mapping[int, str]:
        """The control tokens' names by their ids."""
        return MappingProxyType({token: name for name, token in self.control.items()})

    @property
    def leading_space(self) -> bool:
        """Whether encoding puts one space before the text (SentencePiece does), which decoding takes off again."""
        return self._leading_space


def _valid(encode: Callable[[Sequence[str]], list[list[int]]], texts: Sequence[str]) -> list[list[int]]:
    """`encode(texts)`; the libraries refuse half a character, so that only then the texts are searched for it."""
    try:
        return encode(texts)
    except (UnicodeEncodeError, TypeError):
        for text in texts:
            _check_unicode(text)
        raise


def _check_unicode(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        around = text[max(0, error.start - 20) : error.start + 20]
        raise InputError(
            f"A text holds half a character (a lone surrogate) at position {error.start}, near {around!r}. "
            f"It was decoded wrongly: read the file as UTF-8."
        ) from None


class StreamDecoder:
    """Turns ids into text as they arrive: a character is given out when its last byte is there, never before.

    All that `push` and then `flush` return, joined, equals `decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._skip_space = tokenizer.leading_space

    def push(self, token: int) -> str:
        """The characters that this id completes; often none."""
        data = self._tokenizer.piece(token)
        if data and self._skip_space:
            self._skip_space = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def flush(self) -> str:
        """What is left at the end: U+FFFD if the last character is incomplete."""
        return self._utf8.decode(b"", final=True)
