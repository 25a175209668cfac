"""UTF-8 text read in a wrong encoding, as browsers and careless programs do it."""

import unicodedata
from collections.abc import Callable

# The WHATWG's windows-1252: the five bytes that it leaves open are C1 controls, so that nothing is lost.
WINDOWS_1252 = [bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in range(256)]


def windows_1252(text: str) -> str:
    return "".join(WINDOWS_1252[byte] for byte in text.encode())


def latin_1(text: str) -> str:
    return text.encode().decode("latin-1")


def twice(text: str) -> str:
    return windows_1252(windows_1252(text))


MOJIBAKE: dict[str, Callable[[str], str]] = {
    "as windows-1252": windows_1252,
    "as Latin-1": latin_1,
    "as windows-1252, twice": twice,
}


def foreign_words(text: str) -> set[str]:
    """The words with letters beyond ASCII, in one normal form: what mojibake breaks and its repair restores."""
    words = "".join(c if c.isalpha() else " " for c in unicodedata.normalize("NFC", text)).split()
    return {word for word in words if not word.isascii()}
