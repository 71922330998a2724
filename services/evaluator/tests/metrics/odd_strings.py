"""Pairs of texts that metrics have trouble with, in ten languages; the same ones each time."""

import random
from collections.abc import Iterator, Sequence

LANGUAGES = {
    "en": "the quick brown fox jumps over a lazy dog while it rains in the old town",
    "de": "Über sieben Brücken mußt du gehen, groß und größer, Straße für Straße",
    "fr": "l'été dernier, où étions-nous ? « Ça va », dit-elle d'un air gêné",
    "tr": "İstanbul'da ılık bir İLKBAHAR ığdır çığlık",  # noqa: RUF001
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "ar": "صِف خَلقَ خَودٍ كَمِثلِ الشَمسِ إِذ بَزَغَت",
    "hi": "हिन्दी भाषा में क्षेत्रीय शब्द और अनुस्वार अंक होते हैं",
    "zh": "我能吞下玻璃而不伤身体，这是一个很长的句子。",  # noqa: RUF001
    "ja": "いろはにほへと ちりぬるを、東京タワーは高いです。",
    "th": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
}
_ODD = (
    *("", " ", "\t\n", "...", "!?", "\0", "a\0b", "\u200b", "\ufeff", "\u202eabc", "e\u0301\u0301\u0301", "\u00ad"),
    *(
        "\N{THUMBS UP SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "ß",
        "ﬁ",
    ),
    *("\u2028", "\x85", "\x1c", "-5", "1,000.5", "C++", "<b>&amp;</b>", "%s {} \\n", "\ud7ff", "\U0010fffd", "'", '"'),
)


def odd_pairs(count: int, *, seed: int = 15) -> Iterator[tuple[str, str]]:
    """Yield pairs of a reference, which is never blank, and a text."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    languages = list(LANGUAGES.values())
    for number in range(count):
        words = languages[number % len(languages)].split()
        reference = _mixed(chance, words) or words[0]
        yield reference if reference.strip() else words[0], _text(chance, words, reference)


def _text(chance: random.Random, words: Sequence[str], reference: str) -> str:
    match chance.randrange(8):
        case 0:
            return chance.choice(_ODD)
        case 1:
            return reference
        case 2:
            return reference.upper()
        case 3:
            return reference[::-1]
        case 4:
            return " ".join([reference] * chance.randrange(2, 30))
        case _:
            return _mixed(chance, words)


def _mixed(chance: random.Random, words: Sequence[str]) -> str:
    chosen = [chance.choice(words if chance.random() < 0.8 else _ODD) for _ in range(chance.randrange(1, 20))]
    return chance.choice((" ", "  ", "", "\n")).join(chosen)
