"""The digest by which two submissions of a document are known to say the same: for ingest, and for its clients."""

import hashlib
import json
from collections.abc import Iterable, Mapping


def body_digest(  # noqa: PLR0913 - what a submission says
    *,
    content_sha256: str,
    media_type: str,
    title: str = "",
    uri: str = "",
    language: str = "",
    readers: Iterable[str] = (),
    metadata: Mapping[str, str | float | bool] | None = None,
) -> str:
    """Return the digest of a submission less its revision: equal exactly where the same was said again.

    Whole numbers of the metadata are floats, as in a protobuf Struct.
    """
    said = {
        "content": content_sha256,
        "language": language,
        "media_type": media_type,
        "metadata": dict(metadata or {}),
        "readers": sorted(set(readers)),
        "title": title,
        "uri": uri,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
