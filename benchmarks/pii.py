"""Recall and precision of the detectors of personal information, on planted cases in real text, and their speed.

python benchmarks/pii.py [--cases 400] [--seed 7] [--show]
Text: docstrings of the standard library and the installed packages' descriptions. Cases are random, valid by rules
written here a second time, and stand in sentences of varied form; as many hard negatives stand among them. A case
counts as found when exactly its characters are reported under its kind. What is found in the real text beside them is
printed with `--show`, to be judged by eye.
"""

import argparse
import ast
import importlib.metadata
import random
import string
import sysconfig
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import phonenumbers

from arriero.data.pii import find_pii
from arriero.data.pii_detectors import Finding
from arriero.metrics.intervals import wilson

Maker = Callable[[random.Random], str]


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def capitals(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.ascii_uppercase, k=count))


def birth(rng: random.Random) -> date:
    return date(1935, 1, 1) + timedelta(days=rng.randrange(25_000))


# ---- e-mail, cards, accounts, addresses on the Internet, phones
PEOPLE = ["anna", "li", "o'brien", "jose", "müller", "k", "s.okafor", "tomasz", "ingrid", "marc", "priya", "van.dyk"]
DOMAINS = ["gmail.com", "posteo.de", "web-service.co.uk", "cs.uni-trier.de", "mail.ru", "a1.net", "laposte.fr", "x.io"]


def email(rng: random.Random) -> str:
    name = rng.choice(PEOPLE) + rng.choice(["", ".", "_", "-", "+"]) + rng.choice(["smith", "w", "1984", "lists", "x9"])
    return f"{rng.choice([name, name.title(), name.upper()])}@{rng.choice(DOMAINS)}"


def luhn_digit(payload: str) -> str:
    doubled = "0246813579"
    total = sum(int(doubled[int(d)]) if i % 2 == 0 else int(d) for i, d in enumerate(payload[::-1]))
    return str(-total % 10)


def card(rng: random.Random) -> str:
    prefix, size, groups = rng.choice(
        [
            ("4", 16, (4, 4, 4, 4)),
            (str(rng.randint(51, 55)), 16, (4, 4, 4, 4)),
            (str(rng.randint(2221, 2720)), 16, (4, 4, 4, 4)),
            (rng.choice(["34", "37"]), 15, (4, 6, 5)),
            ("6011", 16, (4, 4, 4, 4)),
            ("65", 16, (4, 4, 4, 4)),
            ("36", 14, (4, 6, 4)),
            (str(rng.randint(3528, 3589)), 16, (4, 4, 4, 4)),
            ("4", 19, (4, 4, 4, 4, 3)),
        ]
    )
    payload = prefix + digits(rng, size - len(prefix) - 1)
    return grouped(payload + luhn_digit(payload), groups, rng.choice(["", " ", "-", "\xa0"]))


def grouped(text: str, sizes: tuple[int, ...], separator: str) -> str:
    parts, place = [], 0
    for size in sizes:
        parts.append(text[place : place + size])
        place += size
    return separator.join(parts)


# Account numbers by country: n digits, a capitals, c either (the registry's notation).
IBAN_FORMS = (
    "DE n18|GB a4n14|FR n10c11n2|NL a4n10|ES n20|IT a1n10c12|CH n5c12|PL n24|BE n12|SE n20|PT n21|AT n16|MT a4n5c18"
    "|NO n11|IE a4n14|DK n14|FI n14|GR n7c16|TR n6c16|SA n2c18|AE n19|BR n23a1c1|KZ n3c13|LU n3c13"
)


