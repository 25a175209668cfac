"""Personal information: validators against closed forms, findings against planted ones, sites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_crawl import documents, prose, reasons

from arriero.data.pii import PiiConfig, clean_pii, find_pii, redact, site_of
from arriero.data.pii_checks import IBAN_LENGTHS, iban_valid, luhn_valid

DIGITS = st.text("0123456789", min_size=1, max_size=18)


@given(DIGITS)
def test_luhn_has_exactly_one_check_digit(payload: str) -> None:
    assert sum(luhn_valid(payload + check) for check in "0123456789") == 1


@given(DIGITS, st.data())
def test_luhn_sees_every_wrong_digit(payload: str, data: st.DataObject) -> None:
    valid = next(payload + check for check in "0123456789" if luhn_valid(payload + check))
    place = data.draw(st.integers(0, len(valid) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != valid[place]]))
    assert not luhn_valid(valid[:place] + other + valid[place + 1 :])


def make_iban(country: str, account: str) -> str:
    """ISO 13616: the check digits are 98 - (account, country, 00 in base-36 digits) mod 97."""
    digits = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    return f"{country}{98 - int(digits) % 97:02d}{account}"


@given(st.sampled_from(sorted(IBAN_LENGTHS)), st.data())
def test_iban_accepts_the_check_digits_of_the_standard_and_no_other_character(
    country: str, data: st.DataObject
) -> None:
    size = IBAN_LENGTHS[country] - 4
    iban = make_iban(country, data.draw(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=size, max_size=size)))
    assert iban_valid(iban)
    place = data.draw(st.integers(4, len(iban) - 1))
    # One changed digit changes the number by d * 10^k with 0 < |d| < 10, which 97 does not divide.
    if iban[place].isdigit():
        assert not iban_valid(iban[:place] + str((int(iban[place]) + 1) % 10) + iban[place + 1 :])
    assert not iban_valid(iban[:-1])


# The registry's own examples.
@pytest.mark.parametrize("iban", ["DE89370400440532013000", "GB29NWBK60161331926819", "FR1420041010050500013M02606"])
def test_iban_examples_of_the_registry(iban: str) -> None:
    assert iban_valid(iban)


@pytest.mark.parametrize(
    ("planted", "kind"),
    [
        ("jane.doe+news@mail.acme-corp.org", "EMAIL"),
        ("DE89 3704 0044 0532 0130 00", "IBAN"),
        ("GB29NWBK60161331926819", "IBAN"),
        ("4111 1111 1111 1111", "CARD"),
        ("5500-0055-5555-5559", "CARD"),
        ("378282246310005", "CARD"),
        ("+1 (212) 555-0123", "PHONE"),
        ("+44 20 7946 0958", "PHONE"),
        ("212-555-0198", "PHONE"),
        ("(212) 555-0198", "PHONE"),
        ("93.184.216.34", "IP"),
        ("2606:2800:220:1:248:1893:25c8:1946", "IP"),
    ],
)
def test_planted_findings(planted: str, kind: str) -> None:
    before, after = "Übrigens, reach me via ", ", or LATER by 10 o'clock."
    found = find_pii(before + planted + after)
    assert redact(before + planted + after, found) == f"{before}[{kind}]{after}"


@pytest.mark.parametrize(
    "innocent",
    [
        "4111 1111 1111 1112",  # fails Luhn
        "1234567812345670",  # passes Luhn, but no issuer's number begins so
        "0000 0000 0000 0000",
        "DE89 3704 0044 0532 0130 01",
        "127.0.0.1 10.0.0.1 192.168.1.1 192.0.2.5 300.1.1.1",
        "1.3.6.1.4.1.311",  # an object identifier
        "::1 fe80::1 2001:db8::1 12:34:56 std::chrono::seconds abc::def",
        "0.4111111111111111",
        "0x4111111111111111",
        "2016-10-31 12:34:56 and 123-456-7890",
        "1 + 2345678901 = 2345678902",
        "@functools.wraps(f) a @ b  user@host",
    ],
)
def test_what_only_looks_like_a_finding(innocent: str) -> None:
    assert find_pii(f"see {innocent} there") == []


@given(st.text(max_size=40), st.text(max_size=40))
def test_redaction_leaves_all_other_text_alone(before: str, after: str) -> None:
    text = f"{before} jane@acme.org {after}"
    redacted = redact(text, find_pii(text))
    assert redacted.startswith(f"{before} ")
    assert redacted.endswith(f" {after}")
    assert "jane@acme.org" not in redacted


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://a.b.foo.co.uk/x?y", "foo.co.uk"),
        ("https://docs.python.org/3/", "python.org"),
        ("https://numpy.example/docs/1", "numpy.example"),
        ("https://x.y.numpy.example/", "numpy.example"),
        ("http://127.0.0.1:80/x", "127.0.0.1"),
    ],
)
def test_site_is_the_registrable_domain(url: str, site: str) -> None:
    assert site_of(url) == site


def test_a_site_full_of_personal_information_goes_whole_and_others_are_redacted() -> None:
    directory = " ".join(f"person{n}@home{n}.net" for n in range(12))
    footer = "write to team@busy.org " * 12  # many findings, but one and the same
    texts = [prose(1) + directory, prose(2), prose(3) + footer, directory, prose(5) + " ask bob@mail.org"]
    urls = [
        "https://a.people.com/1",
        "https://b.people.com/2",
        "https://busy.org/",
        "https://ref.com/",
        "https://one.org/",
    ]
    kinds = ["web", "web", "web", "reference", "web"]
    result = clean_pii(documents(texts, url=urls, kind=kinds), PiiConfig())
    # The clean page of the removed site goes too; reference text is no site, whatever it holds.
    assert reasons(result) == ["pii_site", "pii_site", None, None, None]
    assert result["text"].to_pylist()[4] == prose(5) + " ask [EMAIL]"
    assert "@" not in result["text"].to_pylist()[3]


def test_site_threshold_is_per_thousand_words() -> None:
    text = prose(1) + " " + " ".join(f"p{n}@home{n}.net" for n in range(10))
    density = 10_000 / len(text.split())
    above = clean_pii(documents([text]), PiiConfig(max_per_1000_words=density - 0.01))
    at = clean_pii(documents([text]), PiiConfig(max_per_1000_words=density + 0.01))
    few = clean_pii(documents([text]), PiiConfig(max_per_1000_words=0, min_findings=11))
    assert [reasons(result) for result in (above, at, few)] == [["pii_site"], [None], [None]]
