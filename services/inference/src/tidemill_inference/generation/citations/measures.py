"""The measures in which texts count, and whether a number is a bound: what stands beside a number says so."""

from collections.abc import Mapping, Sequence
from typing import Final

from tidemill_inference.generation.citations.lexicon import FUNCTION_WORDS, NUMBER_WORDS, SCALES, listed

PERCENT, AFTERNOON = "percent", "p.m."
SHARES: Final = frozenset({PERCENT, "permille", "percentage point"})
SHORT_SCALES: Final[Mapping[str, int]] = {"k": 10**3, "m": 10**6, "mn": 10**6, "mio": 10**6, "bn": 10**9, "mrd": 10**9}
"""Which may be a unit as well."""
MEASURES: Final[Mapping[str, str]] = {
    name: measure
    for measure, names in {
        "microsecond": "µs microsecond microseconds mikrosekunden",
        "millisecond": "ms millisecond milliseconds millisekunde millisekunden milliseconde millisecondes milisegundos",
        "second": "s sec secs second seconds sekunde sekunden seconde secondes segundo segundos",
        "minute": "min mins minute minutes minuten minuto minutos",
        "hour": "h hr hrs hour hours stunde stunden heure heures hora horas",
        "day": "day days tag tage tagen jour jours día días",
        "week": "week weeks woche wochen semaine semaines semana semanas",
        "month": "month months monat monate monaten mois mes meses",
        "year": "year years jahr jahre jahren an ans année années año años",
        "a.m.": "ameridiem",
        AFTERNOON: "pmeridiem",
        "microgram": "µg mcg microgram micrograms mikrogramm",
        "milligram": "mg milligram milligrams milligramm milligramme milligrammes miligramos",
        "gram": "g gram grams gramm gramme grammes gramo gramos",
        "kilogram": "kg kilogram kilograms kilogramm kilogramme kilogrammes kilogramo kilogramos kilo kilos",
        "tonne": "t tonne tonnes ton tons tonnen tonelada toneladas",
        "ounce": "oz ounce ounces unze unzen",
        "pound": "lb lbs pound pounds pfund libra libras gbp",
        "micrometre": "µm micrometre micrometres micrometer micrometers mikrometer",
        "millimetre": "mm millimetre millimetres millimeter millimeters millimètre millimètres milímetros",
        "centimetre": "cm centimetre centimetres centimeter centimeters zentimeter centimètre centimètres centímetros",
        "metre": "m metre metres meter meters metern mètre mètres metro metros",
        "kilometre": "km kilometre kilometres kilometer kilometers kilomètre kilomètres kilómetro kilómetros",
        "inch": "inch inches zoll pouce pouces pulgada pulgadas",
        "foot": "ft foot feet fuß pied pieds pie pies",
        "yard": "yard yards",
        "mile": "mile miles meile meilen milla millas",
        "square metre": "m² qm quadratmeter quadratmetern",
        "square kilometre": "km² quadratkilometer",
        "square centimetre": "cm² quadratzentimeter",
        "square millimetre": "mm²",
        "hectare": "ha hectare hectares hektar",
        "cubic metre": "m³ kubikmeter",
        "cubic centimetre": "cm³ kubikzentimeter",
        "millilitre": "ml millilitre millilitres milliliter milliliters",
        "centilitre": "cl centilitre centilitres zentiliter",
        "litre": "l litre litres liter liters litern litro litros",
        "gallon": "gallon gallons gallone gallonen",
        "kilometre an hour": "kmh kph stundenkilometer",
        "mile an hour": "mph",
        "metre a second": "mps",
        "celsius": "celsius",
        "fahrenheit": "fahrenheit",
        "kelvin": "kelvin",
        "bit": "bit bits",
        "byte": "byte bytes",
        "kilobyte": "kb kilobyte kilobytes",
        "kibibyte": "kib kibibyte kibibytes",
        "megabyte": "mb megabyte megabytes",
        "mebibyte": "mib mebibyte mebibytes",
        "gigabyte": "gb gigabyte gigabytes",
        "gibibyte": "gib gibibyte gibibytes",
        "terabyte": "tb terabyte terabytes",
        "tebibyte": "tib tebibyte tebibytes",
        "kilobit": "kbit kbps kilobit kilobits",
        "megabit": "mbit mbps megabit megabits",
        "gigabit": "gbit gbps gigabit gigabits",
        "watt": "w watt watts",
        "kilowatt": "kw kilowatt kilowatts",
        "megawatt": "mw megawatt megawatts",
        "watt hour": "wh",
        "kilowatt hour": "kwh kilowattstunde kilowattstunden",
        "megawatt hour": "mwh",
        "millivolt": "mv",
        "volt": "v volt volts",
        "kilovolt": "kv",
        "milliampere": "ma",
        "hertz": "hz hertz",
        "kilohertz": "khz kilohertz",
        "megahertz": "mhz megahertz",
        "gigahertz": "ghz gigahertz",
        PERCENT: "percent prozent",
        "permille": "permille promille",
        "percentage point": "percentagepoints prozentpunkt prozentpunkte prozentpunkten",
        "euro": "eur euro euros",
        "cent": "cent cents centime centimes céntimos",
        "dollar": "usd dollar dollars dólar dólares",
        "franc": "chf franc francs franken",
        "yen": "jpy yen",
    }.items()
    for name in names.split()
}
"""Units that are taken for each other, by the one word for each."""
_CURRENCIES: Final = frozenset({"euro", "dollar", "pound", "yen", "franc"})
_BETWEEN_ENDS: Final = frozenset(listed("to and or bis und oder à et ou a y o"))
_FOR_EACH: Final = frozenset(listed("per pro par por je"))
_SCALES: Final = frozenset(name for scales in SCALES.values() for name in scales)
_NUMBER_WORDS: Final = frozenset(name for names in NUMBER_WORDS.values() for name in names)

