"""How numbers, units, dates and negations may be written, and what differs though most characters are the same."""

import pytest

from tidemill_inference.generation.citations.citations import ground
from tidemill_inference.generation.domain.content import Passage


def is_cited(sentence: str, passage: str) -> bool:
    found = Passage(id="1", document="d", version=1, start=0, end=len(passage), score=0.5, text=passage)
    return bool(ground(sentence, [found]).citations)


OTHERWISE = [
    # signs
    ("The sensor reads -5 degrees at night.", "The sensor reads 5 degrees at night."),
    ("The sensor reads 5 degrees at night.", "The sensor reads -5 degrees at night."),
    ("The sensor reads \u22125 degrees at night.", "The sensor reads 5 degrees at night."),
    ("The sensor reads \u20135 degrees at night.", "The sensor reads 5 degrees at night."),
    ("The sensor reads minus five degrees.", "The sensor reads five degrees."),
    ("The sensor reads 5 degrees below zero.", "The sensor reads 5 degrees."),
    ("Der Sensor zeigt minus 5 Grad.", "Der Sensor zeigt 5 Grad."),
    ("Le capteur indique moins 5 degrés.", "Le capteur indique 5 degrés."),
    ("The office is at UTC-5 all year.", "The office is at UTC+5 all year."),
    ("The threshold is (-3) by default.", "The threshold is 3 by default."),
    # percent and plain
    ("The fee is 20 percent of the price.", "The fee is 20 of the price."),
    ("The fee is 20% of the price.", "The fee is 20 euro of the price."),
    ("20 employees use the gym.", "20 % of employees use the gym."),
    ("The rate rises by 2 percentage points.", "The rate rises by 2 percent."),
    ("The loss is 3 per mille a year.", "The loss is 3 percent a year."),
    ("Die Gebühr beträgt 20 Prozent des Preises.", "Die Gebühr beträgt 20 Euro des Preises."),
    ("Les frais sont de 20 pour cent du prix.", "Les frais sont de 20 euros du prix."),
    # units
    ("The pipe is 5 km long.", "The pipe is 5 m long."),
    ("The pipe is 5 mm thick.", "The pipe is 5 cm thick."),
    ("The limit is 10 GB for each user.", "The limit is 10 MB for each user."),
    ("The limit is 10 GiB for each user.", "The limit is 10 GB for each user."),
    ("The timeout is 30 ms by default.", "The timeout is 30 s by default."),
    ("The timeout is 30 min by default.", "The timeout is 30 seconds by default."),
    ("The room has 20 m² of floor.", "The room has 20 m of floor."),
    ("The tank holds 50 ml of oil.", "The tank holds 50 l of oil."),
    ("The bag weighs 500 mg in all.", "The bag weighs 500 g in all."),
    ("The oven runs at 200 °F for bread.", "The oven runs at 200 °C for bread."),
    ("The ticket costs $20 a day.", "The ticket costs 20 euro a day."),
    ("The ticket costs 20 USD a day.", "The ticket costs €20 a day."),
    ("The ticket costs 20 cents a day.", "The ticket costs 20 dollars a day."),
    ("The road allows 50 mph there.", "The road allows 50 km/h there."),
    ("The motor draws 5 kW at start.", "The motor draws 5 kWh at start."),
    ("It takes 20 business days to answer.", "It takes 20 hours to answer."),
    ("Section 5 says the pipe is 5 km long.", "Section 5 says the pipe is 5 m long."),
    ("Das Rohr ist 5 Meter lang.", "Das Rohr ist 5 Zentimeter lang."),
    ("Le tuyau mesure 5 mètres.", "Le tuyau mesure 5 centimètres."),
    # scales and separators
    ("The site has 5 million users.", "The site has 5 users."),
    ("The site has 5 users.", "The site has 5 million users."),
    ("The fee is 1,400.50 euro.", "The fee is 1,400.60 euro."),
    ("Der Betrag ist 1.400,50 Euro.", "Der Betrag ist 1.400,60 Euro."),
    ("The gap is 5 mm wide.", "The gap is .5 mm wide."),
    ("The course takes 2½ hours.", "The course takes 2 hours."),
    ("The course takes ½ hour.", "The course takes ¼ hour."),
    # bounds
    ("At least 4 people sign it.", "At most 4 people sign it."),
    ("A room takes more than 12 people.", "A room takes up to 12 people."),
    ("No more than 12 people fit in a room.", "No fewer than 12 people fit in a room."),
    ("Mindestens 4 Personen unterschreiben.", "Höchstens 4 Personen unterschreiben."),
    ("Au moins 4 personnes signent.", "Au plus 4 personnes signent."),
    ("Applications before 5 May are read.", "Applications after 5 May are read."),
    # ranges and ordinals
    ("It takes 5-9 days to answer.", "It takes 5-7 days to answer."),
    ("It takes 5 to 9 days to answer.", "It takes 5\u20137 days to answer."),
    ("The shop is on the third floor.", "The shop has three floors."),
    ("It ends on the twenty-first day.", "It ends on the twenty-second day."),
    ("It ends on the thirtieth day.", "It ends on the fortieth day."),
    # dates
    ("The contract ends on 2026-04-03.", "The contract ends on 2026-03-04."),
    ("The contract ends on 3 April 2026.", "The contract ends on 2026-03-04."),
    ("The contract ends on 4.3.2026.", "The contract ends on 3 April 2026."),
    ("The fair runs from 12 March to 3 April.", "The fair runs from 3 March to 12 April."),
    ("Die Frist endet am 3. April 2026.", "Die Frist endet am 4. März 2026, nicht am 1. April."),
    ("The contract ends on 20.11.27.", "The contract ends on 20 November 2026."),
    ("The contract ends in November 2027.", "The contract ends in 11/2026."),
    # negations
    ("The old client is no longer supported.", "The old client is supported."),
    ("You mightn't park there.", "You might park there."),
    ("You dont need a badge there.", "You need a badge there."),
    ("The ticket is nonrefundable.", "The ticket is refundable."),
    ("The ticket is non-refundable.", "The ticket is refundable."),
    ("Only unverified accounts are shown.", "Only verified accounts are shown."),
    ("The cache is deactivated by default.", "The cache is activated by default."),
    ("Der alte Client wird nicht mehr unterstützt.", "Der alte Client wird unterstützt."),
    ("Haustiere sind keinesfalls erlaubt.", "Haustiere sind erlaubt."),
    ("Haustiere sind keineswegs erlaubt.", "Haustiere sind erlaubt."),
    ("Ungültige Ausweise werden angenommen.", "Ein gültiger Ausweis wird angenommen."),
    ("L'ancien client n'est plus pris en charge.", "L'ancien client est pris en charge."),
    ("Le mode est désactivé par défaut.", "Le mode est activé par défaut."),
    ("Les animaux ne sont nullement admis.", "Les animaux sont admis."),
    ("El cliente antiguo ya no tiene soporte.", "El cliente antiguo tiene soporte."),
]

