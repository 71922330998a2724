"""Sentences that have most words of a passage, and say the same, or something else."""

import pytest

from tidemill_inference.generation.citations.citations import Grounding, ground
from tidemill_inference.generation.domain.content import Passage


def grounded(sentence: str, *texts: str) -> Grounding:
    passages = [
        Passage(id=str(number), document="d", version=1, start=0, end=len(text), score=0.5, text=text)
        for number, text in enumerate(texts, start=1)
    ]
    return ground(sentence, passages)


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        (
            "The parking permit is valid for 12 months.",
            "A permit is valid for eleven months. Parking permits are given by facility management.",
        ),
        ("Parents take 18 weeks at full pay.", "Parents take fourteen weeks at full pay."),
        ("Alcohol is always paid.", "Alcohol is never paid."),
        ("The lift does not carry visitors.", "The lift does carry visitors."),
        ("The fee is 1,500 euro.", "The fee is 1,400 euro."),
        ("It fills 0.75 litres bottles.", "It fills bottles of 0.7 litres."),
        ("The canteen serves from 11:45 to 14:00.", "The canteen serves from 11:30 to 14:00."),
        ("On Fridays there is only soup.", "On Thursdays there is only soup."),
        ("The contract ends on 12 March 2026.", "The contract ends on 12 May 2026."),
        ("The contract ends on 2026-11-21.", "The contract ends on 20 November 2026."),
        ("The note is needed from the fourth day on.", "From the third day on a doctor's note is needed."),
        ("A phone is replaced every twenty months.", "A phone is replaced every thirty months."),
        ("Laptops are saved every night.", "Laptops are not saved. Servers are backed up."),
        ("Private calls are not free within the Union.", "Private calls within the Union are free."),
        ("Receipts can't be photographed in Juniper.", "Receipts are photographed in Juniper within thirty days."),
        ("It takes one week to answer the request.", "It takes two weeks to answer the request."),
        ("Python 3.1 supports this.", "Python 3.10 supports this."),
        ("Fault E-2047 means the belt slipped.", "Fault E-2040 means the belt slipped."),
        ("Der Parkausweis gilt zwölf Monate.", "Der Parkausweis gilt elf Monate."),
        ("Der Parkausweis gilt 12 Monate.", "Der Parkausweis gilt elf Monate."),
        ("Dienstwagen werden nach fünf Jahren zurückgegeben.", "Dienstwagen werden nach vier Jahren zurückgegeben."),
        ("Privatfahrten sind nicht einzutragen.", "Privatfahrten sind im Fahrtenbuch einzutragen."),
        ("Alkohol wird immer bezahlt.", "Alkohol wird nie bezahlt."),
        ("Es kostet neunundzwanzig Euro.", "Es kostet neununddreißig Euro."),
        ("Die Frist endet am 3. April 2025.", "Die Frist endet am 3. Mai 2025."),
        ("Die Küche ist montags geschlossen.", "Die Küche ist dienstags geschlossen."),
        ("Haustiere sind erlaubt.", "Haustiere sind nicht erlaubt."),
        ("Es gibt keine Kantine im Haus.", "Es gibt eine Kantine im Haus."),
        ("Le permis est valable douze mois.", "Le permis est valable onze mois."),
        ("Les parents prennent quatre-vingt-dix jours.", "Les parents prennent quatre-vingts jours."),
        ("L'alcool est remboursé.", "L'alcool n'est jamais remboursé."),
        ("La cantine n'est pas ouverte le jeudi.", "La cantine est ouverte le jeudi."),
        ("Le contrat prend fin le 5 mars 2026.", "Le contrat prend fin le 5 mai 2026."),
        ("Il coûte 1 500 euros.", "Il coûte 1 400 euros."),
        ("La cantine ferme à 14h30.", "La cantine ferme à 14h00."),
        ("El permiso es válido durante doce meses.", "El permiso es válido durante once meses."),
        ("El permiso es válido durante once meses.", "El permiso es válido durante doce meses."),
        ("El alcohol se paga siempre.", "El alcohol no se paga nunca."),
        ("Los perros no están permitidos.", "Los perros están permitidos en la oficina."),
        ("La tarifa es de veintinueve euros.", "La tarifa es de treinta y nueve euros."),
        ("La oficina cierra los viernes.", "La oficina cierra los jueves."),
        ("El contrato termina el 5 de marzo de 2026.", "El contrato termina el 5 de mayo de 2026."),
        ("The permit is valid for 11 years.", "A permit is valid for eleven months."),
        ("The desk is open until 5 a.m.", "The desk is open until 5 pm."),
        ("The desk is open until 5:30am.", "The desk is open until 5:30 p.m. on weekdays."),
        ("The pump weighs 12 lb.", "The pump weighs 12 kg."),
        ("The depot is 3 miles away.", "The depot is three kilometres away."),
        ("Der Ausweis gilt elf Jahre.", "Der Ausweis gilt elf Monate."),
        ("Haustiere sind erlaubt.", "Haustiere, auch Hunde, sind nicht erlaubt."),
        ("Smoking is allowed in the hall.", "Smoking is forbidden in the hall."),
        ("Fumer est permis dans le hall.", "Fumer est interdit dans le hall."),
        ("The contract ends on Dec 20, 2026.", "The contract ends on November 20, 2026."),
        ("Smoking is permitted.", "Smoking is not permitted, neither inside nor outside."),
        ("Guests, including children, may use the pool.", "Guests, including children, may not use the pool."),
        ("El plazo es de 3 semanas.", "El plazo es de 3 días."),
        ("La demande n'est plus possible sans badge.", "La demande est possible avec un badge."),
        ("The lift carries up to 990 kg.", "The freight lift carries up to 900 kg."),
        ("Around 20 percent of staff use it.", "Around 25 percent of staff use it."),
        ("The meeting starts at 3 pm.", "The meeting starts at 2 pm."),
        ("Version 2.10 is needed.", "Version 2.1 is needed."),
        ("Le délai est de vingt et un jours.", "Le délai est de vingt-deux jours."),
        ("Employees are not entitled to a bonus.", "Employees are entitled to a bonus."),
        ("Der Zuschlag beträgt 1,5 Prozent.", "Der Zuschlag beträgt 2,5 Prozent."),
        ("Nobody may park on deck B.", "Everybody may park on deck B."),
    ],
)
def test_a_number_a_date_or_a_negation_that_the_passage_lacks_takes_the_citation_away(
    sentence: str, passage: str
) -> None:
    for written in (sentence, f"{sentence} [1]"):
        grounding = grounded(written, passage)

        assert grounding.citations == ()
        assert grounding.valid == 0.0


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        (
            "The parking permit is valid for 11 months.",
            "A permit is valid for eleven months. Parking permits are given by facility management.",
        ),
        ("Parents take 14 weeks at full pay.", "Parents take fourteen weeks at full pay."),
        ("Alcohol is not paid.", "Meals are paid at a flat rate of 28 euro a day. Alcohol is never paid."),
        (
            "Meals are paid at a flat rate of 28 euro a day.",
            "Meals are paid at a flat rate of 28 euro a day. Alcohol is never paid.",
        ),
        ("Important files belong on drive K.", "Laptops are not saved: important files belong on drive K."),
        (
            "Above 1400 euro the head of department signs.",
            "Each employee may spend 1,400 euro a year on courses. Above that the head of department signs.",
        ),
        ("The contract ends on November 20, 2026.", "The contract ends on 2026-11-20."),
        ("The contract ends on 20.11.2026.", "The contract ends on 20 November 2026."),
        ("The canteen serves from 11.30 to 14:00.", "The canteen serves from 11:30 to 14:00."),
        ("It serves until 14:00.", "It serves until 14 o'clock."),
        ("A phone is replaced every 30 months.", "A phone is replaced every thirty months."),
        ("The desk is open until 5 pm.", "The desk is open until 5 p.m. on weekdays."),
        ("The desk is open until 5.", "The desk is open until 5pm."),
        ("The pump weighs twelve kilograms.", "The pump weighs 12 kg."),
        ("Das Treffen beginnt um 5 am Montag.", "Am Montag beginnt das Treffen um 5 Uhr."),
        ("The 3rd day needs a doctor's note.", "From the third day on a doctor's note is needed."),
        ("1. Open valve V2 and restart.", "inlet pressure too low: open valve V2 and restart"),
        ("The invoice is unpaid.", "The invoice is not paid."),
        ("It costs 2 million euro.", "It costs 2,000,000 euro."),
        ("It does not need the token.", "The token is not needed for it."),
        ("You may bring visitors.", "Visitors may be brought, but not dogs. You may bring them."),
        (
            "os.walk generates the file names in a directory tree.",
            "Excluding '.' and '..', yields a 3-tuple. os.walk generates the file names in a directory tree.",
        ),
        ("Der Parkausweis gilt 11 Monate.", "Der Parkausweis gilt elf Monate."),
        ("Dienstwagen werden nach 4 Jahren zurückgegeben.", "Dienstwagen werden nach vier Jahren zurückgegeben."),
        ("Es kostet 29 Euro.", "Es kostet neunundzwanzig Euro."),
        ("Es kostet 2350 Euro.", "Es kostet zweitausenddreihundertfünfzig Euro."),
        ("Haustiere sind nicht erlaubt.", "Haustiere sind im Haus nicht erlaubt."),
        (
            "Die Spülmaschine schaltet ein, wer als Letzter geht.",
            "Wer als Letzter geht, schaltet die Spülmaschine ein. Milch stellt die Kantine.",
        ),
        ("Die Frist endet am 3.5.2025.", "Die Frist endet am 3. Mai 2025."),
        ("Le permis est valable 11 mois.", "Le permis est valable onze mois."),
        ("Les parents prennent 91 jours.", "Les parents prennent quatre-vingt-onze jours."),
        ("L'alcool n'est pas remboursé.", "L'alcool n'est jamais remboursé."),
        ("Il coûte 1400 euros.", "Il coûte 1 400 euros."),
        ("La cantine ferme à 14:00.", "La cantine ferme à 14h00."),
        ("Le contrat prend fin le 05/03/2026.", "Le contrat prend fin le 5 mars 2026."),
        ("El permiso es válido durante 11 meses.", "El permiso es válido durante once meses."),
        ("La tarifa es de 39 euros.", "La tarifa es de treinta y nueve euros."),
        ("Los perros no están permitidos.", "Los perros no están permitidos en la oficina."),
        (
            "The permit is valid for 11 months.",
            "The permit is valid for eleven months, from 11 days after the request.",
        ),
        ("The contract ends on Nov 20, 2026.", "The contract ends on November 20, 2026."),
        ("Smoking is not allowed in the hall.", "Smoking is forbidden in the hall."),
        ("I'm sorry, alcohol is never paid.", "Alcohol is never paid."),
        (
            "Two days a week may be worked from home.",
            "Two days a week may be worked from home. Production staff are excluded.",
        ),
        (
            "A lost token is reported at once; the replacement costs 35 euro.",
            "A lost token is reported at once; the replacement costs 35 euro.",
        ),
        (
            "Hotels may cost 140 euro a night, in Oslo 210 euro.",
            "Trains are booked by the travel desk. Hotels may cost 140 euro a night, in Oslo 210 euro.",
        ),
        ("Mai und Juni sind Ferien.", "Im Mai und im Juni sind Ferien."),
        ("Le permis coûte 20 euros par an.", "Le permis coûte vingt euros par an."),
        (
            "Without the token the service desk gives a code for one day.",
            "Heron needs the hardware token. Without the token the service desk gives a code for one day.",
        ),
        ("You cannot park there.", "You can't park there."),
        ("Everybody may use the pool, but dogs may not.", "Everybody may use the pool. Dogs may not."),
        ("A password has at least 14 characters.", "A password has at least fourteen characters and changes."),
    ],
)
def test_the_same_number_date_or_negation_in_other_words_is_cited(sentence: str, passage: str) -> None:
    grounding = grounded(sentence, passage)

    assert [each.passage for each in grounding.citations] == ["1"]
    assert grounding.valid == 1.0