_AT_LEAST, _AT_MOST, _AFTER, _BEFORE = 1, -1, 2, -2
_BOUNDS: Final[Mapping[tuple[str, ...], int]] = {
    tuple(phrase.split()): bound
    for bound, phrases in {
        _AT_LEAST: "at least,more than,over,above,no less than,no fewer than,not less than,not fewer than,exceeding"
        ",minimum of,minimum,mindestens,mehr als,über,nicht weniger als,minimal,au moins,plus de,au minimum,al menos"
        ",más de,por lo menos,como mínimo",
        _AT_MOST: "at most,less than,fewer than,under,below,up to,no more than,not more than,maximum of,maximum"
        ",höchstens,weniger als,unter,bis zu,nicht mehr als,maximal,au plus,moins de,jusqu à,au maximum,a lo sumo"
        ",menos de,como máximo,no más de",
        _AFTER: "after,nach,après,después",
        _BEFORE: "before,vor,avant,antes",
    }.items()
    for phrase in phrases.split(",")
}
_LONGEST_BOUND: Final = max(map(len, _BOUNDS))
_BESIDE_BOUNDS: Final = frozenset(listed("a an of the der den dem des die le la les de del du el au"))


def measure_at(tokens: Sequence[str], at: int, *, before: int) -> str:
    """Return the measure of the number whose words end before `at` and begin behind `before`, "" without one."""
    currency = MEASURES.get(tokens[before], "") if before >= 0 else ""
    currency = currency if currency in _CURRENCIES else ""
    if at < len(tokens) and tokens[at] in _SCALES:
        at += 1
    for token in tokens[at : at + 2]:
        if token in _FOR_EACH or token[0].isdecimal() or (token in FUNCTION_WORDS and len(token) > 1):
            break
        if token in MEASURES and not (currency and token in SHORT_SCALES):
            return MEASURES[token]
        if token in FUNCTION_WORDS:
            break
    return currency


def behind_range(tokens: Sequence[str], at: int) -> int:
    """Return where the words behind a number begin, also where it begins a range: five to ten minutes."""
    ranged = at + 1 < len(tokens) and tokens[at] in _BETWEEN_ENDS and _is_number(tokens[at + 1])
    return at + 2 if ranged else at


def bound_before(tokens: Sequence[str], at: int) -> int:
    """Return what the words before a number make of it: a bound, whose opposite is the same below zero, or 0."""
    while at and tokens[at - 1] in _BESIDE_BOUNDS and not _bound(tokens, at):
        at -= 1
    return _bound(tokens, at)


def _bound(tokens: Sequence[str], at: int) -> int:
    for length in range(_LONGEST_BOUND, 0, -1):
        if at >= length and (found := _BOUNDS.get(tuple(tokens[at - length : at]))):
            return found
    return 0


def _is_number(token: str) -> bool:
    return token[0].isdecimal() or token in _NUMBER_WORDS
