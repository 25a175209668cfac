"""Personal information made at random: valid by rules written here a second time, in the forms that people use.

Nothing here comes from the detectors, and no case can be told from a real one.
"""

import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import phonenumbers

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


def email_written_out(rng: random.Random) -> str:
    name, domain = email(rng).split("@")
    at, dot = rng.choice([(" [at] ", "."), (" (at) ", "."), ("(at)", "."), (" [at] ", " [dot] ")])
    return name + at + domain.replace(".", dot)


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
        letter = letters[(lead * 10**7 + int(tail)) % 23]
        return rng.choice(["", "-"]).join(["XYZ"[lead], tail]) + rng.choice(["", "-"]) + letter
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
    day = born.day + rng.choice([0, 40])
    month = "ABCDEHLMPRST"[born.month - 1]
    body = f"{letters}{born:%y}{month}{day:02d}{rng.choice('ABCDEFGHL')}{digits(rng, 3)}"
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
    house = f"{rng.randint(1, 240)}{rng.choice(['', '', 'a'])}"
    return f"{flat}{house} {name} {kind}, {city}{rng.choice([' ', ', '])}{post}{capitals(rng, 2)}"


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
    Form("e-mail, written out", "EMAIL", email_written_out, PLAIN),
    Form("card", "CARD", card, CARDS),
    Form("IBAN", "IBAN", iban, IBANS),
    Form("IPv4", "IP", ipv4, HOSTS),
    Form("IPv6", "IP", ipv6, IPS),
    Form("phone, international", "PHONE", phone, PHONES),
    Form("phone, United States", "PHONE", us_phone, PHONES),
    Form("SSN, United States", "NATIONAL_ID", ssn, (*PLAIN, *worded("SSN", "Social Security number"))),
    Form("NINO, United Kingdom", "NATIONAL_ID", nino, worded("National Insurance number", "NI number", "NINO")),
    Form("Steuer-ID, Germany", "NATIONAL_ID", steuer_id, worded("Steuer-ID", "IdNr.", "Identifikationsnummer")),
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
