"""Whole web sites that are made up: spam in several forms, directories full of people, and ordinary sites beside them.

The prose in them is real sentences, given as `prose`. Nothing marks the pages: they differ from real ones in what they
say.
"""

import html
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from planted.pii_cases import FORMS

NAMES = (
    "harbor amber willow northgate stonebridge clearwater maple summit riverside lakeview meadow oakridge silver pine "
    "granite beacon cedar prairie valley copper juniper falcon heron orchard mariner"
)
ENDINGS = "works hub online group place world guide corner notes house review studio"
TOPICS = (
    *("cheap flights", "payday loans", "weight loss pills", "car insurance quotes", "online casino bonus"),
    *("designer handbags", "essay writing service", "forex signals", "hair extensions", "luxury watches"),
    *("keto gummies", "roof repair"),
)
CITIES = (
    *("Springfield", "Portland", "Mesa", "Dayton", "Tulsa", "Boise", "Fresno", "Omaha", "Laredo", "Akron", "Toledo"),
    *("Reno", "Tampa", "Provo", "Salem", "Macon", "Utica"),
)
CONTACT = {form.name: form for form in FORMS if form.kind in ("EMAIL", "PHONE", "ADDRESS")}
PEOPLE = (
    *("Anna Walsh", "José Ortega", "Li Chen", "Ingrid Dahl", "Tom Baker", "Priya Nair", "Marc Duval", "Sara Kim"),
    *("Omar Aziz", "Jan Novak"),
)


@dataclass(frozen=True)
class MadeUp:
    url: str
    html: str
    form: str


def site_names(count: int, rng: random.Random) -> list[str]:
    pairs = [f"{name}{ending}" for name in NAMES.split() for ending in ENDINGS.split()]
    return [f"www.{name}.example" for name in rng.sample(pairs, count)]


def framed(title: str, paragraphs: Sequence[str], host: str, style: int) -> str:
    """A page with navigation and footer, in one of three layouts."""
    name, heading = html.escape(host.split(".")[1].title()), html.escape(title)
    links = "".join(
        f'<li><a href="/{word}">{word.title()}</a></li>' for word in ("home", "about", "archive", "contact")
    )
    text = "\n".join(f"<p>{html.escape(paragraph)}</p>".replace("\n", "<br>") for paragraph in paragraphs)
    head = f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{heading} | {name}</title></head>'
    bodies = (
        f"<header><nav><ul>{links}</ul></nav></header><main><article><h1>{heading}</h1>{text}</article></main>"
        f"<footer>© 2021 {name}. All rights reserved.</footer>",
        f'<div id="top"><ul class="menu">{links}</ul></div><div id="content"><h2>{heading}</h2>{text}</div>'
        f'<div id="bottom">Powered by {name}</div>',
        f'<table><tr><td class="side"><ul>{links}</ul></td><td><h1>{heading}</h1>{text}</td></tr></table>',
    )
    return f"{head}<body>{bodies[style % 3]}</body></html>"


def passage(prose: Sequence[str], words: int, rng: random.Random) -> list[str]:
    """Paragraphs of real sentences, of about so many words in all."""
    paragraphs: list[str] = []
    while sum(len(paragraph.split()) for paragraph in paragraphs) < words:
        paragraphs.append(" ".join(rng.sample(prose, rng.randint(3, 6))))
    return paragraphs


def contact(rng: random.Random) -> str:
    """A person's name and one to three ways to reach them."""
    forms = rng.sample(sorted(CONTACT), rng.randint(1, 3))
    return f"{rng.choice(PEOPLE)}: " + ", ".join(CONTACT[name].make(rng) for name in forms)


# ---- forms of spam: each gives the paragraphs of one page of a site about a topic
Spam = Callable[[str, Sequence[str], random.Random], list[str]]


