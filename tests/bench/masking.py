"""How much of what must be masked is masked, and of what must stay: `python -m tests.bench.masking`.

Lines are made of templates in eight languages and of random identifiers with right check digits; as many lines hold
what only looks like one. What is found counts where it is the whole identifier, as its own kind. The templates were
written apart from the patterns of masking, but by people who know them: expect more misses on other text.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.bench._figures import report
from tests.bench._identifiers import LOOKALIKES, Made
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.stage import MaskingStage

ROUNDS, SEED = 40, 17
MIN_RECALL, MIN_PRECISION = 0.98, 0.97
Found = tuple[int, int, str]

LAYOUTS = "layouts"
"""Tables, logs and data, where identifiers stand beside what only looks like one."""
TEMPLATES: Mapping[str, Sequence[str]] = {
    "en": (
        "Please write to {email} before Friday, or call {phone}.",
        "Phone: {phone}",
        "Refund the amount to {iban}, account holder as usual.",
        "The customer paid with card {card} at noon.",
        "Requests from {ip} were blocked by the firewall.",
        "The key {credential} was found in the repository.",
        "password: {password}",
        "SSN: {national_id us}",
        "Her social security number is {national_id us}.",
        "National Insurance number {national_id gb}, see the payslip.",
    ),
    "de": (
        "Bitte schreiben Sie an {email} oder rufen Sie an: Tel. {phone}",
        "Telefon: {phone}",
        "Überweisen Sie auf das Konto {iban} bis zum Ersten.",
        "Die Kreditkarte {card} wurde abgelehnt.",
        "Der Server {ip} antwortet nicht.",
        "Der Schlüssel {credential} steht im Protokoll.",
        "Passwort: {password}",
        "Steuer-ID: {national_id de}",
        "Ihre Steueridentifikationsnummer lautet {national_id de}.",
        "Sozialversicherungsnummer {national_id de insurance}",
        "AHV-Nummer {national_id ch}",
    ),
    "fr": (
        "Écrivez à {email} avant vendredi.",
        "Téléphone : {phone}",
        "Virement sur le compte {iban} ce mois-ci.",
        "La carte {card} a été refusée.",
        "L'adresse {ip} est bloquée.",
        "La clé {credential} a été publiée par erreur.",
        "Mot de passe : {password}",
        "Numéro de sécurité sociale : {national_id fr}",
        "Assurée {national_id fr}, dossier complet.",
        "Registre national {national_id be}",
    ),
    "es": (
        "Escriba a {email} antes del viernes.",
        "Teléfono: {phone}",
        "Transferencia a la cuenta {iban} este mes.",
        "La tarjeta {card} fue rechazada.",
        "El servidor {ip} no responde.",
        "La clave {credential} apareció en el registro.",
        "Contraseña: {password}",
        "DNI: {national_id es}",
        "con NIE {national_id es foreign} y domicilio en Madrid",
        "CURP {national_id mx}",
        "RUT {national_id cl}",
    ),
    "it": (
        "Scriva a {email} entro venerdì.",
        "Tel. {phone}",
        "Bonifico sul conto {iban} entro il mese.",
        "La carta {card} è stata rifiutata.",
        "Il server {ip} non risponde.",
        "La chiave {credential} era nel registro.",
        "password: {password}",
        "Codice fiscale: {national_id it}",
        "La signora, c.f. {national_id it}, ha firmato.",
    ),
    "pt": (
        "Escreva para {email} até sexta.",
        "Telefone: {phone}",
        "Transferência para a conta {iban} este mês.",
        "O cartão {card} foi recusado.",
        "O servidor {ip} não responde.",
        "A chave {credential} estava no registo.",
        "Senha: {password}",
        "NIF: {national_id pt}",
        "CPF {national_id br}",
    ),
    "nl": (
        "Schrijf naar {email} voor vrijdag.",
        "Telefoon: {phone}",
        "Overmaken op rekening {iban} deze maand.",
        "De kaart {card} is geweigerd.",
        "De server {ip} antwoordt niet.",
        "De sleutel {credential} stond in het logboek.",
        "password: {password}",
        "BSN: {national_id nl}",
        "Het burgerservicenummer is {national_id nl}.",
        "Rijksregisternummer {national_id be}",
    ),
    "pl": (
        "Proszę pisać na {email} do piątku.",
        "Telefon: {phone}",
        "Przelew na konto {iban} w tym miesiącu.",
        "Karta {card} została odrzucona.",
        "Serwer {ip} nie odpowiada.",
        "Klucz {credential} był w dzienniku.",
        "password: {password}",
        "PESEL: {national_id pl}",
        "Nr PESEL {national_id pl}, zamieszkała w Krakowie",
    ),
    LAYOUTS: (
        '{"email": "{email}", "ssn": "{national_id us}", "order": "{order}", "version": "{version}"}',
        "| {order} | {date} | {email} | {amount} |",
        '{ip} - - [10/Oct/2026:13:55:36] "GET /orders/{order}?id={uuid} HTTP/1.1" 200 {commit}',
        "{uuid};{email};{date};{iban};{ean}",
        "Signed {date} <br>Phone: {phone} <br>IBAN {iban}",
        "Build {build} of {date} from {commit} ran on {ip}, trace {uuid}.",
        "Ship {order} ({ean}), bill to card {card}, ISBN {isbn}.",
        "-- {hash}\nexport API_KEY={credential}\n{code}",
        "customer_id={order} national_id={national_id us} created={timestamp}",
        "Position {coordinates} at {timestamp}, parcel {tracking}, contact {email}",
    ),
}
STAYS: Mapping[str, Sequence[str]] = {
    "en": (
        "Version {version} fixes it.",
        "Firmware {build} is out.",
        "Order {order} is late.",
        "sha {hash}",
        "Fixed in commit {commit}.",
        "Trace id {uuid}",
        "ISBN {isbn}",
        "EAN {ean}",
        "Due on {date}.",
        "The total is {amount} USD.",
        "at {timestamp} it stopped",
        "Parcel {tracking} is lost.",
        "We are at {coordinates}.",
        "{code}",
    ),
    "de": (
        "Version {version} behebt das.",
        "Firmware {build} ist da.",
        "Bestellung {order} kommt später.",
        "Prüfsumme {hash}",
        "Seit {commit} behoben.",
        "Vorgang {uuid}",
        "ISBN {isbn}",
        "EAN {ean}",
        "Fällig am {date}.",
        "Summe: {amount} Euro",
        "Sendung {tracking}",
        "{code}",
    ),
    "fr": (
        "La version {version} corrige.",
        "Commande {order} en retard",
        "Le {date}.",
        "Total {amount} euros",
        "ISBN {isbn}",
    ),
    "es": (
        "La versión {version} lo arregla.",
        "Pedido {order} atrasado",
        "El {date}.",
        "Total {amount} euros",
        "{code}",
    ),
    "it": (
        "La versione {version} lo corregge.",
        "Ordine {order} in ritardo",
        "Il {date}.",
        "Totale {amount} euro",
        "{uuid}",
    ),
    "pt": ("A versão {version} corrige.", "Pedido {order} atrasado", "Em {date}.", "Total {amount} euros", "{commit}"),
    "nl": (
        "Versie {version} verhelpt het.",
        "Bestelling {order} is laat",
        "Op {date}.",
        "Totaal {amount} euro",
        "{hash}",
    ),
    "pl": ("Wersja {version} to naprawia.", "Zamówienie {order}", "Dnia {date}.", "Razem {amount} zł", "ISBN {isbn}"),
}
_FIELD = re.compile(r"\{(\w+)(?: ([\w ]+))?\}")


@dataclass(frozen=True, slots=True)
class Line:
    """A text, and where identifiers are in it."""

    language: str
    text: str
    labels: frozenset[Found]


def lines(*, rounds: int, seed: int) -> Iterator[Line]:
    """Yield each template so many times, each time with other values."""
    random = Random(seed)  # noqa: S311 - the same lines each time
    for _ in range(rounds):
        for language, templates in TEMPLATES.items():
            made = Made(random, "en" if language == LAYOUTS else language)
            for template in (*templates, *STAYS.get(language, ())):
                yield _filled(made, template)


def _filled(made: Made, template: str) -> Line:
    text, labels, end = "", set[Found](), 0
    for placeholder in _FIELD.finditer(template):
        text += template[end : placeholder.start()]
        name, end = placeholder[1], placeholder.end()
        value = _value(made, name, placeholder[2])
        if name not in LOOKALIKES:
            labels.add((len(text), len(text) + len(value), "credential" if name == "password" else name))
        text += value
    return Line(made.language, text + template[end:], frozenset(labels))


def _value(made: Made, name: str, country: str | None) -> str:
    if country:
        return made.national_id(country)
    return LOOKALIKES[name](made) if name in LOOKALIKES else str(getattr(made, name)())


@dataclass(slots=True)
class Counts:
    """What was labelled, found and found wrongly, by kind; and the first lines that went wrong."""

    labelled: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    texts: int = 0

    def recall(self, kind: str) -> float:
        """Return the share of the labelled ones that was found whole."""
        return self.right[kind] / self.labelled[kind]

    def precision(self, kind: str) -> float:
        """Return the share of what was found that was labelled."""
        return self.right[kind] / max(1, self.right[kind] + self.wrong[kind])


def measured(*, rounds: int, seed: int = SEED) -> Counts:
    """Return the counts over all lines, as a source that masks everything would mask them."""
    counts, stage = Counts(), MaskingStage(Masking())
    for line in lines(rounds=rounds, seed=seed):
        found = {(start, stop, kind.value) for (start, stop), kind in stage.found(line.text)}
        counts.texts += 1
        counts.labelled.update(kind for _, _, kind in line.labels)
        counts.right.update(kind for _, _, kind in line.labels & found)
        counts.wrong.update(kind for _, _, kind in found - line.labels)
        counts.missed.update((line.language, kind) for _, _, kind in line.labels - found)
        if found != line.labels:
            counts.examples.append(f"{line.text!r} -> {sorted((line.text[a:b], kind) for a, b, kind in found)}")
    return counts


def main() -> int:
    """Print the table and return 1 where a kind is below the bars."""
    counts = measured(rounds=ROUNDS)
    kinds = sorted(counts.labelled)
    say(f"{counts.texts} lines in {len(STAYS)} languages; bars: recall {MIN_RECALL}, precision {MIN_PRECISION}\n")
    say("| Kind | Labelled | Recall | Precision |\n|---|---|---|---|")
    for kind in kinds:
        say(f"| `{kind}` | {counts.labelled[kind]} | {counts.recall(kind):.3f} | {counts.precision(kind):.3f} |")
    if counts.missed:
        say(
            "\nMissed: "
            + ", ".join(f"{kind} in {language} {count}" for (language, kind), count in counts.missed.items())
        )
    for example in counts.examples[:20]:
        say(f"  {example}")
    recall, precision = min(map(counts.recall, kinds)), min(map(counts.precision, kinds))
    report("masking_recall", recall, "")
    report("masking_precision", precision, "")
    return int(recall < MIN_RECALL or precision < MIN_PRECISION)


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