@pytest.mark.parametrize(
    ("sentence", "passage"),
    [
        ("I do not know.", "What you do not know I tell you."),
        ("Das weiß ich nicht.", "Was ich nicht weiß, das weiß der Pförtner nicht."),
        ("Dazu habe ich keine Information.", "Information zu Urlaub habe ich hier."),
        ("Je ne sais pas.", "Je ne sais pas conduire, dit-il."),
        ("Les passages ne mentionnent pas le prix.", "Le prix des passages."),
        ("No lo sé.", "Lo sé todo."),
        (
            "Los documentos no contienen información sobre el precio.",
            "Los documentos contienen información sobre el precio.",
        ),
        ("I'm sorry, but the passages do not mention the share price.", "The passages mention the share price."),
        ("The answer is not stated in the provided documents.", "The answer is stated in the provided documents."),
        ("Ich kann diese Frage leider nicht beantworten.", "Ich kann diese Frage beantworten."),
        ("Je ne peux pas répondre à cette question.", "Je peux répondre à cette question."),
        ("Keine Ahnung.", "Ahnung hat keine."),
        ("No puedo responder a esta pregunta.", "No puedo responder a esta pregunta hoy."),
        ("The documents say nothing about the price.", "The price is in the documents."),
        ("The answer cannot be found in the passages.", "The answer is found in the passages."),
    ],
)
def test_a_sentence_that_declines_rests_on_nothing(sentence: str, passage: str) -> None:
    for written in (sentence, f"{sentence} [1]"):
        assert grounded(written, passage).citations == ()


def test_what_stands_beside_a_sentence_that_declines_is_cited() -> None:
    text = "I do not know the price. The token shows six digits."

    grounding = grounded(text, "The token shows six digits which change each minute.")

    assert [text[each.start : each.end] for each in grounding.citations] == ["The token shows six digits."]


def test_the_passage_that_says_it_is_cited_where_a_closer_one_says_something_else() -> None:
    grounding = grounded(
        "The permit is valid for eleven months.",
        "The permit is valid for twelve months.",
        "In Graz, a permit is valid for eleven months after it was given.",
    )

    assert [each.passage for each in grounding.citations] == ["2"]
