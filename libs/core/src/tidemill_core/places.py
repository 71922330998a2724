"""How places of a document are said: "page 7", "sheet Prices, rows 17-31"."""

from collections.abc import Iterable

Place = tuple[str, int, int, str]
"""Kind, in lower case; first; last; name, "" where it has none."""


def described(places: Iterable[Place]) -> str:
    """Return the places in words, "" for none.

    A sheet goes by its name; the printed number of a page follows where it is another one.
    """
    return ", ".join(_one(*place) for place in places)


def _one(kind: str, first: int, last: int, name: str) -> str:
    if last > first:
        return f"{kind}s {first}-{last}"
    if kind == "sheet" and name:
        return f"sheet {name}"
    return f"{kind} {first} ({name})" if kind == "page" and name else f"{kind} {first}"
