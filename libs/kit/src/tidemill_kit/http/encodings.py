"""Compressed bodies, inflated within the limit of a body."""

import zlib

from tidemill_core.errors import InvalidInput
from tidemill_kit.http.errors import BodyTooLarge, EncodingNotSupported

_FORMATS = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}
_RAW_DEFLATE = -zlib.MAX_WBITS
_METHOD_DEFLATE = 8


def decoded(body: bytes, encoding: str, *, max_bytes: int) -> bytes:
    """Return what a body is without its encoding.

    Raises:
        EncodingNotSupported: it is another one, or there are several.
        BodyTooLarge: it comes to more than `max_bytes`.
        InvalidInput: it is broken.

    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in _FORMATS:
        raise EncodingNotSupported(encoding, supported=("gzip", "deflate", "identity"))
    # What is called deflate is zlib's format (RFC 9110, 8.4.1.2), or, from some, without its header.
    raw = name == "deflate" and (not body or body[0] & 0x0F != _METHOD_DEFLATE)
    inflating = zlib.decompressobj(_RAW_DEFLATE if raw else _FORMATS[name])
    try:
        inflated = inflating.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidInput.at(field="body", text=f"is no {name}: {error}") from error
    if len(inflated) > max_bytes:
        raise BodyTooLarge(limit=max_bytes)
    if not inflating.eof or inflating.unused_data:
        raise InvalidInput.at(field="body", text=f"is not one whole {name}: send it again")
    return inflated