def keywords(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """Keyword stuffing: one phrase with every city and adjective, over and over."""
    kinds = ["best", "cheap", "top", "buy", "free", "discount", "online", "trusted", "24/7", "near me"]
    return [
        ", ".join(
            f"{rng.choice(kinds)} {topic} {rng.choice(['', 'in ' + rng.choice(CITIES)])}".strip() for _ in range(40)
        )
        for _ in range(6)
    ]


def repeated(topic: str, prose: Sequence[str], rng: random.Random) -> list[str]:
    """A few sentences that return all the time, with a real one here and there."""
    pitch = [
        f"Click here to find the best {topic} deals that everybody is talking about today!",
        f"Our {topic} experts have helped thousands of happy customers to save time and money.",
        f"Do not wait, order your {topic} now and get the second one free of charge.",
    ]
    return [" ".join(rng.choices(pitch, k=4)) if n % 4 else rng.choice(prose) for n in range(20)]


def links(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """A link farm: short lines of anchors."""
    return [f"» {topic} {rng.choice(CITIES)} {rng.randint(2019, 2024)} ..." for _ in range(120)]


def symbols(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """Hashtags and exclamations."""
    tag = "#" + topic.title().replace(" ", "")
    words = [tag, "#win", "#sale", "wow!!!", "#best", rng.choice(CITIES), "...", "★★★★★", "only $9.99"]
    return [" ".join(rng.choices(words, k=30)) for _ in range(8)]


def gibberish(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """Words of a bad generator between the topic's."""
    letters = "aeiourtnslcdmpghbyfvkwzxjq"

    def word() -> str:
        return "".join(rng.choices(letters, k=rng.randint(3, 12)))

    return [" ".join(topic if rng.random() < 0.05 else word() for _ in range(60)) + "." for _ in range(6)]


def placeholder(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """A site that was never filled: lorem ipsum, cookies, scripts."""
    lorem = (
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore."
    )
    return [
        "Please enable JavaScript and cookies to see this page.",
        *[lorem for _ in range(rng.randint(5, 12))],
        f"{topic.title()} coming soon.",
    ]


def doorway(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """One text for every city: the pages of a site differ in little else."""
    city = rng.choice(CITIES)
    return [
        f"Are you looking for {topic} in {city}? You have come to the right place, for nobody knows {city} like us.",
        f"Our team in {city} has been working with people from {city} and the whole region for more than twenty years, "
        f"and we have learned what matters when it comes to {topic}.",
        f"When you need {topic}, you want somebody who answers the phone and who comes to {city} the same day. That is "
        "what we do, and our customers like it: nine of ten would come to us again.",
        "The first consultation is free. Tell us what you need, and we make you an offer that you get nowhere else.",
        f"Our office is open from Monday to Saturday, and {rng.choice(PEOPLE)} will be happy to hear from you.",
    ]


def stitched(topic: str, prose: Sequence[str], rng: random.Random) -> list[str]:
    """Copied sentences in no order, with the topic dropped into each."""
    out = []
    for _ in range(12):
        words = rng.choice(prose).split()
        words.insert(rng.randrange(len(words)), topic)
        out.append(" ".join(words))
    return out


def classifieds(topic: str, _: Sequence[str], rng: random.Random) -> list[str]:
    """Advertisements, each with ways to reach somebody."""
    return [
        f"{rng.choice(['Best', 'Serious', 'New'])} {topic} in {rng.choice(CITIES)}, ask for the price. {contact(rng)}"
        for _ in range(14)
    ]


SPAM: dict[str, Spam] = {
    "keyword stuffing": keywords,
    "repeated sentences": repeated,
    "link farm": links,
    "hashtags": symbols,
    "gibberish": gibberish,
    "never filled": placeholder,
    "one text for every city": doorway,
    "stitched sentences": stitched,
    "advertisements with contacts": classifieds,
}


def spam_sites(per_form: int, prose: Sequence[str], rng: random.Random, hosts: Sequence[str]) -> list[MadeUp]:
    """Every host holds pages of two forms about one topic; `per_form` pages of each form in all."""
    made, forms = [], [form for form in SPAM for _ in range(per_form)]
    for number, form in enumerate(forms):
        place = number % per_form % (len(hosts) // 2) * 2 + (list(SPAM).index(form) % 2)
        host, topic = hosts[place], TOPICS[place % len(TOPICS)]
        paragraphs = SPAM[form](topic, prose, rng)
        city = rng.choice(CITIES)
        url = f"https://{host}/{topic.replace(' ', '-')}/{city.lower()}-{rng.randrange(10**6)}.html"
        made.append(MadeUp(url, framed(f"{topic.title()} {city}", paragraphs, host, place), form))
    return made


# ---- sites full of people, and such as only have a contact here and there
def person_pages(hosts: Sequence[str], pages: int, prose: Sequence[str], rng: random.Random) -> list[MadeUp]:
    """Directories, forums and advertisements: one contact for every 40 words or so."""
    made = []
    for number, host in enumerate(hosts):
        section = ("members", "forum", "ads", "staff", "alumni")[number % 5]
        for page in range(pages):
            paragraphs = []
            for paragraph in passage(prose, 250, rng):
                paragraphs += [paragraph, *(contact(rng) for _ in range(rng.randint(1, 3)))]
            url = f"https://{host}/{section}/{rng.randrange(10**5)}.html"
            made.append(MadeUp(url, framed(f"{section.title()} {page + 1}", paragraphs, host, number), section))
    return made


def ordinary_pages(hosts: Sequence[str], pages: int, prose: Sequence[str], rng: random.Random) -> list[MadeUp]:
    """The same prose with one contact on every third page: about one in 1000 words."""
    made = []
    for number, host in enumerate(hosts):
        section = ("articles", "blog", "news", "guides", "stories")[number % 5]
        for page in range(pages):
            paragraphs = passage(prose, 350, rng)
            if page % 3 == 0:
                paragraphs.insert(rng.randrange(len(paragraphs)), CONTACT["e-mail"].make(rng))
            url = f"https://{host}/{section}/{rng.randrange(10**5)}.html"
            made.append(MadeUp(url, framed(rng.choice(prose)[:60], paragraphs, host, number), section))
    return made
