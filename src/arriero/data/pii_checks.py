"""Which numbers can belong to a person: check digits, ranges and dates of cards, accounts and national ids.

Each function takes a candidate as it stood in the text, with its separators, and tells whether it is valid. Sources
stand beside them; where a number has check digits, a random one of its form passes once in 10 to 100 times.
"""

from datetime import date
from itertools import cycle

# Digits that issuers' numbers begin with, and the lengths they have (ISO/IEC 7812 ranges of the large networks).
CARD_LENGTHS = {
    "4": (13, 16, 19),  # Visa
    **{str(prefix): (16,) for prefix in (*range(51, 56), *range(2221, 2721))},  # Mastercard
    **{str(prefix): (15,) for prefix in (34, 37)},  # American Express
    **{str(prefix): (16, 19) for prefix in (6011, *range(644, 650), 65)},  # Discover
    **{str(prefix): (14, 16, 19) for prefix in (36, 38, *range(300, 306))},  # Diners
    **{str(prefix): (16, 17, 18, 19) for prefix in (*range(3528, 3590), 62)},  # JCB, UnionPay
    **dict.fromkeys(("2131", "1800"), (15,)),  # JCB
    **{
        str(prefix): tuple(range(12, 20)) for prefix in (5018, 5020, 5038, 5893, 6304, 6759, 6761, 6762, 6763)
    },  # Maestro
}

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


def digits_of(text: str) -> list[int]:
    return [int(character) for character in text if "0" <= character <= "9"]


def alphanumeric(text: str) -> str:
    """`text` without separators, in capitals."""
    return "".join(character for character in text.upper() if character.isascii() and character.isalnum())


def real_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def luhn_valid(text: str) -> bool:
    """Whether the last digit is the Luhn check digit (ISO/IEC 7812-1 annex B) of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits_of(text))):
        value = digit * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def card_valid(text: str) -> bool:
    """A payment card: an issuer's range and length, and the Luhn digit."""
    digits = alphanumeric(text)
    known = any(len(digits) in CARD_LENGTHS.get(digits[:size], ()) for size in (1, 2, 3, 4))
    return known and len(set(digits)) > 1 and luhn_valid(digits)


def iban_valid(text: str) -> bool:
    """An account number with its country's length and the check digits of ISO 13616, in capitals."""
    iban = alphanumeric(text)
    if len(iban) != IBAN_LENGTHS.get(iban[:2]) or text != text.upper():
        return False
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97 == 1


def ssn_valid(text: str) -> bool:
    """United States: numbers the Social Security Administration never issues are not valid (SSA, POMS RM 10201)."""
    digits = alphanumeric(text)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    advertised = {"078051120", "219099999", "123456789"}  # printed on specimen cards
    return (
        area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and digits not in advertised
    )


def sin_valid(text: str) -> bool:
    """Canada: Luhn; 0 and 8 begin no social insurance number."""
    return alphanumeric(text)[0] not in "08" and luhn_valid(text)


def nino_valid(text: str) -> bool:
    """United Kingdom: prefixes that are never allocated (HMRC, NIM39110)."""
    prefix = alphanumeric(text)[:2]
    unused = {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}
    return prefix not in unused and prefix[0] not in "DFIQUV" and prefix[1] not in "DFIOQUV"


def steuer_id_valid(text: str) -> bool:
    """Germany: among the first ten digits exactly one stands twice or thrice; ISO/IEC 7064 MOD 11,10."""
    digits = digits_of(text)
    repeated = [count for digit in range(10) if (count := digits[:10].count(digit)) > 1]
    if digits[0] == 0 or len(repeated) != 1 or repeated[0] > 3:
        return False
    product = 10
    for digit in digits[:10]:
        product = 2 * ((product + digit) % 10 or 10) % 11
    return (11 - product) % 10 == digits[10]


def dni_valid(text: str) -> bool:
    """Spain, DNI and NIE (whose X, Y, Z count as 0, 1, 2): the letter is the number modulo 23 in this row."""
    number = alphanumeric(text)
    lead = str("XYZ".index(number[0])) if number[0] in "XYZ" else number[0]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(lead + number[1:-1]) % 23] == number[-1]


def nir_valid(text: str) -> bool:
    """France: 13 digits (Corsica's 2A and 2B count as 19 and 18) and the key 97 - number mod 97."""
    number = alphanumeric(text)
    month = int(number[3:5])
    digits = number.replace("2A", "19").replace("2B", "18") if number[5:7] in ("2A", "2B") else number
    # Months beyond 12: month of birth unknown (20, 30 to 42, 50 and more).
    return (1 <= month <= 12 or month >= 20) and 97 - int(digits[:13]) % 97 == int(digits[13:])


def codice_fiscale_valid(text: str) -> bool:
    """Italy: the last letter is a sum modulo 26, with own values at odd places (decree of 23 December 1976)."""
    code = alphanumeric(text)
    odd = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
    values = [ord(character) - (48 if character.isdigit() else 65) for character in code[:15]]
    total = sum(odd[value] if place % 2 == 0 else value for place, value in enumerate(values))
    return total % 26 == ord(code[15]) - 65


def bsn_valid(text: str) -> bool:
    """Netherlands: the "eleven test", weights 9 to 2 and -1."""
    digits = digits_of(text)
    return any(digits) and sum(w * d for w, d in zip((9, 8, 7, 6, 5, 4, 3, 2, -1), digits, strict=True)) % 11 == 0


def rijksregister_valid(text: str) -> bool:
    """Belgium: 97 - number mod 97, with a 2 before it for those born since 2000."""
    digits = alphanumeric(text)
    key = int(digits[9:])
    return any(97 - int(century + digits[:9]) % 97 == key for century in ("", "2")) and int(digits[2:4]) <= 12


def personnummer_valid(text: str) -> bool:
    """Sweden: a date (day + 60 in coordination numbers) and the Luhn digit over the last ten."""
    digits = alphanumeric(text)[-10:]
    day = int(digits[4:6])
    return real_date(2000, int(digits[2:4]), day - 60 if day > 60 else day) and luhn_valid(digits)


def hetu_valid(text: str) -> bool:
    """Finland: a date, and the nine digits modulo 31 in this row."""
    digits, check = "".join(map(str, digits_of(text[:10]))), text[-1]
    born = real_date(2000, int(digits[2:4]), int(digits[:2]))
    return born and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == check


def pesel_valid(text: str) -> bool:
    """Poland: weights 1, 3, 7, 9; the century is added to the month."""
    digits = digits_of(text)
    month = (10 * digits[2] + digits[3]) % 20
    total = sum(weight * digit for weight, digit in zip(cycle((1, 3, 7, 9)), digits[:10], strict=False))
    return 1 <= month <= 12 and (10 - total % 10) % 10 == digits[10]


def cpf_valid(text: str) -> bool:
    """Brazil: two digits modulo 11 with falling weights."""
    digits = digits_of(text)
    checks = [
        sum(weight * digit for weight, digit in zip(range(size + 1, 1, -1), digits[:size], strict=True)) * 10 % 11 % 10
        for size in (9, 10)
    ]
    return len(set(digits)) > 1 and checks == digits[9:]
