"""Compressed batches of Kafka records are inflated up to a limit: a megabyte may hold a gigabyte.

aiokafka inflates a whole batch in memory, of any size. This module puts decoders with a limit in the place of its own,
and has a batch that is beyond it, or broken, read as one record without a value, which says so in a header.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiokafka.consumer.fetcher
import cramjam
from aiokafka.codec import _detect_xerial_stream
from aiokafka.record import default_records, legacy_records
from aiokafka.record.memory_records import MemoryRecords

from tidemill_kit.events.records import UNREADABLE

DEFAULT_BYTES = 32 * 1024 * 1024

_XERIAL_HEADER = 16
_MIN_SPACE = 64 * 1024
_GROWTH = 8


class Oversized(ValueError):
    """A batch inflates to more than the limit."""


@dataclass(slots=True)
class _Limit:
    inflated_bytes: int = DEFAULT_BYTES


_limit = _Limit()


def limit_inflation(inflated_bytes: int) -> None:
    """Take batches of so many bytes at most, from now on."""
    _limit.inflated_bytes = inflated_bytes


def _gzip(payload: Any) -> bytes:  # noqa: ANN401 - a buffer
    inflated, rest = bytearray(), bytes(payload)
    while rest:
        member = zlib.decompressobj(wbits=31)
        inflated += member.decompress(rest, _limit.inflated_bytes - len(inflated) + 1)
        _refuse_beyond(len(inflated))
        if not member.eof:
            message = "the gzip stream ends too early"
            raise ValueError(message)
        rest = member.unused_data
    return bytes(inflated)


def _snappy(payload: Any) -> bytes:  # noqa: ANN401 - a buffer
    data = bytes(payload)
    blocks = list(_xerial_blocks(data)) if _detect_xerial_stream(data) else [data]
    _refuse_beyond(sum(cramjam.snappy.decompress_raw_len(block) for block in blocks))
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


def _xerial_blocks(data: bytes) -> Iterator[bytes]:
    place = _XERIAL_HEADER
    while place < len(data):
        (size,) = struct.unpack_from("!I", data, place)
        yield data[place + 4 : place + 4 + size]
        place += 4 + size


def _lz4(payload: Any) -> bytes:  # noqa: ANN401 - a buffer
    return _into_limit(cramjam.lz4, bytes(payload))


def _zstd(payload: Any) -> bytes:  # noqa: ANN401 - a buffer
    return _into_limit(cramjam.zstd, bytes(payload))


def _into_limit(codec: Any, data: bytes) -> bytes:  # noqa: ANN401 - a module of cramjam
    """Inflate into memory that grows up to the limit: most batches are small, and memory is cleared before it is used.

    What these codecs raise does not say whether the data is broken or the space too small.
    """
    limit = _limit.inflated_bytes
    size = max(_MIN_SPACE, len(data) * _GROWTH)
    while True:
        space = bytearray(min(size, limit))
        try:
            inflated = codec.decompress_into(data, space)
        except cramjam.DecompressionError as error:
            if size >= limit:
                message = f"it is broken, or inflates to more than {limit} bytes"
                raise Oversized(message) from error
            size *= _GROWTH
        else:
            return bytes(memoryview(space)[:inflated])


def _refuse_beyond(size: int) -> None:
    if size > _limit.inflated_bytes:
        message = f"it inflates to more than {_limit.inflated_bytes} bytes"
        raise Oversized(message)


@dataclass(frozen=True, slots=True)
class _Stand:
    """One record in the place of a batch, as aiokafka's are."""

    offset: int
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int = 0
    timestamp_type: int = 0
    key: None = None
    value: None = None
    checksum: None = None


class _Batch:
    """A batch that comes to nothing but one record when it cannot be inflated."""

    def __init__(self, batch: Any) -> None:  # noqa: ANN401 - aiokafka's
        self._batch = batch

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - aiokafka's
        return getattr(self._batch, name)

    def __next__(self) -> Any:  # noqa: ANN401 - aiokafka's
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        try:
            records: Iterator[Any] = iter(self._batch)
        except (ValueError, OSError, EOFError, zlib.error, cramjam.DecompressionError) as error:
            why = str(error) if isinstance(error, Oversized) else f"it cannot be inflated ({type(error).__name__})"
            return iter([_Stand(self._batch.next_offset - 1, ((UNREADABLE, why.encode()),))])
        return records


class _Records:
    """Batches of one answer."""

    def __init__(self, data: bytes) -> None:
        self._records = MemoryRecords(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - aiokafka's
        return getattr(self._records, name)

    def next_batch(self) -> Any:  # noqa: ANN401 - aiokafka's
        batch = self._records.next_batch()
        return batch if batch is None else _Batch(batch)


def _install() -> None:
    modules: list[Any] = [default_records, legacy_records]
    with suppress(ImportError):
        from aiokafka.record._crecords import (  # noqa: PLC0415 - there only where it was compiled
            default_records as compiled,
        )
        from aiokafka.record._crecords import legacy_records as compiled_legacy  # noqa: PLC0415 - ditto

        modules += [compiled, compiled_legacy]
    for module in modules:
        for name, decode in (
            ("gzip_decode", _gzip),
            ("snappy_decode", _snappy),
            ("lz4_decode", _lz4),
            ("zstd_decode", _zstd),
        ):
            if hasattr(module, name):
                setattr(module, name, decode)
    aiokafka.consumer.fetcher.MemoryRecords = _Records


_install()
