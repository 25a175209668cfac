"""Detectors of personal information: a pattern over UTF-8 bytes, and a check that decides on each candidate.

All patterns are joined into one, which google-re2 runs over the text in linear time; where it matches, a set of them
says which do, and only those are tried. Candidates come from patterns, decisions from `pii_checks`, phonenumbers,
ipaddress and the public suffix list.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import phonenumbers
import re2
from tld import get_tld

from arriero.data import pii_checks as checks
from arriero.data import pii_context as context
from arriero.data.pii_addresses import french_street, german_street, plausible_street, us_uk_street


@dataclass(frozen=True)
class Finding:
    """`start` and `end` are byte offsets in the UTF-8 text."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True)
class Detector:
    """`pattern`: group 1 is the candidate where there is one (what stands around it gives context), else the match.

    `valid`: whether a candidate is a finding, and how much of it: True for all of it, or its first so many characters.
    Its second argument is the region of national phone numbers.
    """

    kind: str
    pattern: str
    valid: Callable[[str, str], bool | int]


DECOY = "not personal"  # kind of what only looks like a finding: the search goes on behind it


def _check(valid: Callable[[str], bool]) -> Callable[[str, str], bool]:
    return lambda text, _: valid(text)


def _always(_: str) -> bool:
    return True


@cache
def _top_level(label: str) -> bool:
    return get_tld(f"http://name.{label}", fail_silently=True) is not None


def _email(text: str) -> bool:
    """RFC 2606's names for examples belong to nobody; icon@2x.png has no top level domain."""
    labels = [label for label in re2.split(r"[^a-z0-9\-]+", text.lower()) if label != "dot"]
    return _top_level(labels[-1]) and labels[-2] != "example"


def _iban(text: str, _: str) -> int:
    """The candidate may run on into capitals that follow; the country's length says where the number ends."""
    length = checks.IBAN_LENGTHS.get(text[:2], 0)
    seen = 0
    for place, character in enumerate(text, 1):
        seen += character.isalnum()
        if seen == length:
            return place if checks.iban_valid(text[:place]) else 0
    return 0


def _phone(text: str, region: str) -> int:
    """A number may be followed by others on the line: groups are taken off its end until it is valid."""
    if text[0] == "+" and text.count(".") == 1 and text[1:].partition(".")[0].isdigit() and text.index(".") > 4:
        return 0  # +35236450.6 is a decimal number; +1.2125550198 is a phone's form in domain registries
    while sum(map(str.isdigit, text)) >= 8:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(text, region)):
                return len(text)
        except phonenumbers.NumberParseException:
            return 0
        shorter = text.rstrip("0123456789").rstrip(" -./()\xa0ext")
        if shorter == text or not shorter:
            return 0
        text = shorter
    return 0