def iban(rng: random.Random) -> str:
    country, form = rng.choice(IBAN_FORMS.split("|")).split()
    account, place = "", 0
    while place < len(form):
        end = next((i for i in range(place + 1, len(form)) if form[i].isalpha()), len(form))
        letters = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits * 3 + string.ascii_uppercase}
        account += "".join(rng.choices(letters[form[place]], k=int(form[place + 1 : end])))
        place = end
    remainder = 0
    for character in f"{account}{country}00":  # digit by digit, as on paper
        remainder = (
            int(f"{remainder}{string.digits.find(character) if character.isdigit() else ord(character) - 55}") % 97
        )
    whole = f"{country}{98 - remainder:02d}{account}"
    return grouped(whole, (4,) * -(-len(whole) // 4), rng.choice(["", " "]))


def ipv4(rng: random.Random) -> str:
    while True:
        a, b, c, d = rng.randint(1, 223), rng.randrange(256), rng.randrange(256), rng.randint(1, 254)
        private = (
            a in (10, 127)
            or (a, b) in ((192, 168), (169, 254))
            or (a == 172 and 16 <= b < 32)
            or a in (100, 192, 198, 203)
        )
        if not private:
            return f"{a}.{b}.{c}.{d}"


def ipv6(rng: random.Random) -> str:
    groups = [rng.choice(["2a00", "2a02", "2600", "2a03", "2405"]), *(f"{rng.randrange(65536):x}" for _ in range(7))]
    return ":".join(groups) if rng.random() < 0.5 else f"{':'.join(groups[:4])}::{groups[-1]}"


def phone(rng: random.Random) -> str:
    """An example number of a random country, with its last digits drawn anew until it is valid."""
    while True:
        example = phonenumbers.example_number(rng.choice(sorted(phonenumbers.SUPPORTED_REGIONS)))
        tail = 10 ** rng.randint(0, 4)
        national = example.national_number // tail * tail + rng.randrange(tail)
        number = phonenumbers.PhoneNumber(country_code=example.country_code, national_number=national)
        if national >= 10**6 and phonenumbers.is_valid_number(number):
            formats = (phonenumbers.PhoneNumberFormat.INTERNATIONAL, phonenumbers.PhoneNumberFormat.E164)
            return phonenumbers.format_number(number, rng.choice(formats))


def us_phone(rng: random.Random) -> str:
    area, exchange = rng.choice(["212", "415", "617", "303", "512", "206", "702"]), str(rng.randint(222, 988))
    if exchange[1:] == "11":
        exchange = "234"
    return rng.choice(["({}) {}-{}", "{}-{}-{}", "{}.{}.{}", "1-{}-{}-{}"]).format(area, exchange, digits(rng, 4))


# ---- national ids
def ssn(rng: random.Random) -> str:
    area = rng.choice([*range(1, 666), *range(667, 900)])
    return f"{area:03d}-{rng.randint(1, 99):02d}-{rng.randint(1, 9999):04d}"


def nino(rng: random.Random) -> str:
    prefix = rng.choice(["AB", "CE", "JM", "PW", "SR", "YT", "LK", "NA"])
    number, suffix = digits(rng, 6), rng.choice("ABCD")
    return rng.choice([f"{prefix}{number}{suffix}", f"{prefix} {grouped(number, (2, 2, 2), ' ')} {suffix}"])


def steuer_id(rng: random.Random) -> str:
    ten = rng.sample(string.digits, 10)
    ten[rng.randrange(1, 10)] = ten[0]
    rng.shuffle(ten)
    if ten[0] == "0":
        return steuer_id(rng)
    check = 10
    for digit in ten:
        check = (check + int(digit)) % 10
        check = (check if check else 10) * 2 % 11
    number = "".join(ten) + str((11 - check) % 10)
    return grouped(number, (2, 3, 3, 3), rng.choice(["", " "]))


def dni(rng: random.Random) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if rng.random() < 0.4:
        lead, tail = rng.randrange(3), digits(rng, 7)
        return f"{'XYZ'[lead]}{rng.choice(['', '-'])}{tail}{rng.choice(['', '-'])}{letters[(lead * 10**7 + int(tail)) % 23]}"
    number = digits(rng, 8)
    shown = rng.choice([number, f"{number[:2]}.{number[2:5]}.{number[5:]}"])
    return f"{shown}{rng.choice(['', '-'])}{letters[int(number) % 23]}"


def nir(rng: random.Random) -> str:
    born = birth(rng)
    body = f"{rng.choice('12')}{born:%y%m}{rng.randint(1, 95):02d}{rng.randint(1, 600):03d}{rng.randint(1, 999):03d}"
    return grouped(f"{body}{97 - int(body) % 97:02d}", (1, 2, 2, 2, 3, 3, 2), rng.choice(["", " "]))


def codice_fiscale(rng: random.Random) -> str:
    born, consonants = birth(rng), "BCDFGLMNPRSTVZ"
    letters = "".join(rng.choices(consonants, k=6))
    body = f"{letters}{born:%y}{'ABCDEHLMPRST'[born.month - 1]}{born.day + rng.choice([0, 40]):02d}{rng.choice('ABCDEFGHL')}{digits(rng, 3)}"
    odd = dict(
        zip(
            string.digits + string.ascii_uppercase,
            [1, 0, 5, 7, 9, 13, 15, 17, 19, 21] * 2 + [2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23],
            strict=True,
        )
    )
    even = {character: place for row in (string.digits, string.ascii_uppercase) for place, character in enumerate(row)}
    total = sum(odd[c] for c in body[::2]) + sum(even[c] for c in body[1::2])
    return body + string.ascii_uppercase[total % 26]


def bsn(rng: random.Random) -> str:
    while True:
        number = digits(rng, 9)
        if int(number) and (sum((9 - i) * int(number[i]) for i in range(8)) - int(number[8])) % 11 == 0:
            return number


def cpf(rng: random.Random) -> str:
    number = digits(rng, 9)
    for _ in range(2):
        rest = sum(int(d) * w for w, d in enumerate(reversed(number), 2)) % 11
        number += str(0 if rest < 2 else 11 - rest)
    return f"{grouped(number[:9], (3, 3, 3), '.')}-{number[9:]}"


def personnummer(rng: random.Random) -> str:
    nine = f"{birth(rng):%y%m%d}{digits(rng, 3)}"
    return f"{nine[:6]}-{nine[6:]}{luhn_digit(nine)}"


# ---- street addresses
def us_address(rng: random.Random) -> str:
    name = rng.choice(
        ["Maple", "Oak Hill", "Martin Luther King", "Elm", "5th", "N Lincoln", "West Ridge", "Sunset", "St. Clair"]
    )
    # The ten commonest suffixes of the United States, roughly by how often they occur.
    kind = rng.choices(
        [
            "Street",
            "St",
            "St.",
            "Road",
            "Rd",
            "Avenue",
            "Ave",
            "Drive",
            "Dr",
            "Lane",
            "Ln",
            "Court",
            "Ct",
            "Place",
            "Boulevard",
            "Blvd",
            "Way",
            "Circle",
        ],
        [9, 5, 3, 6, 4, 6, 4, 5, 3, 4, 2, 3, 2, 2, 2, 2, 2, 2],
    )[0]
    unit = rng.choice(["", "", ", Apt 4B", ", Suite 210", " #12", ", Unit 7"])
    city, state = rng.choice(
        [("Springfield", "IL"), ("Fort Worth", "TX"), ("Portland", "OR"), ("St. Paul", "MN"), ("Mesa", "AZ")]
    )
    town = rng.choice([", {}, {} {}", "\n{}, {} {}", ", {} {} {}"]).format(city, state, digits(rng, 5))
    return f"{rng.randint(1, 9999)} {name} {kind}{unit}{town if rng.random() < 0.85 else ''}"


def uk_address(rng: random.Random) -> str:
    name = rng.choice(["Church", "Victoria", "Station", "Queen's", "Mill", "High", "Albert", "King William"])
    kind = rng.choice(["Road", "Street", "Lane", "Close", "Avenue", "Gardens", "Terrace", "Crescent", "Drive", "Way"])
    city, post = rng.choice(
        [("London", "SW1A 2"), ("Leeds", "LS6 3"), ("York", "YO10 4"), ("Cardiff", "CF24 3"), ("Bath", "BA2 7")]
    )
    flat = rng.choice(["", "", "", "Flat 3, "])
    return f"{flat}{rng.randint(1, 240)}{rng.choice(['', '', 'a'])} {name} {kind}, {city}{rng.choice([' ', ', '])}{post}{capitals(rng, 2)}"


def german_address(rng: random.Random) -> str:
    street = rng.choice(
        [
            "Goethestraße",
            "Bahnhofstr.",
            "Berliner Straße",
            "Lindenweg",
            "Marktplatz",
            "Königsallee",
            "Mühlgasse",
            "Schloss-Straße",
        ]
    )
    city = rng.choice(["Berlin", "Köln", "Frankfurt am Main", "Weil der Stadt", "Bad Homburg"])
    return f"{street} {rng.randint(1, 180)}{rng.choice(['', '', 'a', ' b'])}, {rng.randint(1067, 99998):05d} {city}"


def french_address(rng: random.Random) -> str:
    street = rng.choice(
        [
            "rue de la République",
            "avenue Victor Hugo",
            "boulevard Saint-Michel",
            "place Bellecour",
            "chemin des Vignes",
            "allée Jean Moulin",
            "rue d'Alésia",
            "quai Voltaire",
        ]
    )
    city = rng.choice(["Paris", "Lyon", "Aix-en-Provence", "Saint-Étienne", "Le Havre"])
    return f"{rng.randint(1, 150)}{rng.choice(['', '', ' bis', ','])} {street}, {rng.randint(1000, 95999):05d} {city}"


@dataclass(frozen=True)
class Form:
    """One form of a kind, with the sentences it stands in ({} is the case)."""

    name: str
    kind: str
    make: Maker
    sentences: tuple[str, ...]


PLAIN = (
    "You can use {} for this.", "It was {}, as we had written before.", "* {}", "({})", "value: {}", "see <{}>", '"{}"',
    "| {} | yes |", "Nothing else but {}\nwas left.", "from {} to somebody else", "{}",
)  # fmt: skip
MAILS = (*PLAIN, "mailto:{}", "Contact: {}.", "Jean <{}>,", "write to {}!", "{}: thank you", "author='{}',")
CARDS = (*PLAIN, "card number {}, expires 09/27", "Visa:{}", "paid with {}.", "cc={};")
IBANS = (*PLAIN, "IBAN: {}", "transfer to {}.", "IBAN {} BIC GENODEF1M04", "Konto {}, Bank")
IPS = (*PLAIN, "login from {} failed", "{} - - [10/Oct/2021:13:55:36 +0200] GET /", "http://{}/index.html", "ip={},")
HOSTS = (*IPS, "listen on {}:8080", "ssh root@{}")
PHONES = (*PLAIN, "Tel: {}", "phone {}.", "call me at {}, please", "Fax:{}", "T. {}")


def worded(*words: str) -> tuple[str, ...]:
    return tuple(f"{word}{rest}" for word in words for rest in (" {}.", ": {}", " is {}, I think", " ({})"))


FORMS = (
    Form("e-mail", "EMAIL", email, MAILS),
    Form("e-mail, written out", "EMAIL", lambda rng: email(rng).replace("'", "").replace("@", rng.choice([" [at] ", " (at) ", "(at)"])), PLAIN),
    Form("card", "CARD", card, CARDS),
    Form("IBAN", "IBAN", iban, IBANS),
    Form("IPv4", "IP", ipv4, HOSTS),
    Form("IPv6", "IP", ipv6, IPS),
    Form("phone, international", "PHONE", phone, PHONES),
    Form("phone, United States", "PHONE", us_phone, PHONES),
    Form("SSN, United States", "NATIONAL_ID", ssn, (*PLAIN, *worded("SSN", "Social Security number"))),
    Form("NINO, United Kingdom", "NATIONAL_ID", nino, worded("National Insurance number", "NI number", "NINO")),
    Form("Steuer-ID, Germany", "NATIONAL_ID", steuer_id, worded("Steuer-ID", "IdNr.", "Steuerliche Identifikationsnummer")),
    Form("DNI and NIE, Spain", "NATIONAL_ID", dni, (*PLAIN, *worded("DNI", "NIE"))),
    Form("NIR, France", "NATIONAL_ID", nir, (*PLAIN, *worded("n° de sécurité sociale", "NIR"))),
    Form("codice fiscale, Italy", "NATIONAL_ID", codice_fiscale, (*PLAIN, *worded("C.F.", "codice fiscale"))),
    Form("BSN, Netherlands", "NATIONAL_ID", bsn, worded("BSN", "burgerservicenummer")),
    Form("CPF, Brazil", "NATIONAL_ID", cpf, (*PLAIN, *worded("CPF"))),
    Form("personnummer, Sweden", "NATIONAL_ID", personnummer, (*PLAIN, *worded("personnummer"))),
    Form("address, United States", "ADDRESS", us_address, (*PLAIN, "I live at {}.", "Send it to {}", "Address: {}")),
    Form("address, United Kingdom", "ADDRESS", uk_address, (*PLAIN, "I live at {}.", "Send it to {}", "Address: {}")),
    Form("address, Germany", "ADDRESS", german_address, (*PLAIN, "Anschrift: {}", "Er wohnt in der {}.")),
    Form("address, France", "ADDRESS", french_address, (*PLAIN, "Adresse : {}", "J'habite au {}.")),
)  # fmt: skip


# ---- what only looks like a case
def isbn(rng: random.Random) -> str:
    body = f"978{digits(rng, 9)}"
    check = -sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(body)) % 10
    return rng.choice([f"{body}{check}", f"978-{body[3]}-{body[4:8]}-{body[8:]}-{check}"])


def moment(rng: random.Random) -> str:
    seconds = rng.randrange(10**9, 2 * 10**9)
    at = time.strftime(
        rng.choice(["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S", "%d.%m.%Y", "%Y%m%d%H%M%S"]), time.gmtime(seconds)
    )
    return rng.choice([at, str(seconds), str(seconds * 1000 + rng.randrange(1000)), f"{seconds}.{digits(rng, 6)}"])


def version(rng: random.Random) -> str:
    parts = ".".join(str(rng.choice([0, 1, 2, 3, 5, 9, 12, 21, 64])) for _ in range(rng.choice([3, 4, 4])))
    return rng.choice([parts, f"v{parts}", f"version {parts}", f"requests=={parts}", f"{parts}rc1"])


NEGATIVES: dict[str, Maker] = {
    "version": version,
    "large version": lambda rng: f"{rng.choice(['version', 'Version:', 'release', 'build'])} {rng.randint(32, 140)}.0.{rng.randint(100, 255)}.{rng.randint(1, 255)}",
    "ISBN": isbn,
    "hash": lambda rng: "".join(rng.choices("0123456789abcdef", k=rng.choice([7, 32, 40, 64]))),
    "capital hash": lambda rng: "".join(rng.choices("0123456789ABCDEF", k=rng.choice([8, 16, 32, 40]))),
    "time": moment,
    "constant": lambda rng: rng.choice(["0x{}", "{}L", "1e{}", "{}u", "-{}"]).format(digits(rng, rng.choice([4, 8, 16]))),
    "long number": lambda rng: digits(rng, rng.randint(7, 20)).lstrip("0") or "7",
    "decimal": lambda rng: f"{rng.choice(['', '-', '+'])}{digits(rng, rng.randint(1, 7))}.{digits(rng, rng.randint(1, 17))}",
    "price": lambda rng: f"{rng.choice(['$', '€', '£'])}{rng.randrange(1000)},{digits(rng, 3)}.{digits(rng, 2)}",
    "MAC": lambda rng: rng.choice([":", "-"]).join(f"{rng.randrange(256):02x}" for _ in range(6)),
    "UUID": lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    "part number": lambda rng: f"{capitals(rng, rng.randint(1, 3))}{rng.choice(['', '-'])}{digits(rng, rng.randint(4, 8))}{rng.choice(['', capitals(rng, 1)])}",
    "numbers": lambda rng: " ".join(digits(rng, rng.choice([2, 3, 4])) for _ in range(rng.randint(3, 8))),
    "private address": lambda rng: rng.choice(["192.168.{}.{}", "10.0.{}.{}", "127.0.{}.{}", "172.16.{}.{}"]).format(rng.randrange(256), rng.randrange(256)),
    "C++ name": lambda rng: f"std::{rng.choice(['chrono', 'add', 'bad', 'cafe'])}::{rng.choice(['face', 'abc', 'dec'])}",
    "retina image": lambda rng: f"icon{digits(rng, 2)}@2x.{rng.choice(['png', 'jpg'])}",
    "pinned package": lambda rng: f"left-pad@{rng.randrange(20)}.{rng.randrange(20)}.{rng.randrange(20)}",
    "example address": lambda rng: f"{rng.choice(['user', 'jane.doe'])}@{rng.choice(['example.com', 'mail.example.org'])}",
    "heading": lambda rng: f"{rng.randint(2, 30)} {rng.choice(['Easy Ways', 'Best Places', 'Things On The Way', 'Road Trips', 'Day Drive', 'Wall Street banks', 'Abbey Road Sessions', 'New Drive letters', 'Hidden Place Holders'])}",
    "year and street": lambda rng: f"In {rng.randint(1900, 2030)} {rng.choice(['Wall Street', 'Fleet Street', 'Sesame Street'])} {rng.choice(['changed', 'was another', 'and Broadway'])}",
    "German compound": lambda rng: f"{rng.choice(['Kreislauf', 'Anhang', 'Lehrweg', 'Vorsprung', 'Hering'])} {rng.randint(1, 99)}, {digits(rng, 4)}",
}  # fmt: skip


def real_texts() -> list[str]:
    """Descriptions of the installed packages and docstrings of the standard library's modules."""
    texts = [
        str(distribution.metadata.get_payload() or distribution.metadata.get("Description") or "")
        for distribution in sorted(importlib.metadata.distributions(), key=lambda d: str(d.metadata["Name"]))
    ]
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        tree = ast.parse(path.read_text("utf-8", "replace"))
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
        texts.append("\n\n".join(filter(None, map(ast.get_docstring, nodes))))
    return [text for text in texts if len(text) > 500]


@dataclass(frozen=True)
class Planted:
    """`name` is the form's or the negative's; `kind` is empty for a negative; offsets in bytes."""

    name: str
    kind: str
    start: int
    end: int


def plant(text: str, cases: list[tuple[str, str, str, str]], rng: random.Random) -> tuple[str, list[Planted]]:
    """`text` with each case (name, kind, sentence, value) in a line of its own or behind one, at random places."""
    lines = text.split("\n")
    places = sorted((rng.randrange(len(lines) + 1) for _ in cases))
    out, planted, last = b"", [], 0
    for place, (name, kind, sentence, value) in zip(places, cases, strict=True):
        out += "".join(line + "\n" for line in lines[last:place]).encode()
        last = place
        before, after = sentence.split("{}")
        start = len(out) + len(before.encode())
        planted.append(Planted(name, kind, start, start + len(value.encode())))
        out += f"{before}{value}{after}\n".encode()
    return (out + "\n".join(lines[last:]).encode()).decode(), planted


@dataclass
class Counts:
    """What came of a run: per form cases and hits, per kind true and false findings, and examples of both errors."""

    cases: Counter[str]
    hits: Counter[str]
    true: Counter[str]
    false: Counter[str]
    missed: list[tuple[str, str]]
    wrong: list[tuple[str, str, str]]


def measure(texts: list[str], per_form: int, seed: int) -> Counts:
    """Plants `per_form` cases of every form and in all as many negatives, and compares what is found."""
    rng = random.Random(seed)
    cases = [(f.name, f.kind, rng.choice(f.sentences), f.make(rng)) for f in FORMS for _ in range(per_form)]
    names = sorted(NEGATIVES)
    for _ in range(len(cases)):
        name = rng.choice(names)
        cases.append((name, "", rng.choice(PLAIN), NEGATIVES[name](rng)))
    rng.shuffle(cases)
    counts = Counts(Counter(), Counter(), Counter(), Counter(), [], [])
    for number, text in enumerate(texts):
        mixed, planted = plant(text, cases[number :: len(texts)], rng)
        compare(mixed, planted, Counter(found_values(text, find_pii(text))), counts)
    return counts


def found_values(text: str, findings: list[Finding]) -> list[tuple[str, str]]:
    data = text.encode()
    return [(finding.kind, data[finding.start : finding.end].decode()) for finding in findings]


def compare(text: str, planted: list[Planted], unplanted: Counter[tuple[str, str]], counts: Counts) -> None:
    """A finding that is neither planted nor (`unplanted`) in the real text is false."""
    findings, data = find_pii(text), text.encode()
    exact = {(case.kind, case.start, case.end): case for case in planted if case.kind}
    hit = set()
    for finding, value in zip(findings, found_values(text, findings), strict=True):
        case = exact.get((finding.kind, finding.start, finding.end))
        touched = [c for c in planted if c.start < finding.end and finding.start < c.end]
        if case is not None:
            hit.add(case)
            counts.true[finding.kind] += 1
        elif touched or not unplanted[value]:
            # A part of a case of this kind is a wrong boundary: a miss, and no right finding either.
            counts.false[finding.kind] += 1
            counts.wrong.append((touched[0].name if touched else "real text", *value))
    for case in exact.values():
        counts.cases[case.name] += 1
        counts.hits[case.name] += case in hit
        if case not in hit:
            counts.missed.append((case.name, data[max(0, case.start - 20) : case.end + 12].decode(errors="replace")))


def table(counts: Counts) -> None:
    print(f"{'form':28} {'found':>11}  recall  95% interval")
    for form in FORMS:
        share = wilson(counts.hits[form.name], counts.cases[form.name])
        print(
            f"{form.name:28} {counts.hits[form.name]:5} /{share.n:5}  {share.mean:.3f}  {share.low:.3f} to {share.high:.3f}"
        )
    print(f"\n{'kind':28} {'right':>11}  precision  95% interval")
    for kind in dict.fromkeys(form.kind for form in FORMS):
        share = wilson(counts.true[kind], counts.true[kind] + counts.false[kind])
        print(f"{kind:28} {counts.true[kind]:5} /{share.n:5}  {share.mean:.3f}     {share.low:.3f} to {share.high:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=400, help="cases of every form")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--show", action="store_true", help="print misses, false findings, and findings in the real text"
    )
    args = parser.parse_args()
    texts = real_texts()
    size = sum(len(text.encode()) for text in texts)
    seconds = []
    for _ in range(5):
        started = time.process_time()
        real = [(text, find_pii(text)) for text in texts]
        seconds.append(time.process_time() - started)
    print(f"{len(texts)} real texts, {size / 1e6:.2f} MB, {size / min(seconds) / 1e6:.0f} MB/s of CPU time")
    kinds = Counter(finding.kind for _, findings in real for finding in findings)
    print(f"findings in them: {dict(sorted(kinds.items()))}\n")
    counts = measure(texts, args.cases, args.seed)
    table(counts)
    if args.show:
        for title, rows in (("missed", counts.missed), ("false", counts.wrong)):
            print(f"\n{title}")
            for row in rows:
                print("  ", *map(repr, row))
        print("\nin the real text")
        for text, findings in real:
            data = text.encode()
            for finding in findings:
                print("  ", finding.kind, data[max(0, finding.start - 30) : finding.end + 15])


if __name__ == "__main__":
    main()
