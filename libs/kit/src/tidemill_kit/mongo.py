"""The way to MongoDB. No other module imports motor or pymongo, so that the driver is changed in one file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from typing import Any, TypeAlias

from bson import encode
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo.errors import (
    ConfigurationError,
    DuplicateKeyError,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)

from tidemill_kit.errors import AlreadyExists, DependencyUnavailable

Document: TypeAlias = dict[str, Any]
Client: TypeAlias = "AsyncIOMotorClient[Document]"
Database: TypeAlias = "AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncIOMotorCollection[Document]"

CONNECT_TIMEOUT_S = 2.0

# Answers that no repetition makes better: BadValue, FailedToParse, TypeMismatch, PathNotViable, CommandNotFound,
# ConflictingUpdateOperators, DollarPrefixedFieldName, BSONObjectTooLarge (three codes). Others tell of the server.
_OUR_MISTAKE = frozenset({2, 9, 14, 28, 40, 52, 59, 10334, 17419, 17420})


class DuplicateId(AlreadyExists):
    """A document with this `_id` or unique key is there already."""

    reason = "DUPLICATE_ID"


def connect(uri: str, *, timeout_s: float) -> Client:
    """Return a client that connects when it is first used; no call takes much longer than `timeout_s`.

    A write is acknowledged when a majority has it in its journal, and reads see only such writes.
    """
    milliseconds = int(timeout_s * 1000)
    return AsyncIOMotorClient(
        uri,
        appname="tidemill",
        connectTimeoutMS=min(milliseconds, int(CONNECT_TIMEOUT_S * 1000)),
        journal=True,
        readConcernLevel="majority",
        serverSelectionTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
        tz_aware=True,
        tzinfo=UTC,
        w="majority",
        waitQueueTimeoutMS=milliseconds,
        wTimeoutMS=milliseconds,
    )


async def ping(client: Client) -> None:
    """Ask the server for a sign of life.

    Raises:
        DependencyUnavailable: there is none.

    """
    with translated():
        await client.admin.command("ping")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the kit's; mistakes of the calling code stay what they are.

    Raises:
        DuplicateId: the id or a unique key is taken.
        DependencyUnavailable: MongoDB does not answer, or cannot do its work now.

    """
    try:
        yield
    except DuplicateKeyError as error:
        message = "the id is taken"
        raise DuplicateId(message) from error
    except (ConfigurationError, InvalidOperation):
        raise
    except PyMongoError as error:
        if isinstance(error, OperationFailure) and error.code in _OUR_MISTAKE:
            raise
        message = f"MongoDB does not answer ({type(error).__name__}): the same call may succeed later"
        raise DependencyUnavailable(message, dependency="mongodb") from error


def bson_of(document: Mapping[str, Any]) -> bytes:
    """Return the document as MongoDB stores it: comparable, measurable, sharing nothing with the original."""
    return encode(document)