ALIKE = [
    # signs
    ("The sensor reads -5 °C at night.", "The sensor reads \u22125 °C at night."),
    ("The sensor reads minus 5 degrees.", "The sensor reads -5 degrees."),
    ("The sensor reads 5 degrees below zero.", "The sensor reads -5 degrees."),
    ("It takes 5-7 days.", "It takes 5 \u2013 7 days."),
    ("It takes 5 \u20137 days.", "It takes 5 to 7 days."),
    ("- 5 people sign the form.", "5 people sign the form."),
    ("Fault E-2047 means the belt slipped.", "Fault E-2047: the belt slipped."),
    ("Il faut au moins 5 personnes.", "Il faut au moins cinq personnes."),
    ("The offset is +5 hours.", "The offset is 5 hours."),
    # percent
    ("The fee is 20% of the price.", "The fee is 20 percent of the price."),
    ("The fee is 20 per cent of the price.", "The fee is 20 % of the price."),
    ("The fee is between 20 and 30 percent.", "The fee is between 20% and 30%."),
    ("Die Gebühr beträgt 20 %.", "Die Gebühr beträgt zwanzig Prozent."),
    ("Les frais sont de 20 %.", "Les frais sont de 20 pour cent."),
    ("The discount for members is 20 percent.", "| Group | Discount (%) |\n| members | 20 |"),
    # units
    ("The pipe is 5 metres long.", "The pipe is 5 m long."),
    ("The pipe is 5m long.", "The pipe is 5 m long."),
    ("The limit is 10 gigabytes.", "The limit is 10 GB."),
    ("The timeout is 30 seconds.", "The timeout is 30s."),
    ("The room has 20 square metres.", "The room has 20 m2 of floor."),
    ("The room has 20 m² of floor.", "The room has 20 m^2 of floor."),
    ("The oven runs at 200 degrees Celsius.", "The oven runs at 200 °C."),
    ("The ticket costs 20 euros.", "The ticket costs €20."),
    ("The ticket costs EUR 20.", "The ticket costs 20 €."),
    ("The ticket costs 2.5 euro.", "The ticket costs €2.50."),
    ("It takes 20 working days to answer.", "It takes 20 days to answer."),
    ("It takes between 5 minutes and 7 minutes.", "It takes 5 to 7 minutes."),
    ("The road allows 50 kilometres per hour.", "The road allows 50 km/h."),
    ("The gas is CO2.", "The gas is CO₂."),
    ("It was built in the 1990s.", "It was built in the 1990s by hand."),
    # scales and separators
    ("The site has 5 million users.", "The site has 5,000,000 users."),
    ("The site has 5M users.", "The site has 5 million users."),
    ("The budget is $5 million.", "The budget is 5,000,000 dollars."),
    ("The fee is 1,400.50 euro.", "The fee is 1400.50 euro."),
    ("Der Betrag ist 1.400,50 Euro.", "Der Betrag ist 1400,50 Euro."),
    ("The fee is 1 400 euro.", "The fee is 1\u2009400 euro."),
    ("The fee is 1\u2019400 francs.", "The fee is 1400 francs."),
    ("The prize is 1,00,000 rupees.", "The prize is 100,000 rupees."),
    ("The loop runs 1e6 times.", "The loop runs 1,000,000 times."),
    ("The gap is 0.5 mm wide.", "The gap is .5 mm wide."),
    ("The course takes 2.5 hours.", "The course takes 2½ hours."),
    ("The fee is \uff15\uff10 euro.", "The fee is 50 euro."),
    # bounds
    ("At least 4 people sign the form.", "Four or more people sign the form."),
    ("No more than 12 people fit in a room.", "At most 12 people fit in a room."),
    ("Up to 12 people fit in a room.", "A maximum of 12 people fit in a room."),
    # ranges and ordinals
    ("The shop is on the 3rd floor.", "The shop is on the third floor."),
    ("Der Laden ist im 3. Stock.", "Der Laden ist im dritten Stock."),
    ("It ends on the 21st day.", "It ends on the twenty-first day."),
    # dates and times
    ("The contract ends on 20.11.26.", "The contract ends on 20 November 2026."),
    ("The contract ends on November 20th, 2026.", "The contract ends on 2026/11/20."),
    ("The contract ends on 11/20/2026.", "The contract ends on 20 November 2026."),
    ("The contract ends on 03/04/2026.", "The contract ends on 3 April 2026."),
    ("The contract ends in November 2026.", "The contract ends in 11/2026."),
    ("The fair is open from 3 March to 12 March.", "The fair is open from 3 to 12 March."),
    ("Die Messe läuft vom 3. bis 12. März.", "Die Messe läuft vom 3. März bis zum 12. März."),
    ("The desk is open until 17:00.", "The desk is open until 5 pm."),
    ("The desk is open until 5:30 pm.", "The desk is open until 17:30."),
    # negations
    ("No, the permit is renewed each year.", "The permit is renewed each year."),
    ("Nein, der Ausweis wird jedes Jahr verlängert.", "Der Ausweis wird jedes Jahr verlängert."),
    ("The badge works no matter which gate is used.", "The badge works whichever gate is used."),
    ("It is not just the badge that opens the gate.", "It is the badge that opens the gate, or a code."),
    ("The old client is no longer supported.", "The old client isn't supported."),
    ("You shan't park there.", "You may not park there."),
    ("The ticket is nonrefundable.", "The ticket is not refundable."),
    ("Haustiere sind keinesfalls erlaubt.", "Haustiere sind nicht erlaubt."),
]


@pytest.mark.parametrize(("sentence", "passage"), OTHERWISE)
def test_what_differs_from_the_passage_by_a_sign_a_unit_or_a_prefix_is_not_cited(sentence: str, passage: str) -> None:
    assert not is_cited(sentence, passage)


@pytest.mark.parametrize(("sentence", "passage"), ALIKE)
def test_what_is_the_passages_in_another_spelling_is_cited(sentence: str, passage: str) -> None:
    assert is_cited(sentence, passage)
