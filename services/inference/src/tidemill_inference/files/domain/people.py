"""Whom a line of a batch's files is of."""

import json

from tidemill_core.characters import clean_line


def people_of(line: bytes) -> set[str]:
    """Return the names in a line: that of the user of a request, or the one that a result says."""
    try:
        given = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(given, dict):
        return set()
    found = list[object]()
    if isinstance(said := given.get("tidemill"), dict):
        found.append(said.get("end_user"))
    if isinstance(body := given.get("body"), dict):
        found += [body.get("user"), body.get("safety_identifier")]
    return {name for each in found if isinstance(each, str) for name in (each, clean_line(each)) if name}
