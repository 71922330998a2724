"""Names of persons, places and organisations in sentences of eight languages, labelled.

The names are invented combinations of usual ones; sentences without a name say things that begin with a capital letter.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from tests.bench._labelled import Line

NAMES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "en": {
        "person": ("Margaret Ellison", "Tom Hargreaves", "Priya Raman", "Dr. Olivia Stone"),
        "place": ("Leeds", "Boston", "New Zealand", "Cape Town"),
        "organisation": ("Northgate Insurance", "Harlow & Sons", "University of Exeter", "Contoso Ltd"),
    },
    "de": {
        "person": ("Sabine Krüger", "Jürgen Weiß", "Leyla Aydin", "Karl-Heinz Vogt"),
        "place": ("Göttingen", "Hamburg", "Österreich", "Bad Homburg"),
        "organisation": ("Stadtwerke Kassel", "Brenner GmbH", "Universität Jena", "Nordbank AG"),
    },
    "fr": {
        "person": ("Hélène Marchand", "Luc Fontaine", "Amina Diallo", "Jean-Pierre Roux"),
        "place": ("Grenoble", "Marseille", "Bretagne", "Suisse"),
        "organisation": ("Crédit Mutuel", "Lafarge", "Université de Nantes", "Mairie de Lille"),
    },
    "es": {
        "person": ("Lucía Ortega", "Javier Morales", "María del Carmen Ruiz", "Pablo Núñez"),
        "place": ("Zaragoza", "Sevilla", "México", "La Coruña"),
        "organisation": ("Banco Sabadell", "Telefónica", "Universidad de Granada", "Seguros Levante"),
    },
    "it": {
        "person": ("Giulia Ferraro", "Marco Bianchi", "Chiara De Luca", "Antonio Greco"),
        "place": ("Torino", "Bologna", "Sardegna", "Reggio Emilia"),
        "organisation": ("Banca Sella", "Comune di Verona", "Università di Pavia", "Fratelli Rossi"),
    },
    "pt": {
        "person": ("Inês Carvalho", "João Pereira", "Beatriz Santos", "Rui Almeida"),
        "place": ("Coimbra", "Lisboa", "Brasil", "São Paulo"),
        "organisation": ("Caixa Geral", "Universidade do Porto", "Galp", "Seguros Atlântico"),
    },
    "nl": {
        "person": ("Sanne de Vries", "Pieter van Dijk", "Fatima El Amrani", "Joost Bakker"),
        "place": ("Utrecht", "Eindhoven", "Den Haag", "Vlaanderen"),
        "organisation": ("Rabobank", "Universiteit Leiden", "Gemeente Breda", "Philips"),
    },
    "pl": {
        "person": ("Agnieszka Nowak", "Piotr Zieliński", "Maria Wójcik", "Tomasz Kowalczyk"),
        "place": ("Gdańsk", "Wrocław", "Polska", "Nowy Sącz"),
        "organisation": ("Bank Pekao", "Uniwersytet Łódzki", "Orlen", "Huta Katowice"),
    },
}
TEMPLATES: Mapping[str, Sequence[str]] = {
    "en": (
        "{person} moved from {place} last spring.",
        "Please forward the claim of {person} to {organisation}.",
        "{organisation} has an office in {place}.",
        "From: {person}",
        "The contract with {organisation} ends in May.",
    ),
    "de": (
        "{person} ist im Frühjahr aus {place} weggezogen.",
        "Bitte leiten Sie den Antrag an {organisation} weiter.",
        "Sehr geehrte Frau {person}, vielen Dank.",
        "Die Filiale in {place} gehört zu {organisation}.",
    ),
    "fr": (
        "{person} habite à {place} depuis mars.",
        "Le dossier de {person} est chez {organisation}.",
        "La filiale de {place} ferme en août.",
    ),
    "es": (
        "{person} vive en {place} desde marzo.",
        "El contrato de {person} lo lleva {organisation}.",
        "La oficina de {place} cierra en agosto.",
    ),
    "it": (
        "{person} abita a {place} da marzo.",
        "La pratica di {person} è presso {organisation}.",
        "La sede di {place} chiude ad agosto.",
    ),
    "pt": (
        "{person} mora em {place} desde março.",
        "O processo de {person} está com {organisation}.",
        "O balcão de {place} fecha em agosto.",
    ),
    "nl": (
        "{person} woont sinds maart in {place}.",
        "Het dossier van {person} ligt bij {organisation}.",
        "Het kantoor in {place} sluit in augustus.",
    ),
    "pl": (
        "{person} mieszka od marca, miasto: {place}.",
        "Sprawę prowadzi {organisation}.",
        "Podpis: {person}",
    ),
}
STAYS: Mapping[str, Sequence[str]] = {
    "en": ("Version 2.4 of the Manual is out.", "Press Ctrl and Enter to send.", "Order 48151623 ships on Monday."),
    "de": ("Die Rechnung ist am Montag fällig.", "Drücken Sie die Eingabetaste.", "Anlage: Vertrag und Quittung"),
    "fr": ("La facture est due lundi.", "Appuyez sur Entrée.", "Pièce jointe : contrat"),
    "es": ("La factura vence el lunes.", "Pulse Intro para enviar.", "Adjunto: contrato"),
    "it": ("La fattura scade lunedì.", "Premere Invio.", "Allegato: contratto"),
    "pt": ("A fatura vence na segunda-feira.", "Prima Enter.", "Anexo: contrato"),
    "nl": ("De factuur vervalt maandag.", "Druk op Enter.", "Bijlage: contract"),
    "pl": ("Faktura jest płatna w poniedziałek.", "Naciśnij Enter.", "Załącznik: umowa"),
}
_FIELD = re.compile(r"\{(\w+)\}")


def lines(*, rounds: int, seed: int) -> Iterator[Line]:
    """Yield each sentence so many times, each time with other names."""
    random = Random(seed)  # noqa: S311 - the same lines each time
    for _ in range(rounds):
        for language, templates in TEMPLATES.items():
            for template in templates:
                yield filled(language, template, {kind: random.choice(of) for kind, of in NAMES[language].items()})
            yield from (Line(language, text, frozenset()) for text in STAYS[language])


def filled(language: str, template: str, names: Mapping[str, str]) -> Line:
    """Return a sentence with names in their places."""
    text, labels, end = "", set[tuple[int, int, str]](), 0
    for place in _FIELD.finditer(template):
        text += template[end : place.start()]
        name, end = names[place[1]], place.end()
        labels.add((len(text), len(text) + len(name), place[1]))
        text += name
    return Line(language, text + template[end:], frozenset(labels))
