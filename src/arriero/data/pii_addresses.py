"""Patterns of street addresses: United States and United Kingdom, Germany, France.

A street's name is an address where its kind is unmistakable (Street, straße, rue) and where the number stands in its
country's place; a vague kind (Way, platz, cours) needs a unit or a town with its postal code as well. Before a US or
UK town with its code the street may have any name.
"""

LETTER = "[A-Za-zÀ-ɏ]"  # with those of Europe's Latin alphabets
CAPITAL = "[A-ZÀ-Þ]"
WORD = rf"{CAPITAL}(?:{LETTER}|['’.\-])*"
_NAME = rf"{CAPITAL}(?:{LETTER}|['’\-])*"  # with no point at its end, which may be the sentence's
CITY = rf"(?:St\. )?{_NAME}(?: (?:(?:am|an|der|im|de|la|le|les|sur|upon|of) )*{_NAME}){{0,2}}"
BREAK = r"(?:, ?|,?[ \n]|, ?\n)"
# After an address the sentence ends or goes on; in "123 Main Street banks" there is none.
AFTER = (
    r"(?:[,.;:!?)\]\"'<\n]|\z| ?[\-(|>]"
    r"| (?:in|and|on|is|at|near|for|to|or|from|where|with|by|was|und|ist|in|bei|et|est|à)\b)"
)


def us_uk_street() -> str:
    """123 Main Street, Apt 4B, Springfield, IL 62704; Flat 2, 12 Baker Street, London NW1 6XE."""
    house = "[0-9]{1,5}(?:-[0-9]{1,4})?[A-Za-z]? "  # with no comma: "1991-1997, Thomas Lane"
    number = rf"\b(?:(?:Flat|Apartment|Studio|Unit) [0-9A-Za-z]{{1,4}},?[ \n](?:{house})?|{house})"
    side = "(?:[NSEW]|NE|NW|SE|SW|North|South|East|West)"
    name = rf"(?:{side}\.? )?(?:(?:{WORD}|[0-9]{{1,3}}(?:st|nd|rd|th)) ){{1,3}}"
    clear = "(?:Street|St|Avenue|Ave|Boulevard|Blvd|Road|Rd|Lane|Ln)"
    vague = (
        "(?:Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Close|Crescent"
        "|Gardens|Grove|Mews|Row|Walk|Hill|Park|Trail|Loop|Alley|Plaza|Green|Rise|View)"
    )
    end = rf"\b\.?(?: {side}\b\.?)?"
    unit = rf"{BREAK}(?:(?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Room|Rm)\b\.? ?#?|#)[0-9A-Za-z\-]{{1,6}}"
    state = "(?:[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
    us = rf"{BREAK}{CITY},? {state},? [0-9]{{5}}(?:-[0-9]{{4}})?\b|, {CITY}, [A-Z]{{2}}\b"
    uk = rf"(?:{BREAK}{CITY}){{0,3}}{BREAK}[A-Z]{{1,2}}[0-9][A-Z0-9]? [0-9][A-Z]{{2}}\b"
    town = f"(?:{unit})?(?:{us}|{uk})"
    coded = rf"(?:{unit})?(?:{BREAK}{CITY}, [A-Z]{{2}} [0-9]{{5}}(?:-[0-9]{{4}})?\b|{uk})"
    any_name = f"(?:{WORD} ){{0,2}}{WORD}"
    known = f"(?:{clear}|{vague}){end}(?:{town}|{unit})|{clear}{end}"
    return f"(?:({number}(?:{name}(?:{known})|{any_name}{coded})){AFTER})"


def german_street() -> str:
    """Hauptstraße 12a, 10115 Berlin."""
    clear = r"(?:straße|strasse|str\.|[ \-](?:Straße|Strasse|Str\.))"
    vague = (
        r"(?:weg|platz|allee|gasse|ring|damm|ufer|chaussee|markt|steig|berg|hof"
        r"|[ \-](?:Weg|Platz|Allee|Gasse|Ring|Damm|Ufer|Markt))"
    )
    number = r" ?[0-9]{1,4}(?: ?[a-z]\b)?(?:[\-/][0-9]{1,4}[a-z]?)?\b"
    town = rf"{BREAK}(?:D-)?[0-9]{{5}} {CITY}"
    return rf"{CAPITAL}(?:{LETTER}|-)*(?:{clear}{number}(?:{town})?|{vague}{number}{town})"


def french_street() -> str:
    """12 bis, rue de la Paix, 75002 Paris."""
    number = r"\b[0-9]{1,4}(?: ?(?:bis|ter|quater|[A-D])\b)?,? "
    clear = r"(?i:rue|avenue|boulevard|bd|impasse|quai|chemin|allée)\.? "
    vague = r"(?i:place|cours|route|square|passage|av)\.? "
    of = "(?:de la|de l['’]|du|des|de|d['’]|la|le|les)"
    name = rf"(?:{of} ?)?{WORD}(?: (?:{of} ?)*{WORD}){{0,3}}"
    town = rf"{BREAK}(?:F-)?[0-9]{{5}} {CITY}"
    return f"{number}(?:{clear}{name}(?:{town})?|{vague}{name}{town})"


def plausible_street(text: str) -> bool:
    """A year before a street's name is rather a year, unless more numbers follow (a unit, a postal code)."""
    number, rest = text[:4], text[4:]
    year = number.isdigit() and "1900" <= number <= "2099"
    return not year or any(character.isdigit() for character in rest)
