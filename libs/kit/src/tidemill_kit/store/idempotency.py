"""What an aggregate keeps of the requests that changed it, so that each has one effect.

Of each of the last ones a short text: half of it names the request, the other half its body. Nothing is kept of what
no caller can send again.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from tidemill_core.application import Request
from tidemill_core.errors import RequestIdReused

REMEMBERED_REQUESTS = 50
_HALF = 16
"""Characters of base64, 96 bits: of an aggregate's requests no two ever share them by chance."""


def was_applied(known: Sequence[str | Mapping[str, str]], request: Request) -> bool:
    """Return whether the request changed the aggregate already; older documents keep ids and digests as they were.

    Raises:
        RequestIdReused: it did, with another body.

    """
    if not request.named:
        return False
    entry = entry_of(request)
    for stored in known:
        other = stored if isinstance(stored, str) else entry_of(Request(id=stored["id"], digest=stored["digest"]))
        if other[:_HALF] == entry[:_HALF]:
            if other != entry:
                raise RequestIdReused(request.id)
            return True
    return False


def remembered(request: Request) -> dict[str, Any]:
    """Return what is pushed so that the last requests stay known."""
    return {"requests": {"$each": [entry_of(request)], "$slice": -REMEMBERED_REQUESTS}} if request.named else {}


def entry_of(request: Request) -> str:
    """Return what is kept of a request."""
    return _short(request.id) + _short(request.digest)


def _short(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()[:_HALF]
