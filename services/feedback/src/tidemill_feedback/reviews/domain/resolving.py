"""How the reviews of an item become its labels, or a dispute."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

from tidemill_feedback.reviews.domain.labels import Label, LabelField, LabelKind, Value, same, values_of


@dataclass(frozen=True, slots=True)
class Dispute:
    """The reviews agree too little."""

    message: str


def decide(
    fields: Sequence[LabelField], reviews: Sequence[Sequence[Label]], *, min_agreement: float
) -> tuple[Label, ...] | Dispute:
    """Return the labels that enough reviews agree on: more than half of them, or the share `min_agreement`.

    Of numbers it is the median, which values within the field's tolerance agree with. Texts are not compared: one is
    taken from the review that agrees with most of the other labels, of equal ones the first.
    """
    said, resolved = [values_of(each) for each in reviews], dict[str, Value]()
    agreeing = [0] * len(said)
    for field in fields:
        if not field.compared:
            continue
        values = [each.get(field.name) for each in said]
        best = _best(field, values)
        agree = [same(field, each, best) for each in values]
        if not _enough(sum(agree), len(values), min_agreement):
            needed = f"at least {min_agreement:.0%}" if min_agreement else "more than half"
            return Dispute(f"{sum(agree)} of {len(values)} reviews agree on {field.name}, and {needed} are needed")
        agreeing = [count + each for count, each in zip(agreeing, agree, strict=True)]
        if best is not None:
            resolved[field.name] = best
    for field in fields:
        texts = [(-agreeing[place], place) for place, each in enumerate(said) if field.name in each]
        if not field.compared and texts:
            resolved[field.name] = said[min(texts)[1]][field.name]
    return tuple(
        Label(field=each.name, kind=each.kind, value=resolved[each.name]) for each in fields if each.name in resolved
    )


def _best(field: LabelField, values: Sequence[Value | None]) -> Value | None:
    """Return the value that most agree with, of equal ones the first that was said."""
    candidates = list(dict.fromkeys(values))
    if field.kind is LabelKind.NUMBER and (numbers := [float(each) for each in values if each is not None]):
        candidates = [median_low(numbers), None]
    return max(candidates, key=lambda value: sum(same(field, each, value) for each in values))


def _enough(agree: int, reviews: int, min_agreement: float) -> bool:
    # A share such as 2/3, written .667, is met by 2 of 3.
    return agree / reviews >= min_agreement - 0.01 if min_agreement else 2 * agree > reviews