def _ip(text: str) -> bool:
    """Addresses that belong to nobody (private, loopback, documentation) are not personal.

    Four small numbers are a version or a section far more often than an address (one in 4096 addresses).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    small = address.version == 4 and max(address.packed) < 32
    return address.is_global and not address.is_multicast and not small


def _worded(words: str, number: str) -> str:
    """`number` where one of `words` stands shortly before it."""
    return rf"\b(?i:{words})\b[^0-9\n@]{{0,20}}\b({number})\b"


# The last character of a local part. An address is found by its end, and its beginning looked up backwards: a pattern
# that began with the local part would keep re2 reading to the end of an endless token before it may report what stands
# inside, once for each finding there.
_LOCAL_END = r"[A-Za-z0-9_%+\-À-ɏ]"
_LOCAL_BEFORE = re2.compile(r"[A-Za-z0-9_À-ɏ][A-Za-z0-9._%+'\-À-ɏ]*\z".encode())
_LOCAL_BYTES = 64  # RFC 5321, section 4.5.3.1.1

_GAP = r"[ .\-\x{a0}]"  # between groups of a number
_S = r"[ \x{a0}]?"
_EXTENSION = r"(?: ?(?:x|ext\.?) ?[0-9]{1,5})?"
_FOURS = rf"[0-9]{{4}}(?:{_GAP}[0-9]{{4}}){{3}}(?:{_GAP}[0-9]{{1,3}})?"
_AMEX_DINERS = rf"[0-9]{{4}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}}"

NATIONAL_IDS = tuple(
    Detector("NATIONAL_ID", pattern, _check(valid))
    for pattern, valid in (
        # United States, Canada
        (r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b", checks.ssn_valid),
        (_worded("ssn|social security", "[0-9]{3}[ .]?[0-9]{2}[ .]?[0-9]{4}"), checks.ssn_valid),
        (_worded("sin|social insurance", r"[0-9]{3}[ \-]?[0-9]{3}[ \-]?[0-9]{3}"), checks.sin_valid),
        # United Kingdom
        (r"\b[A-Z]{2} [0-9]{2} [0-9]{2} [0-9]{2} [A-D]\b", checks.nino_valid),
        (_worded("nino|national insurance|ni (?:no|number)", "[A-Z]{2} ?[0-9]{6} ?[A-D]"), checks.nino_valid),
        # Germany
        (r"\b[0-9]{2} [0-9]{3} [0-9]{3} [0-9]{3}\b", checks.steuer_id_valid),
        (
            _worded("steuer-?id(?:entifikationsnummer)?|idnr|identifikationsnummer|tax id|tin", "[0-9]{11}"),
            checks.steuer_id_valid,
        ),
        # Spain: DNI, NIE
        (r"\b(?:[0-9]{8}|[0-9]{2}\.[0-9]{3}\.[0-9]{3})[ \-]?[A-Z]\b", checks.dni_valid),
        (r"\b[XYZ][ \-]?[0-9]{7}[ \-]?[A-Z]\b", checks.dni_valid),
        # France
        (
            rf"\b[12]{_S}[0-9]{{2}}{_S}[0-9]{{2}}{_S}(?:[0-9]{{2}}|2[AB]){_S}[0-9]{{3}}{_S}[0-9]{{3}}{_S}[0-9]{{2}}\b",
            checks.nir_valid,
        ),
        # Italy: letters stand for digits where two people would have one code
        (
            r"\b[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]\b",
            checks.codice_fiscale_valid,
        ),
        # Netherlands, Belgium, Sweden, Finland, Poland, Brazil
        (_worded("bsn|burgerservicenummer|sofinummer", r"[0-9]{4}\.?[0-9]{2}\.?[0-9]{3}"), checks.bsn_valid),
        (r"\b[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}\.[0-9]{2}\b", checks.rijksregister_valid),
        (r"\b(?:19|20)?[0-9]{6}[\-+][0-9]{4}\b", checks.personnummer_valid),
        (r"\b[0-9]{6}[\-+A-FU-Y][0-9]{3}[0-9A-Y]\b", checks.hetu_valid),
        (_worded("pesel", "[0-9]{11}"), checks.pesel_valid),
        (r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b", checks.cpf_valid),
    )
)
# Words before a number of a version or a section, which hides addresses too: "Chapter 3 Abbey Road".
_NUMBERED_WORDS = (
    r"\b(?i:versions?|release|ver|v[0-9]?|build|firmware|upgraded?|updated?|chapter|sections?|figure|table|oid"
    r"|objectidentifier)"
)
_NUMBER = r"(?:[0-9]{1,3}(?:\.[0-9]+)+|[0-9]{1,3}(?:[ .,;:)\n]|\z))"  # not 212-555-0198, nor a card's first group
_NUMBERED = (
    rf"{_NUMBERED_WORDS}(?: to)?(?:(?:\.|[ :=]{{1,3}}[\"']?){_NUMBER}"
    rf"(?: {{0,2}}(?:from|to|and|or|through) {_NUMBER})?|[ ]?[(\"']+[0-9]+(?:\.[0-9]+)+)"
)
# Where several match at one place, the first whose check accepts wins.
DETECTORS = (
    Detector(DECOY, _NUMBERED, _check(_always)),
    Detector("EMAIL", rf"{_LOCAL_END}@(?:[A-Za-z0-9\-]+\.)+[A-Za-z]{{2,24}}\b", _check(_email)),
    Detector(
        "EMAIL",
        rf"{_LOCAL_END} ?[\[(] ?(?i:at|@) ?[\])] ?(?:[A-Za-z0-9\-]+(?:\.| ?[\[(] ?(?i:dot) ?[\])] ?))+"
        r"[A-Za-z]{2,24}\b",
        _check(_email),
    ),
    Detector("IBAN", rf"\b[A-Z]{{2}}[0-9]{{2}}(?:{_GAP}?[A-Z0-9]){{11,30}}", _iban),
    Detector("CARD", rf"\b(?:[0-9]{{12,19}}|{_FOURS}|{_AMEX_DINERS})\b", _check(checks.card_valid)),
    # Outside 2000::/3 an IPv6 form is most likely something else, such as C++'s abc::def.
    Detector("IP", r"\b[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}\b", _check(_ip)),
    Detector("IP", r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b", _check(_ip)),
    *NATIONAL_IDS,
    Detector("PHONE", rf"\+[0-9][0-9().\-/ \x{{a0}}]{{6,22}}[0-9]{_EXTENSION}", _phone),
    Detector(
        "PHONE", rf"(?:\b(?:1[ .\-])?[0-9]{{3}}[.\-]|\([0-9]{{3}}\) ?)[0-9]{{3}}[.\-][0-9]{{4}}{_EXTENSION}\b", _phone
    ),
    Detector("ADDRESS", us_uk_street(), _check(plausible_street)),
    Detector("ADDRESS", german_street(), _check(_always)),
    Detector("ADDRESS", french_street(), _check(plausible_street)),
)
_NUMERIC = frozenset({"CARD", "IP", "PHONE", "NATIONAL_ID"})
# What is accepted, but stands where it is another thing.
_OTHER = {"CARD": context.in_table, "IP": context.no_host, "EMAIL": context.no_mailbox}
_LONGEST = 512  # bytes in which a candidate must end

_OPTIONS = re2.Options()
_OPTIONS.never_capture = True  # only then is the automaton enough
_OPTIONS.max_mem = 64 << 20
_COMPILED = tuple(re2.compile(detector.pattern.encode()) for detector in DETECTORS)
_JOINED = re2.compile("|".join(f"(?:{detector.pattern})" for detector in DETECTORS).encode(), _OPTIONS)
_STARTING = re2.Set.MatchSet(_OPTIONS)
for _detector in DETECTORS:
    _STARTING.Add(_detector.pattern.encode())
_STARTING.Compile()


def _local_start(data: bytes, end: int, done: int) -> int:
    """Where the local part that goes on at `end` begins, not before `done`."""
    before = _LOCAL_BEFORE.search(data[max(done, end - _LOCAL_BYTES) : end])
    return end - len(before.group()) if before else end


def _at(data: bytes, start: int, done: int, phone_region: str) -> Finding | None:
    """The finding or decoy whose pattern matches at `start`; nothing before `done` belongs to it."""
    for number in sorted(_STARTING.Match(data[start : start + _LONGEST]) or ()):
        match = _COMPILED[number].match(data, start)
        if match is None:  # what stands before `start` forbids it
            continue
        detector = DETECTORS[number]
        first, end = match.span(match.re.groups)
        text = data[first:end].decode()
        accepted = detector.valid(text, phone_region)
        if not accepted:
            continue
        if accepted is not True:
            end = first + len(text[:accepted].encode())
        if detector.kind == "EMAIL":
            first = _local_start(data, first, done)
        kind = detector.kind
        if kind in _NUMERIC and context.part_of_longer(data, first, end):
            continue
        if kind in _OTHER and _OTHER[kind](data, first, end):
            kind = DECOY
        return Finding(kind, first, end)
    return None


def find_in_bytes(data: bytes, phone_region: str) -> list[Finding]:
    """Findings in the order of the text, not overlapping. `data` is UTF-8."""
    found: list[Finding] = []
    place = 0
    while (match := _JOINED.search(data, place)) is not None:
        hit = _at(data, match.start(), found[-1].end if found else 0, phone_region)
        place = hit.end if hit else match.start() + 1
        if hit and hit.kind != DECOY:
            found.append(hit)
    return found
