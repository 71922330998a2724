"""The way to MongoDB. No other module imports motor or pymongo, so that the driver is changed in one file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC
from typing import Any, TypeAlias

import pymongo
from bson import decode, encode
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorCursor, AsyncIOMotorDatabase
from pymongo import UpdateOne
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    DuplicateKeyError,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)

from tidemill_core.errors import AlreadyExists, DependencyUnavailable

Document: TypeAlias = dict[str, Any]
RawDocument: TypeAlias = RawBSONDocument
Client: TypeAlias = "AsyncIOMotorClient[Document]"
Database: TypeAlias = "AsyncIOMotorDatabase[Document]"
Collection: TypeAlias = "AsyncIOMotorCollection[Document]"
Cursor: TypeAlias = "AsyncIOMotorCursor[Document]"

CONNECT_TIMEOUT_S = 2.0
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""As stored; what a page of them becomes fits into the 4 MiB that a gRPC client takes by default."""

_DUPLICATE_KEY = 11000

# Answers that no repetition makes better: BadValue, FailedToParse, TypeMismatch, PathNotViable, CommandNotFound,
# ConflictingUpdateOperators, DollarPrefixedFieldName, BSONObjectTooLarge (three codes). Others are about the server.
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
    """Ask the server for a heartbeat.

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
        if isinstance(error, OperationFailure) and not _OUR_MISTAKE.isdisjoint(_codes(error)):
            raise
        message = f"MongoDB does not answer ({type(error).__name__}): try again later"
        raise DependencyUnavailable(message, dependency="mongodb") from error


def _codes(error: OperationFailure) -> set[int | None]:
    """Return what the server calls the error, or those of a bulk write."""
    return {error.code, *(each["code"] for each in _refused(error))}


def _refused(error: OperationFailure) -> Sequence[Mapping[str, Any]]:
    """Return what was refused of a bulk write, with its index; nothing of another command."""
    return (error.details or {}).get("writeErrors", []) if isinstance(error, BulkWriteError) else []


def _duplicates(error: BulkWriteError) -> Sequence[int]:
    """Return the indexes of what was refused of a bulk write because it is there already.

    Raises:
        BulkWriteError: the error, where anything was refused for something else.

    """
    refused = _refused(error)
    if not refused or any(each["code"] != _DUPLICATE_KEY for each in refused):
        raise error
    return [int(each["index"]) for each in refused]


def patiently(seconds: float) -> AbstractContextManager[None]:
    """Let the commands of the body together take so long, on the server too (maxTimeMS), instead of the client's limit.

    For the few that look at very much: under the limit of all others they would fail the same way each time.
    """
    return pymongo.timeout(seconds)


async def insert_new(collection: Collection, documents: Sequence[Document]) -> set[str]:
    """Insert those whose `_id` is free, all in one command; return the `_id`s that were taken.

    Raises:
        DependencyUnavailable: MongoDB does not answer; some may have been inserted.

    """
    if not documents:
        return set()
    with translated():
        try:
            await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return {documents[index]["_id"] for index in _duplicates(error)}
    return set()


async def count_up_to(collection: Collection, chosen: Document, *, limit: int) -> int:
    """Return how many documents match, counting no further than `limit`; an index must begin with what is chosen by.

    Raises:
        DependencyUnavailable: MongoDB does not answer.

    """
    with translated():
        count: int = await collection.count_documents(chosen, limit=limit)
    return count


async def read_page(found: Cursor, size: int) -> tuple[Sequence[Document], bool]:
    """Return the first documents, `size` at most and fewer where they are large, and whether there are more.

    Raises:
        DependencyUnavailable: MongoDB does not answer.

    """
    shown, remaining_bytes = list[Document](), MAX_PAGE_BYTES
    with translated():
        async for document in found.limit(size + 1):
            remaining_bytes -= len(encode(document))
            if shown and (len(shown) == size or remaining_bytes < 0):
                return shown, True
            shown.append(document)
    return shown, False


async def updated(
    collection: Collection, chosen: Document, update: Document, *, fields: Document, upsert: bool = False
) -> Document | None:
    """Update one document, and return these fields of it as they were before; None where there was none to choose.

    Raises:
        DuplicateId: there is one with the chosen `_id` that the rest of `chosen` does not fit.
        DependencyUnavailable: MongoDB does not answer; it may have been updated.

    """
    with translated():
        before: Any = await collection.find_one_and_update(chosen, update, projection=fields, upsert=upsert)
    return dict(before) if before is not None else None


async def update_or_insert(collection: Collection, expected: Document, update: Document) -> bool:
    """Update the document that matches, or insert it; return False where its `_id` is there and does not match.

    Of two who insert at the same moment MongoDB refuses one as a duplicate, and tries only plain equality again by
    itself: whether what the other one wrote matches is asked here.
    """
    try:
        with translated():
            result = await collection.update_one(expected, update, upsert=True)
    except DuplicateId:
        with translated():
            result = await collection.update_one(expected, update)
    return result.matched_count == 1 or result.upserted_id is not None


async def update_in_order(collection: Collection, updates: Sequence[tuple[Document, Document]]) -> int:
    """Update, or insert, one document after the other in one command; return the index of the first that is refused.

    A filter names the `_id`, and may demand more of a document that is there: one that does not fit is refused. Where
    none is, the number of updates is returned. MongoDB stops at the first, the embedded server goes on.

    Raises:
        DependencyUnavailable: MongoDB does not answer; some may have been updated.

    """
    with translated():
        try:
            await collection.bulk_write([UpdateOne(*each, upsert=True) for each in updates], ordered=True)
        except BulkWriteError as error:
            return min(_duplicates(error))
    return len(updates)


async def update_those(collection: Collection, updates: Sequence[tuple[Document, Document]]) -> int:
    """Update the documents that the filters match, all in one command; return how many filters matched one.

    Raises:
        DependencyUnavailable: MongoDB does not answer; some may have been updated.

    """
    with translated():
        return (await collection.bulk_write([UpdateOne(*each) for each in updates], ordered=False)).matched_count


async def update_each(collection: Collection, updates: Sequence[tuple[Document, Document]]) -> None:
    """Update, or insert, the document that each filter names by `_id`, all in one command.

    Raises:
        pymongo's errors: run it in `translated`; some may have been updated.

    """
    await collection.bulk_write([UpdateOne(chosen, update, upsert=True) for chosen, update in updates], ordered=False)


async def update_fitting(collection: Collection, updates: Sequence[tuple[Document, Document]]) -> set[int]:
    """Update, or insert, the document of each filter, all in one command; return the indexes of those that do not fit.

    A filter names the `_id`, each another one, and may demand more of a document that is there. One that is inserted by
    others at the same moment may count as not fitting.

    Raises:
        DependencyUnavailable: MongoDB does not answer; some may have been updated.

    """
    with translated():
        try:
            await update_each(collection, updates)
        except BulkWriteError as error:
            return set(_duplicates(error))
    return set()


async def delete_many(collection: Collection, ids: Sequence[str]) -> int:
    """Remove the documents with these `_id`s, and return how many were there.

    Raises:
        pymongo's errors: run it in `translated`; some may have been removed.

    """
    return (await collection.delete_many({"_id": {"$in": ids}})).deleted_count


def encoded(document: Mapping[str, Any]) -> RawDocument:
    """Return the document as MongoDB stores it: comparable, measurable by `raw`, sharing nothing with the original."""
    return RawBSONDocument(encode(document))


def plain(document: RawDocument) -> Document:
    """Return what `encoded` was given, as it is read from MongoDB."""
    return decode(document.raw, codec_options=CodecOptions(tz_aware=True, tzinfo=UTC))


def document_id(project: str, aggregate_id: str) -> str:
    """Return the `_id` of an aggregate, which is the Kafka key of its events too; a project has no slash in it."""
    return f"{project}/{aggregate_id}"


def ids_of(project: str) -> Document:
    """Return what finds a project's documents where each `_id` begins with `<project>/`: by their `_id` alone."""
    return {"_id": {"$gte": f"{project}/", "$lt": f"{project}0"}}  # 0 is the character after the slash
