"""What stands around a candidate, or within an e-mail address, that makes it something else than it looks like.

`data` is the whole text in UTF-8, `first` and `end` the candidate's byte offsets in it.
"""

import ipaddress

import re2

from arriero.data.pii_checks import card_valid


def part_of_longer(data: bytes, first: int, end: int) -> bool:
    """A number that goes on to the left or right (1.2.3.4.5, 3.4111...) is another thing."""
    before, after = data[max(0, first - 2) : first], data[end : end + 2]
    joined_left = before[-1:].isalnum() or (before[:1].isalnum() and before[1:] in (b".", b"-", b"+", b"_"))
    in_row = before[:1].isdigit() and before[1:] in (b":", b"/")  # a time, a DOI
    joined_right = after[:1].isalnum() or (after[1:].isalnum() and after[:1] in (b".", b"-", b"_"))
    return joined_left or in_row or joined_right


# ---- cards
_BETWEEN_CELLS = re2.compile(rb"[ \t\x{a0},;|]+")
_CELLS = 4  # looked at on each side
_CELLS_BYTES = 40


def _cells(texts: list[bytes]) -> list[bytes]:
    """The first of `texts` that are groups of a table of numbers, decimal or hexadecimal."""
    found: list[bytes] = []
    for text in texts[:_CELLS]:
        try:
            int(text, 16)
        except ValueError:
            break
        # A hexadecimal number without a digit is more often a word: face, dead.
        if not 4 <= len(text) <= 6 or not text.isalnum() or text.isalpha():
            break
        found.append(text)
    return found


def in_table(data: bytes, first: int, end: int) -> bool:
    """Whether the groups of a card's number are some of a longer row of like groups.

    One group on each side (a year, a date of expiry) makes no table, nor does another card.
    """
    if data[first:end].isdigit():
        return False
    if data[first - 1 : first] == b"." and data[first - 2 : first] != b"..":  # ".4180.0024.0002.6613"
        return True
    line_start = data.rfind(b"\n", max(0, first - _CELLS_BYTES), first) + 1
    before = _BETWEEN_CELLS.split(data[line_start or max(0, first - _CELLS_BYTES) : first])
    after = _BETWEEN_CELLS.split(data[end : end + _CELLS_BYTES].split(b"\n")[0])
    # What directly touches the candidate is no cell: there the split gives an empty text.
    left = _cells(before[-2::-1]) if not before[-1] else []
    right = _cells(after[1:]) if not after[0] else []
    if not all(cell.isdigit() for cell in left + right):
        return len(left) + len(right) > 1
    many_left = len(left) > 1 and not _card(left[2::-1]) and not _card(left[::-1])
    return many_left or (len(right) > 1 and not _card(right[:3]) and not _card(right))


def _card(groups: list[bytes]) -> bool:
    return card_valid(b"".join(groups).decode())


# ---- addresses on the Internet
_OUTLINE = re2.compile(rb"(?:\A|\n)[ \t\x{a0}#*>=|\-]*\z")
_OUTLINE_BYTES = 40
# After the number's own point a title may begin as it likes; a tab or a colon (a log's) comes before no title.
_TITLE = re2.compile(rb"\.[ \t\x{a0}]+\S|\.?[ \t\x{a0}]*\.{3}|\)?[ \x{a0}]{1,2}[\"'(]?[A-Z][a-z]")
# Words before a section's or version's number; after the common English ones with a space the detectors' decoy stands.
_SECTION = re2.compile(
    r"(?i:\b(?:(?:ver|sec|fig|kap|cap)\.?|clause|appendix|abschnitt|kapitel|chapitre|cap[ií]tulo|secci[oó]n|versi[oó]n"
    r"|capitolo|sezione|versione|sections?|versions?|chapter)|верси[яию]|раздел[аеы]?|глав[аеыу]|§)"
    r"[ \x{a0}]{0,2}\z".encode()
)
_SECTION_BYTES = 24
_PREFIX = re2.compile(rb"/([0-9]{1,3})\b")


def no_host(data: bytes, first: int, end: int) -> bool:
    """A section's number, or a network."""
    named = _SECTION.search(data[max(0, first - _SECTION_BYTES) : first]) is not None
    return named or _heads_a_section(data, first, end) or _is_network(data, first, end)


def _heads_a_section(data: bytes, first: int, end: int) -> bool:
    """49.6.4.5. Change Callback: at the line's beginning, all parts below 100 (one in 43 addresses), then a title."""
    parts = data[first:end].split(b".")
    if len(parts) != 4 or max(map(len, parts)) > 2:
        return False
    before = data[max(0, first - _OUTLINE_BYTES) : first]
    starts = _OUTLINE.search(before if first <= _OUTLINE_BYTES else b"." + before) is not None
    return starts and _TITLE.match(data, end) is not None


def _is_network(data: bytes, first: int, end: int) -> bool:
    """134.99.4.0/24 is a network; 93.184.216.34/24 is a host in one."""
    prefix = _PREFIX.match(data, end)
    if prefix is None:
        return False
    try:
        network = ipaddress.ip_network(f"{data[first:end].decode()}/{prefix.group(1).decode()}")
    except ValueError:
        return False
    return network.num_addresses > 1


# ---- e-mail
# Local parts that mail programs make for a message's identifier (RFC 5322, section 3.6.4): a time and more; Netscape's
# and VM's numbers; Gnus's.
_MESSAGE = re2.compile(rb"[0-9]{10,}[.\-].+|[0-9A-F]{8}\.[0-9]{5,}|[0-9]+(?:\.[0-9]+){2,}|[0-9A-Za-z\-]+\.fsf")
_USER_OF_URL = re2.compile(rb"://(?:[^\s/@:]*:)?\z")


def no_mailbox(data: bytes, first: int, end: int) -> bool:
    """A message's identifier, a repository (git@host:path), or the user of a URL (ftp://name:password@host/)."""
    local, _, host = data[first:end].partition(b"@")
    if local == b"git" or host == b"mail.gmail.com" or _MESSAGE.fullmatch(local):
        return True
    return data[first - 1 : first] in (b":", b"/") and bool(_USER_OF_URL.search(data[max(0, first - 64) : first]))
