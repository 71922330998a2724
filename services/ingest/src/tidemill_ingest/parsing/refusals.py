"""Why a file is not taken: one function for each reason. None quotes the file's text."""

from collections.abc import Iterator
from contextlib import contextmanager

from tidemill_core.errors import Internal, isolated
from tidemill_ingest.errors import DocumentRefused

_AGAIN = "open it in its program and save it anew"


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Refuse a file of this format for whatever its library raises in the block.

    Raises:
        DocumentRefused: it is damaged, or takes too much memory; or what the block refused it for.
        Internal: the block says so: the file is not to blame.

    """
    try:
        with isolated():
            yield
    except (DocumentRefused, Internal):
        raise
    except (MemoryError, RecursionError) as error:
        description = f"takes too much memory to be read, or is nested too deep for {name}: split or simplify it"
        raise too_complex(what=description) from error
    except Exception as error:  # libraries have no errors of their own for much of what is odd in a file
        raise broken(what=f"cannot be read as {name} ({type(error).__name__})") from error


def too_complex(*, what: str) -> DocumentRefused:
    """It takes too much of something: `what` names what, how much, the limit, and what to do."""
    return _refused("DOCUMENT_TOO_COMPLEX", what)


def unsafe(*, what: str) -> DocumentRefused:
    """It has what no program writes for its users."""
    return _refused("DOCUMENT_UNSAFE", f"{what}: {_AGAIN}")


def nested(*, what: str) -> DocumentRefused:
    """It is in too many others."""
    return _refused("NESTED_TOO_DEEP", f"{what} in more archives or mails than are unpacked: send it by itself")


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
