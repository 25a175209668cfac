"""Personal information: found by pattern and check digit, removed by site, redacted elsewhere.

Source: Llama 2 (arXiv:2307.09288) section 2.1: "we made an effort to remove data from certain sites known to contain
a high volume of personal information about private individuals". The paper names neither sites nor a measure. Here a
site is a registrable domain, and its measure is the number of distinct findings per 1000 words.

Candidates come from google-re2 over bytes (linear time, whatever the text); a validator then decides: check digits for
payment cards (Luhn) and IBANs (mod 97), phonenumbers for phones, ipaddress for addresses.
"""

import ipaddress
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import phonenumbers
import pyarrow as pa
import re2
from tld import get_fld

from arriero.config import config, setting
from arriero.data.documents import Step, with_columns
from arriero.data.sources import SourceKind


@config
class PiiConfig:
    """Removal of sites with much personal information, and redaction of the rest."""

    max_per_1000_words: float = setting(
        2.0, "a web site with more distinct findings than this is removed whole", unit="findings per 1000 words", ge=0
    )
    min_findings: int = setting(10, "a site with fewer distinct findings is never removed", ge=1)
    phone_region: str = setting("US", "country whose national phone numbers (without +) are recognised", min_length=2)


@dataclass(frozen=True)
class Finding:
    """`start` and `end` are byte offsets in the UTF-8 text."""

    kind: str
    start: int
    end: int


# Digits that issuers' numbers begin with, and the lengths they have (ISO/IEC 7812 ranges of the large networks).
CARD_LENGTHS = (
    ("4", (13, 16, 19)),  # Visa
    *((str(prefix), (16,)) for prefix in (*range(51, 56), *range(2221, 2721))),  # Mastercard
    *((str(prefix), (15,)) for prefix in (34, 37)),  # American Express
    *((str(prefix), (16, 19)) for prefix in (6011, *range(644, 650), 65)),  # Discover
    *((str(prefix), (14, 16, 19)) for prefix in (36, 38, *range(300, 306))),  # Diners
    *((str(prefix), (16, 17, 18, 19)) for prefix in range(3528, 3590)),  # JCB
)
CARD_PREFIXES = dict(CARD_LENGTHS)

# Length of an IBAN by country (SWIFT IBAN registry).
IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL FK SD", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN", 21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM TL SO", 24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip


def luhn_valid(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1 annex B) of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def iban_valid(iban: str) -> bool:
    """Whether `iban`, without spaces and in capitals, has its country's length and the check digits of ISO 13616."""
    if len(iban) != IBAN_LENGTHS.get(iban[:2]) or not iban.isalnum() or not iban.isascii():
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def _card(text: str, _: str) -> int:
    digits = "".join(filter(str.isdigit, text))
    known = any(len(digits) in CARD_PREFIXES.get(digits[:size], ()) for size in (1, 2, 3, 4))
    return len(text) if known and len(set(digits)) > 1 and luhn_valid(digits) else 0


def _iban(text: str, _: str) -> int:
    """The candidate may run on into capitals that follow; the country's length says where the number ends."""
    length = IBAN_LENGTHS.get(text[:2], 0)
    seen = 0
    for place, character in enumerate(text, 1):
        seen += character != " "
        if seen == length:
            return place if iban_valid(text[:place].replace(" ", "")) else 0
    return 0


def _phone(text: str, region: str) -> int:
    """A number may be followed by others on the line: groups are taken off its end until it is valid."""
    while sum(map(str.isdigit, text)) >= 8:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(text, region)):
                return len(text)
        except phonenumbers.NumberParseException:
            return 0
        shorter = text.rstrip("0123456789").rstrip(" -./()")
        if shorter == text or not shorter:
            return 0
        text = shorter
    return 0


