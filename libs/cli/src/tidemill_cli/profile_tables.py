"""Profiles on a terminal: numbers by their quantiles, categories by their shares, and what differs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType

from tidemill.ingest.v1.profile_pb2 import CategoryColumn, ColumnShift, NumberColumn, Profile
from tidemill_cli.output import card, table

MAX_SHOWN = 12
"""Categories of a column."""
QUANTILES = ((0, "min"), (2, "5 %"), (10, "25 %"), (20, "median"), (30, "75 %"), (38, "95 %"), (40, "max"))
"""Of the 41 that a profile has."""
BALANCE_HEADS = ("balance over", "of", "groups", "largest share", "effective number")
_TITLES = {
    "readability": "readability (LIX)",
    "identifiers": "masked identifiers",
    "media_type": "format",
    "channel": "API",
    "with_identifiers": "with masked identifiers",
    "fields": "has",
}
"""Where a column's own name is none for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A profile, and what it is of."""

    name: str
    profile: Profile


def profile_tables(sides: Sequence[Side], shifts: Sequence[ColumnShift]) -> RenderableType:
    """Return one profile, or two beside one another."""
    parts: list[RenderableType] = [
        card({"versions": "", **{side.name: facts(side.profile) for side in sides}}),
        "",
        table(("", *(side.name for side in sides)), list(_categories(sides))),
        "",
        table(("", "of", *(name for _, name in QUANTILES), "mean", "outliers"), list(_numbers(sides))),
    ]
    if balances := list(balance_rows(sides)):
        parts += ["", table(BALANCE_HEADS, balances)]
    if len(sides) > 1:
        parts += ["", table(("column", "differs", "effect", "p adjusted", "test"), [shift_row(s) for s in shifts])]
    return Group(*parts)


def facts(profile: Profile) -> str:
    """Return what there is of all columns, as a sentence."""
    count = profile.count
    if not count:
        return "none"
    repeated = max(0.0, 1 - profile.distinct_texts / count)
    return f"{count} of about {profile.distinct_documents:.0f} documents, {repeated:.0%} with a text that came before"


def title_of(column: str) -> str:
    """Return a column's name for people."""
    return _TITLES.get(column, column.replace("_", " "))


def quantile_cells(column: NumberColumn) -> list[str]:
    """Return the quantiles that are shown, the mean and the outliers."""
    if not column.quantiles:
        return ["-"] * (len(QUANTILES) + 2)
    shown = [f"{column.quantiles[place]:,.4g}" for place, _ in QUANTILES]
    return [*shown, f"{column.mean:,.4g}", str(column.outliers)]


def shift_row(shift: ColumnShift) -> tuple[str, ...]:
    """Return the cells of one test."""
    differs = "yes" if shift.shifted else "no"
    test = shift.test.replace("_", "-")
    return title_of(shift.column), differs, f"{shift.effect:.3f}", f"{shift.adjusted_p_value:.3g}", test


def shares(column: CategoryColumn, count: int) -> Iterator[tuple[str, str]]:
    """Yield the categories of a column, each with its count, and its share of the versions where it has one."""
    for each in column.counts:
        share = "" if column.name == "identifiers" or not count else f" ({each.count / count:.0%})"
        yield each.name, f"{each.count}{share}"


def balance_rows(sides: Sequence[Side]) -> Iterator[tuple[str, ...]]:
    """Yield how evenly each side is spread over languages, cohorts, labels and end users."""
    names = dict.fromkeys(balance.name for side in sides for balance in side.profile.balances)
    for name in names:
        for side in sides:
            for each in side.profile.balances:
                if each.name == name:
                    spread = f"{each.largest_share:.0%}", f"{each.effective_number:.3g}"
                    yield title_of(name), side.name, str(each.groups), *spread


def _categories(sides: Sequence[Side]) -> Iterator[tuple[str, ...]]:
    for place, column in enumerate(sides[0].profile.categories):
        found = [dict(shares(side.profile.categories[place], side.profile.count)) for side in sides]
        names = list(dict.fromkeys(name for each in found for name in each))
        for name in names[:MAX_SHOWN]:
            yield f"{title_of(column.name)}: {name}", *(each.get(name, "-") for each in found)
        if len(names) > MAX_SHOWN:
            yield f"{title_of(column.name)}: {len(names) - MAX_SHOWN} more (--json, --html)", *("" for _ in sides)


def _numbers(sides: Sequence[Side]) -> Iterator[tuple[str, ...]]:
    for place, column in enumerate(sides[0].profile.numbers):
        for side in sides:
            yield title_of(column.name), side.name, *quantile_cells(side.profile.numbers[place])
