"""Unicode repair: clean text in many languages is a fixed point, damaged text comes back, code stays code."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from small_crawl import documents, prose

from arriero.data.repair import repair, repaired_text

# Sentences by the tests' author: with capitals, quotes and no-break spaces as each language is written.
SENTENCES = {
    "fr": (
        "Où est-il allé ? À l’école, dit-elle : « Ça ne va pas très bien, hélas ! »",
        "L’œuvre complète coûte 25 €, reliée en cuir ; elle paraîtra à Noël.",
        "ÉTÉ COMME HIVER, LE CAFÉ « CHEZ RENÉ » EST FERMÉ À MIDI",
    ),
    "de": (
        "Die Größe der Straße überraschte Jürgen – „schön!“, rief er.",
        "Ärger über Öl: für die Prüfung müssen Schüler üben.",
        "SCHÖNE GRÜSSE AUS DER MÜHLE · TÄGLICH GEÖFFNET",
    ),
    "es": (
        "¿Dónde está el niño? ¡Mañana será otro día!",
        "La señora pidió café, limón y piñas; «qué ilusión», añadió.",
    ),
    "pl": (
        "Zażółć gęślą jaźń – powiedział „Łukasz”.",
        "Żółta łódź płynęła przez całą noc wśród świateł.",
        "ŻÓŁTE SZKOŁY I ŁÓDKI",
    ),
    "vi": (
        "Tiếng Việt có nhiều dấu thanh khác nhau.",
        "Ở Hà Nội, người ta uống cà phê sữa đá mỗi sáng.",
        "ĐỘC LẬP – TỰ DO – HẠNH PHÚC",
    ),
    "ru": (
        "Съешь ещё этих мягких французских булок, да выпей чаю.",
        "Он жил в «СССР» до 1991 года — так сказал отец.",
        "МОСКВА: РЁВ МОТОРОВ № 5",
    ),
    "uk": ("Її їжак їсть яблука, а моє ім’я — Юрій; надіє, вієш?", "ЇЖАК І ЄНОТ"),
    "sr": ("Љубав, њива, ђак, џеп и ћуп: све је ту.", "Čačak, šećer, žito i đak."),
    "tr": ("İstanbul’da güneşli bir gün, çok şükür!", "ŞİŞLİ ÇIĞLIĞI"),
    "pt": ("Não há irmãs na manhã de São João; «coração», disse.", "A MANHÃ DE SÃO JOÃO; IRMÃ À MÃO"),
    "cs": ("Příliš žluťoučký kůň úpěl ďábelské ódy.", "ŽLUŤOUČKÝ KŮŇ"),
    "el": ("Η γρήγορη αλεπού πηδάει πάνω από τον σκύλο.", "Τι ώρα είναι; Είναι αργά, είπε ο Γιάννης."),
    "ja": ("吾輩は猫である。名前はまだ無い。", "「どこへ行くの?」と彼女は聞いた。カタカナもある。"),
    "zh": ("学而时习之,不亦说乎?", "这本书的价格是二十五元。"),
    "ar": ("أهلا وسهلا بكم في مدينتنا الجميلة.",),
    "emoji": ("Well done! 👍🏽 See you at the café 👩‍👩‍👧 ☕️",),
}
CLEAN = [unicodedata.normalize("NFC", sentence) for sentences in SENTENCES.values() for sentence in sentences]
WORDS = sorted({word for sentence in CLEAN for word in sentence.split()})


def as_read(text: str, encoding: str) -> str:
    """UTF-8 bytes of `text` read as `encoding`; Windows-1252 as browsers read it, with C1 controls in its gaps."""
    if encoding == "latin-1":
        return text.encode().decode("latin-1")
    return "".join(bytes([b]).decode(encoding, "ignore") or chr(b) for b in text.encode())


@pytest.mark.parametrize("text", CLEAN)
def test_damage_is_undone(text: str) -> None:
    assert repaired_text(text) == text
    for encoding in ("cp1252", "latin-1"):
        once = as_read(text, encoding)
        assert once != text
        assert repaired_text(once) == text
        assert repaired_text(as_read(once, encoding)) == text, "read wrongly twice"


@pytest.mark.parametrize(
    ("language", "encoding"), [("ru", "cp1251"), ("pl", "cp1250"), ("el", "cp1253"), ("ja", "mac-roman")]
)
def test_other_encodings(language: str, encoding: str) -> None:
    text = "\n".join(SENTENCES[language][:2])
    assert repaired_text(as_read(text, encoding)) == text


@settings(max_examples=400)
@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join), min_size=1, max_size=4))
def test_words_of_all_languages_are_a_fixed_point(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert repaired_text(text) == text


LETTERS = {
    "Latin-1": "àâäçéèêëîïñóôöùûüß",
    "Polish": "ąćęłńóśźż",
    "Vietnamese": "ạảấầẩẫậắằẳẵặđơưỳỵ",
    "Russian": "абвгдёжзийюя",
}


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(LETTERS)).flatmap(lambda name: st.text(LETTERS[name] + "abcdefghi", min_size=1, max_size=12))
)
@example("étéàç")
def test_made_up_words_come_back(word: str) -> None:
    text = f"Der {word} und die {word} wären schön."
    assert repaired_text(text) == text
    assert repaired_text(as_read(text, "cp1252")) == text


def test_a_good_line_beside_a_damaged_one_stays() -> None:
    damaged = as_read("Größe – „schön“", "cp1252")
    assert (
        repaired_text(f"日本語 – „gut“ à É»\n{damaged}\nMANHÃ DE SOL")
        == "日本語 – „gut“ à É»\nGröße – „schön“\nMANHÃ DE SOL"
    )
    # What is too short to be sure of alone is repaired among its like.
    (short,) = (as_read(text, "cp1252") for text in ("coś w",))
    assert repaired_text(short) == short
    assert repaired_text(f"{damaged}\n{short}\n{damaged}") == "Größe – „schön“\ncoś w\nGröße – „schön“"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("\ufeffBOM", "BOM"),
        ("co\u00adop\u200berate\u2060\x00\x07!", "cooperate!"),
        ("กา\u200bกา b\u200bc", "กา\u200bกา bc"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("e\u0301 x² ½ Å ﬁne ﬆ", "é x² ½ Å fine st"),
        ("it\x92s \x93so\x94 \x81", "it’s “so” "),
        ("\x1b[1;31mred\x1b[0m\fnext\u2028line", "red\nnext\nline"),
        ("Fish &amp; chips&nbsp;&mdash; caf&eacute; &#8364;5 &name;", "Fish & chips\u00a0— café €5 &name;"),
        ("if a < b &amp;&amp; c: caf&eacute;", "if a < b &amp;&amp; c: café"),
        ("In HTML, write &eacute; and &amp; for them", "In HTML, write &eacute; and &amp; for them"),
        ("x\tpoint = &lt;", "x\tpoint = <"),
    ],
)
def test_each_repair(text: str, expected: str) -> None:
    (result,) = repair(documents([text]))["text"].to_pylist()
    assert result == expected


def test_code_keeps_all_but_line_ends_and_byte_order_mark() -> None:
    code = 's = "Ã©" + "e\u0301\u00ad" + "&eacute;"\x0c\nx = "\x1b[0m"\n'
    table = documents(["\ufeff" + code.replace("\n", "\r\n"), code], kind=["code", "code"])
    result = repair(table)
    assert result["text"].to_pylist() == [code, code]
    assert result["edits"].to_pylist() == ["repair 3 characters", ""]


def test_edits_count_the_characters_that_went() -> None:
    table = documents([prose(1), "cafÃ© Â« ici Â»\nsame line\nsame line", "a\u00adb"])
    assert repair(table)["edits"].to_pylist() == ["", "repair 4 characters", "repair 1 characters"]
    clean = documents([prose(1), "déjà vu"])
    assert repair(clean) is clean


@settings(max_examples=100)
@given(st.text(max_size=40))
def test_any_text_ends_in_nfc_and_stays(text: str) -> None:
    (once,) = repair(documents([text.encode(errors="ignore").decode()]))["text"].to_pylist()
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once
