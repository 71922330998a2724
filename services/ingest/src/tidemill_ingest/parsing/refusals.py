"""Why a file is not taken: one function for each reason. None quotes the file's text."""

from tidemill_ingest.errors import DocumentRefused

_AGAIN = "open it in its program and save it anew"


def too_complex(*, what: str) -> DocumentRefused:
    """It takes too much of something: `what` names what, how much, the limit, and what to do."""
    return _refused("DOCUMENT_TOO_COMPLEX", what)


def unsafe(*, what: str) -> DocumentRefused:
    """It has what no program writes for its users."""
    return _refused("DOCUMENT_UNSAFE", f"{what}: {_AGAIN}")


def broken(*, what: str) -> DocumentRefused:
    """It is damaged."""
    return _refused("DOCUMENT_BROKEN", f"{what}: {_AGAIN}")


def encrypted() -> DocumentRefused:
    """It needs a password."""
    return _refused("DOCUMENT_ENCRYPTED", "is encrypted: send it without a password")


def mismatch(*, found: str, expected: str) -> DocumentRefused:
    """It is something else than its media type says."""
    text = f"is {found or 'something else'} and not {expected}, as its media type says: send it with its own type"
    return _refused("MEDIA_TYPE_MISMATCH", text)


def not_text(*, what: str) -> DocumentRefused:
    """Its bytes are no characters."""
    return _refused("NOT_TEXT", what)


def without_text(*, what: str) -> DocumentRefused:
    """It has pictures of text alone."""
    return _refused("NO_TEXT_LAYER", what)


def empty() -> DocumentRefused:
    """It has nothing to read."""
    return _refused("EMPTY_DOCUMENT", "holds no text: send a document with at least one visible character")


def _refused(reason: str, description: str) -> DocumentRefused:
    return DocumentRefused(reason=reason, field="content", description=description)
