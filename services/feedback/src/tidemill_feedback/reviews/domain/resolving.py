"""How the reviews of an item become its labels, or a dispute."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median_low

from tidemill_feedback.reviews.domain.labels import Label, LabelField, LabelKind, Value, same, values_of

HALF = 0.5
_ROUNDED = 0.005
"""A share such as 2/3, written .67, is met by 2 of 3."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """The reviews agree too little."""

    message: str


def decide(
    fields: Sequence[LabelField],
    reviews: Sequence[Sequence[Label]],
    *,
    min_agreement: float,
    asked: Sequence[Collection[str]] = (),
) -> tuple[Label, ...] | Dispute:
    """Return the labels that enough reviews agree on: more than half of them, or the share `min_agreement`.

    Of numbers it is the median, which values within the field's tolerance agree with. Texts are not compared: one is
    taken from the review that agrees with most of the other labels, of equal ones the first. `asked` has for each
    review the fields that there were: one that was added later is decided by the other reviews. Empty is all.
    """
    said, resolved = [values_of(each) for each in reviews], dict[str, Value]()
    agreeing = [0] * len(said)
    for field in fields:
        if not field.compared:
            continue
        places = [place for place in range(len(said)) if not asked or not asked[place] or field.name in asked[place]]
        values = [said[place].get(field.name) for place in places]
        best = _best(field, values, min_agreement)
        agree = {place for place, each in zip(places, values, strict=True) if same(field, each, best)}
        if values and not _enough(len(agree), len(values), min_agreement):
            needed = f"at least {min_agreement:.0%}" if min_agreement else "more than half"
            return Dispute(f"{len(agree)} of {len(values)} reviews agree on {field.name}, and {needed} are needed")
        agreeing = [count + (place in agree) for place, count in enumerate(agreeing)]
        if best is not None:
            resolved[field.name] = best
    for field in fields:
        texts = [(-agreeing[place], place) for place, each in enumerate(said) if field.name in each]
        if not field.compared and texts:
            resolved[field.name] = said[min(texts)[1]][field.name]
    return tuple(
        Label(field=each.name, kind=each.kind, value=resolved[each.name]) for each in fields if each.name in resolved
    )


def _best(field: LabelField, values: Sequence[Value | None], min_agreement: float) -> Value | None:
    """Return the value that most agree with, of equal ones the first that was said; of numbers the median.

    Where half of the reviews or fewer are enough, another number than the median may have more of them.
    """
    candidates = list(dict.fromkeys(values))
    if field.kind is LabelKind.NUMBER and (numbers := [float(each) for each in values if each is not None]):
        others = candidates if 0 < min_agreement <= HALF else []
        candidates = list(dict.fromkeys([median_low(numbers), *others, None]))
    return max(candidates, key=lambda value: sum(same(field, each, value) for each in values), default=None)


def _enough(agree: int, reviews: int, min_agreement: float) -> bool:
    more_than_half = 2 * agree > reviews
    if not min_agreement:
        return more_than_half
    return agree / reviews >= min_agreement - _ROUNDED and (more_than_half or min_agreement <= HALF)
