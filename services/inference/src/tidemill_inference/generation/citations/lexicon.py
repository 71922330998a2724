"""Words of English, German, French and Spanish that change what a sentence claims: numbers, months and negations."""

import re
from collections.abc import Mapping, Sequence
from typing import Final


def listed(names: str) -> tuple[str, ...]:
    """Return words that are written with blanks between them."""
    return tuple(names.split())


LANGUAGES: Final = ("en", "de", "fr", "es")

_FUNCTION_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset(
        listed(
            "a an and are as at be been but by can could did do does for from had has have he her his if in "
            "into is it its may must of on or our shall she should so than that the their them then there "
            "these they this to up was we were what when where which who will with would you your"
        )
    ),
    "de": frozenset(
        listed(
            "aber als am an auch auf aus bei beim bis das dass dem den der des die diese dieser dieses du "
            "durch ein eine einem einen einer eines er es für gegen hat haben ich ihr ihre im in ins ist kann "
            "können man mit muss müssen nach noch nur oder sein seine sich sie sind so um und uns unter vom "
            "von vor war was wenn werden wie wir wird zu zum zur über"
        )
    ),
    "fr": frozenset(
        listed(
            "à au aux avec c ce ces cette comme d dans de des doit du elle elles en est et être eux il ils l "
            "la le les leur leurs lui mais m n nous on ont ou où par pour peut peuvent qu que qui s sa se ses "
            "soit son sont sur t un une vos votre vous y"
        )
    ),
    "es": frozenset(
        listed(
            "a al como con cuando de del desde donde el ella ellas ellos en es esta este está están ha han "
            "hasta la las le les lo los más me mi o para pero por puede pueden que quien se ser si sin sobre "
            "son su sus también te tiene un una uno y"
        )
    ),
}
FUNCTION_WORDS: Final = frozenset[str]().union(*_FUNCTION_WORDS.values())

NEGATIONS: Final = frozenset(
    listed(
        "not no never none nothing nowhere neither nor cannot without "
        "nicht nichts nie niemals niemand niemanden niemandem nirgends nirgendwo ohne weder "
        "kein keine keinen keinem keiner keines keinerlei ne n pas jamais rien aucun aucune aucuns "
        "aucunes sans ni nul nulle non nunca jamás nada nadie ningún ninguno ninguna ningunos ningunas "
        "sin tampoco forbidden prohibited banned disallowed impossible verboten untersagt unzulässig "
        "unmöglich interdit interdite interdits interdites prohibido prohibida prohibidos prohibidas imposible "
        "hardly scarcely noone dont doesnt didnt isnt arent wasnt werent wont wouldnt cant couldnt shouldnt hasnt "
        "havent hadnt mustnt keinesfalls keineswegs keinster niemandes nimmer mitnichten kaum aucunement "
        "nullement guère nuls nulles défendu défendue défendus défendues impossibles imposibles"
    )
) | {"nobody"}
"""Words that turn a claim around."""
_CONTRACTED = "n't"


def negates(word: str) -> bool:
    """Return whether a word, as `words` leaves it, turns a claim around."""
    return word in NEGATIONS or word.endswith(_CONTRACTED)


NO_NEGATION: Final = re.compile(
    r"^\W{0,9}(?:no|nein|non)\s{0,3}[,.:;!\u2013\u2014-]"
    r"|(?:\bnot|n't) (?:only|just|merely|simply)\b|\bno matter\b|\bor not\b"
    r"|\b(?:no|not) (?:more|less|fewer|later|earlier|longer|sooner) than\b|\bno\.? ?(?=\d)"
    r"|\bnicht nur\b|\bnicht (?:mehr|weniger|später|früher|länger) als\b|\boder nicht\b"
    r"|\b(?:non|pas) seulement\b|\bou non\b|\bne (?:\w+ ){1,3}que\b"
    r"|\bno (?:solo|sólo|solamente)\b|\bo no\b|\bno más (?:de|que)\b"
)
"""Phrases in which such a word turns nothing around."""