def _ip(text: str, _: str) -> int:
    """Addresses that belong to nobody (private, loopback, documentation) are not personal."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 0
    # Outside 2000::/3 an IPv6 form is most likely something else, such as C++'s abc::def.
    unicast = address.version == 4 or address in ipaddress.ip_network("2000::/3")
    return len(text) if unicast and address.is_global and not address.is_multicast else 0


def _whole(text: str, _: str) -> int:
    return len(text)


# kind, pattern, validator (text, phone region) -> length of the finding from the candidate's start, 0 for none.
# Where candidates overlap, the kind that stands first wins. Group 1 is the candidate.
DETECTORS: tuple[tuple[str, bytes, Callable[[str, str], int]], ...] = (
    ("EMAIL", rb"([A-Za-z0-9][A-Za-z0-9._%+\-]*@(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{2,24})\b", _whole),
    ("IBAN", rb"\b([A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30})", _iban),
    ("CARD", rb"\b(\d(?:[ \-]?\d){12,18})\b", _card),
    ("IP", rb"\b([0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7})\b", _ip),
    ("IP", rb"\b(\d{1,3}(?:\.\d{1,3}){3})\b", _ip),
    ("PHONE", rb"(\+\d[\d ().\-/]{6,22}\d)\b", _phone),
    ("PHONE", rb"((?:\b(?:1[ .\-])?\d{3}[.\-]|\(\d{3}\) ?)\d{3}[.\-]\d{4})\b", _phone),
)
COMPILED = tuple((kind, re2.compile(pattern), validate) for kind, pattern, validate in DETECTORS)
# A number that goes on to the left or right of the match (1.2.3.4.5, 3.4111...) is another thing.
NUMERIC = frozenset({"CARD", "IP", "PHONE"})


def _part_of_longer(data: bytes, start: int, end: int) -> bool:
    before, after = data[max(0, start - 2) : start], data[end : end + 2]
    joined_left = before[-1:].isalnum() or (before[-1:] in b".:-+_" and before[-1:] != b"" and before[:1].isalnum())
    joined_right = after[:1].isalnum() or (after[:1] in b".:-_" and after[:1] != b"" and after[1:].isalnum())
    return joined_left or joined_right


def find_pii(text: str, phone_region: str = "US") -> list[Finding]:
    """Findings in the order of the text, not overlapping."""
    data = text.encode()
    found: list[Finding] = []
    for kind, pattern, validate in COMPILED:
        for match in pattern.finditer(data):
            start, end = match.span(1)
            end = start + validate(data[start:end].decode("ascii"), phone_region)
            if end == start or (kind in NUMERIC and _part_of_longer(data, start, end)):
                continue
            if not any(start < other.end and other.start < end for other in found):
                found.append(Finding(kind, start, end))
    return sorted(found, key=lambda finding: finding.start)


def redact(text: str, findings: list[Finding]) -> str:
    """`text` with each finding replaced by a placeholder such as [EMAIL]."""
    data, parts, last = text.encode(), [], 0
    for finding in findings:
        parts += [data[last : finding.start], f"[{finding.kind}]".encode()]
        last = finding.end
    return b"".join([*parts, data[last:]]).decode()


def site_of(url: str) -> str:
    """The registrable domain of a URL; the host's last two labels where the public suffix list knows none."""
    known = get_fld(url, fail_silently=True)
    if known:
        return str(known)
    host = urlsplit(url).hostname or url
    return host if host.replace(".", "").isdigit() else ".".join(host.split(".")[-2:])


def clean_pii(table: pa.Table, cfg: PiiConfig) -> pa.Table:
    """Drops all web documents of a site whose density is above the threshold (`pii_site`); redacts all others."""
    texts: list[str] = table["text"].to_pylist()
    findings = [find_pii(text, cfg.phone_region) for text in texts]
    sites = [
        site_of(url) if kind == SourceKind.WEB else None
        for url, kind in zip(table["url"].to_pylist(), table["kind"].to_pylist(), strict=True)
    ]
    words: dict[str, int] = defaultdict(int)
    distinct: dict[str, set[bytes]] = defaultdict(set)
    for site, text, found in zip(sites, texts, findings, strict=True):
        if site is not None:
            data = text.encode()
            words[site] += len(text.split())
            distinct[site].update(data[finding.start : finding.end] for finding in found)
    removed = {
        site
        for site, values in distinct.items()
        if len(values) >= cfg.min_findings and 1000 * len(values) > cfg.max_per_1000_words * words[site]
    }
    redacted = [redact(text, found) if found else text for text, found in zip(texts, findings, strict=True)]
    return with_columns(table, text=redacted, reason=["pii_site" if site in removed else None for site in sites])


def pii_step(cfg: PiiConfig) -> Step:
    return Step("pii", partial(clean_pii, cfg=cfg), whole=True)
