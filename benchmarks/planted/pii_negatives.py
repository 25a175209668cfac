"""Numbers and words that only look like personal information."""

import random
import time
import uuid

from planted.pii_cases import Maker, capitals, digits


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


def large_version(rng: random.Random) -> str:
    word = rng.choice(["version", "Version:", "release", "build"])
    return f"{word} {rng.randint(32, 140)}.0.{rng.randint(100, 255)}.{rng.randint(1, 255)}"


def decimal(rng: random.Random) -> str:
    return f"{rng.choice(['', '-', '+'])}{digits(rng, rng.randint(1, 7))}.{digits(rng, rng.randint(1, 17))}"


def constant(rng: random.Random) -> str:
    return rng.choice(["0x{}", "{}L", "1e{}", "{}u", "-{}"]).format(digits(rng, rng.choice([4, 8, 16])))


def part_number(rng: random.Random) -> str:
    letters, number = capitals(rng, rng.randint(1, 3)), digits(rng, rng.randint(4, 8))
    return letters + rng.choice(["", "-"]) + number + rng.choice(["", capitals(rng, 1)])


def private_address(rng: random.Random) -> str:
    network = rng.choice(["192.168", "10.0", "127.0", "172.16"])
    return f"{network}.{rng.randrange(256)}.{rng.randrange(256)}"


def one_of(*texts: str) -> Maker:
    return lambda rng: rng.choice(texts)


def numbered(form: str, first: int, last: int, *texts: str) -> Maker:
    """`form` with a number between `first` and `last` for {n} and one of `texts` for {t}."""
    return lambda rng: form.format(n=rng.randint(first, last), t=rng.choice(texts))


NEGATIVES: dict[str, Maker] = {
    "version": version,
    "large version": large_version,
    "ISBN": isbn,
    "hash": lambda rng: "".join(rng.choices("0123456789abcdef", k=rng.choice([7, 32, 40, 64]))),
    "capital hash": lambda rng: "".join(rng.choices("0123456789ABCDEF", k=rng.choice([8, 16, 32, 40]))),
    "time": moment,
    "constant": constant,
    "long number": lambda rng: digits(rng, rng.randint(7, 20)).lstrip("0") or "7",
    "decimal": decimal,
    "price": lambda rng: f"{rng.choice(['$', '€', '£'])}{rng.randrange(1000)},{digits(rng, 3)}.{digits(rng, 2)}",
    "MAC": lambda rng: rng.choice([":", "-"]).join(f"{rng.randrange(256):02x}" for _ in range(6)),
    "UUID": lambda rng: str(uuid.UUID(int=rng.getrandbits(128))),
    "part number": part_number,
    "numbers": lambda rng: " ".join(digits(rng, rng.choice([2, 3, 4])) for _ in range(rng.randint(3, 8))),
    "private address": private_address,
    "C++ name": one_of("std::chrono::face", "bad::cafe::dec", "add::abc", "2001::time_point", "cafe::babe::add"),
    "retina image": numbered("icon{n}@2x.{t}", 1, 99, "png", "jpg"),
    "pinned package": numbered("left-pad@{n}.{t}", 0, 20, "0.1", "12.3", "1.0-rc.1"),
    "example address": numbered("user{n}@{t}", 1, 99, "example.com", "mail.example.org", "example.net"),
    "heading": numbered(
        "{n} {t}", 2, 30,
        "Easy Ways", "Best Places", "Things On The Way", "Road Trips", "Day Drive", "Wall Street banks",
        "Abbey Road Sessions", "New Drive letters", "Hidden Place Holders", "Open Data Square",
    ),
    "chapter": numbered("{t}", 1, 2, "Chapter 3 Abbey Road.", "Figure 12 Main Street.", "Section 4 High Road."),
    "year and street": numbered("In {n} {t}", 1900, 2030, "Wall Street changed", "Fleet Street", "Sesame Street was"),
    "German compound": numbered("{t}", 1, 2, "Anhang 4, 1000 Wege", "Lehrweg 12, 104 Seiten", "Hering 3, 99 Kisten"),
}  # fmt: skip
