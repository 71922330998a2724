"""The lines of a batch's file: which are requests, and what is wrong with the others."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

MAX_CUSTOM_ID = 512
MAX_RESULT_BYTES = 15 * 1024 * 1024
"""A document of MongoDB, which keeps it for a while, has at most 16 MiB."""
NOT_JSON = "is not JSON: send one object a line"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line with something in it, by its number from 1 and its place in the file."""

    number: int
    offset: int
    size: int
    custom_id: str = ""
    code: str = ""
    """Why it cannot be asked, "" where it can."""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a line, as it stands in the file of answers (`ok`) or in that of errors."""

    line: int
    ok: bool
    text: str
    end_user: str = ""


def lines_of(lines: Iterable[bytes], *, endpoint: str, max_lines: int, max_bytes: int) -> Iterator[Line]:
    """Yield the lines that are not blank; those beyond the limit come as one that says so."""
    seen, offset, found = set[str](), 0, 0
    for number, raw in enumerate(lines, start=1):
        place = Line(number=number, offset=offset, size=len(raw))
        offset += len(raw)
        if not raw.strip():
            continue
        found += 1
        if found > max_lines:
            text = f"the file has more than {max_lines} requests, which is the limit: send several batches"
            yield replace(place, code="too_many_requests_in_file", message=text)
            return
        yield _checked(raw, place, seen, endpoint=endpoint, max_bytes=max_bytes)


def body_of(raw: bytes) -> bytes:
    """Return the body of a line that was found to be a request, in ASCII: half a surrogate pair has no other form."""
    return json.dumps(json.loads(raw)["body"]).encode()


def _checked(raw: bytes, place: Line, seen: set[str], *, endpoint: str, max_bytes: int) -> Line:
    if len(raw) > max_bytes:
        return replace(
            place, code="request_too_large", message=f"has {len(raw)} bytes; the limit of a line is {max_bytes}"
        )
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError):
        return replace(place, code="invalid_json_line", message=NOT_JSON)
    if not isinstance(given, dict):
        return replace(place, code="invalid_json_line", message="is not a JSON object")
    custom_id = given.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= MAX_CUSTOM_ID:
        text = f"custom_id is required: a text of 1 to {MAX_CUSTOM_ID} characters, unique in the file"
        return replace(place, code="missing_custom_id", message=text)
    why = _why(given, endpoint)
    if not why and custom_id in seen:
        why = "duplicate_custom_id", "custom_id is that of an earlier line: choose another one"
    seen.add(custom_id)
    code, message = why or ("", "")
    return replace(place, custom_id=custom_id, code=code, message=message)


def _why(given: dict[str, Any], endpoint: str) -> tuple[str, str] | None:
    if others := sorted(given.keys() - {"custom_id", "method", "url", "body"}):
        return "unknown_parameter", f"has {others[0][:80]!r}: use custom_id, method, url and body"
    if given.get("method") != "POST":
        return "invalid_method", "method has to be POST"
    if given.get("url") != endpoint:
        return "mismatched_url", f"url has to be that of the batch: {endpoint}"
    if not isinstance(given.get("body"), dict):
        return "missing_body", "body is required: the object that the endpoint takes"
    return None


def error_line(line_id: str, line: Line, *, code: str, message: str) -> str:
    """Return the line of a request that got no answer of the endpoint."""
    error = {"code": code, "message": message, "line": line.number}
    return _written({"id": line_id, "custom_id": line.custom_id or None, "response": None, "error": error})


def answer_line(line_id: str, line: Line, *, status: int, body: object, end_user: str) -> str:
    """Return the line of a request that the endpoint answered, with a status that is an error's or not."""
    response = {"status_code": status, "request_id": line_id, "body": body}
    written = {"id": line_id, "custom_id": line.custom_id, "response": response, "error": None}
    return _written({**written, "tidemill": {"end_user": end_user}} if end_user else written)


def _written(line: dict[str, Any]) -> str:
    """Return JSON; half a surrogate pair stays escaped, as no store takes it otherwise."""
    text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="backslashreplace").decode()