MONTHS: Final[Mapping[str, int]] = {
    name: number
    for names in (
        "january february march april may june july august september october november december",
        "januar februar märz april mai juni juli august september oktober november dezember",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
        "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    )
    for number, name in enumerate(names.split(), start=1)
}
SHORT_MONTHS: Final[Mapping[str, int]] = {
    name: number
    for names in (
        "jan feb mar apr - jun jul aug sep oct nov dec",
        "jän feb mär apr mai jun jul aug sept okt nov dez",
        "janv févr - avr - juin juil - sept - - déc",
        "ene - - abr - - - ago - - - dic",
    )
    for number, name in enumerate(names.split(), start=1)
    if name != "-"
}
UNSURE_MONTHS: Final = frozenset({"may", "march", "mars"}) | SHORT_MONTHS.keys() - MONTHS.keys()
"""Names that are other words as well: they are months beside a number."""

WEEKDAYS: Final[Mapping[str, int]] = {
    "sonnabend": 6,
    **{
        name: number
        for names in (
            "monday tuesday wednesday thursday friday saturday sunday",
            "montag dienstag mittwoch donnerstag freitag samstag sonntag",
            "lundi mardi mercredi jeudi vendredi samedi dimanche",
            "lunes martes miércoles jueves viernes sábado domingo",
        )
        for number, name in enumerate(names.split(), start=1)
    },
}

_UNITS: Final[Mapping[str, Sequence[str]]] = {
    "en": listed(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
        "sixteen seventeen eighteen nineteen"
    ),
    "de": listed(
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
        "sechzehn siebzehn achtzehn neunzehn"
    ),
    "fr": listed(
        "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize "
        "dix-sept dix-huit dix-neuf"
    ),
    "es": listed(
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
        "dieciséis diecisiete dieciocho diecinueve"
    ),
}
_TENS: Final[Mapping[str, Sequence[str]]] = {
    "en": listed("twenty thirty forty fifty sixty seventy eighty ninety"),
    "de": listed("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"),
    "fr": listed("vingt trente quarante cinquante soixante septante huitante nonante"),
    "es": listed("veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa"),
}
_MORE_NUMBERS: Final[Mapping[str, Mapping[str, int]]] = {
    "en": {"twice": 2, "thrice": 3, "dozen": 12},
    "de": {"zwo": 2, "beide": 2, "beiden": 2, "dreissig": 30, "dutzend": 12},
    "fr": {"octante": 80, "douzaine": 12, "quinzaine": 15},
    "es": {
        "veintiún": 21,
        **{
            f"veinti{unit}": 20 + value
            for value, unit in enumerate(listed("uno dós trés cuatro cinco séis siete ocho nueve"), start=1)
        },
        **{
            f"{stem}{ending}": 100 * value
            for value, stem in zip(
                range(2, 10),
                listed("doscient trescient cuatrocient quinient seiscient setecient ochocient novecient"),
                strict=True,
            )
            for ending in ("os", "as")
        },
    },
}
ORDINALS: Final[Mapping[str, Mapping[str, int]]] = {
    "en": {
        name: value
        for value, name in enumerate(
            listed(
                "second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
                "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
            ),
            start=2,
        )
    }
    | {f"{ten[:-1]}ieth": 20 + 10 * at for at, ten in enumerate(_TENS["en"])},
    "de": {
        f"{stem}{ending}": value
        for value, stem in enumerate(
            listed("zweit dritt viert fünft sechst siebt acht neunt zehnt elft zwölft"), start=2
        )
        for ending in ("e", "er", "en", "es", "em", "ens")
    },
    "fr": {
        "seconde": 2,
        **{
            f"{name}{plural}": value
            for value, name in enumerate(
                listed(
                    "deuxième troisième quatrième cinquième sixième septième huitième neuvième dixième onzième douzième"
                ),
                start=2,
            )
            for plural in ("", "s")
        },
        **{f"{ten[:-1]}ième": 20 + 10 * at for at, ten in enumerate(_TENS["fr"]) if ten.endswith("e")},
        "vingtième": 20,
    },
    "es": {
        "tercer": 3,
        **{
            f"{stem}{ending}": value
            for value, stem in enumerate(listed("segund tercer cuart quint sext séptim octav noven décim"), start=2)
            for ending in ("o", "a", "os", "as")
        },
    },
}
FIRSTS: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset({"one", "first"}),
    "de": frozenset({"ein", "eine", "einen", "einem", "einer", "eines", "eins", "erste", "ersten", "erster", "erstes"}),
    "fr": frozenset({"un", "une", "premier", "première"}),
    "es": frozenset({"un", "una", "uno", "primer", "primero", "primera"}),
}
"""1, which is an article or an order of speech more often than a number."""

UNSURE_NUMBERS: Final = frozenset(
    ("once", "cent", "cents", "mil", "neuf", "acht", "elf", "sept", "second", "seconde", "cuarto", "cuarta", "mille")
)
"""Words that are numbers in one language, and something else in another."""

NUMBER_WORDS: Final[Mapping[str, Mapping[str, int]]] = {
    language: {
        **{name: value for value, name in enumerate(_UNITS[language]) if value != 1},
        **{name: 20 + 10 * at for at, name in enumerate(_TENS[language])},
        **_MORE_NUMBERS[language],
        **ORDINALS[language],
    }
    for language in LANGUAGES
}
HUNDREDS: Final[Mapping[str, frozenset[str]]] = {
    "en": frozenset({"hundred", "hundreds"}),
    "de": frozenset({"hundert"}),
    "fr": frozenset({"cent", "cents"}),
    "es": frozenset({"cien", "ciento", "cientos"}),
}
SCALES: Final[Mapping[str, Mapping[str, int]]] = {
    "en": {"thousand": 10**3, "million": 10**6, "millions": 10**6, "billion": 10**9, "billions": 10**9},
    "de": {"tausend": 10**3, "million": 10**6, "millionen": 10**6, "milliarde": 10**9, "milliarden": 10**9},
    "fr": {"mille": 10**3, "million": 10**6, "millions": 10**6, "milliard": 10**9, "milliards": 10**9},
    "es": {"mil": 10**3, "millón": 10**6, "millones": 10**6},
}
CONNECTORS: Final = frozenset({"and", "et", "y"})
"""Words inside a number: two hundred and five, vingt et un, treinta y uno."""

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ELISION = re.compile(r"^(?:[cdjlmnst]|qu)'")


def plain(text: str) -> str:
    """Return a text in lower case, with one kind of apostrophe."""
    return text.replace("\u2019", "'").replace("\u02bc", "'").lower()


def words(text: str) -> list[str]:
    """Return the words of a plain text: contractions whole, French elisions (n'est, l'eau) as two."""
    found: list[str] = []
    for word in _WORD.findall(text):
        elided = _ELISION.match(word)
        found += [elided[0][:-1], word[elided.end() :]] if elided else [word]
    return found


def language_of(said: Sequence[str]) -> str:
    """Return the language whose function words are the most frequent, "" where there are none or two have as many."""
    votes = sorted(((sum(word in _FUNCTION_WORDS[each] for word in said), each) for each in LANGUAGES), reverse=True)
    return votes[0][1] if votes[0][0] > votes[1][0] else ""
