"""Compressed batches, as a broker would give them."""

import tracemalloc
from collections.abc import Iterator

import aiokafka.consumer.fetcher as consumer
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from tidemill_kit.events.decompression import DEFAULT_BYTES, limit_inflation
from tidemill_kit.events.records import UNREADABLE

CODECS = {
    "none": DefaultRecordBatch.CODEC_NONE,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}
LIMIT = 1024 * 1024


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    limit_inflation(LIMIT)
    yield
    limit_inflation(DEFAULT_BYTES)


def batch(codec: str, *values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1 << 30)
    for offset, value in enumerate(values):
        builder.append(offset, 0, b"k", value, [])
    return bytes(builder.build())


def read(data: bytes) -> list[tuple[int, bytes | None, bytes | None]]:
    records = consumer.MemoryRecords(data)
    found = []
    while records.has_next():
        found += [(each.offset, each.value, dict(each.headers).get(UNREADABLE)) for each in records.next_batch()]
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_what_stays_below_the_limit_is_read_as_it_was(codec: str) -> None:
    values = [b"x" * 500_000, b"y" * 500_000]

    assert read(batch(codec, *values)) == [(0, values[0], None), (1, values[1], None)]


@pytest.mark.parametrize("codec", CODECS)
def test_a_small_batch_takes_little_memory_whatever_the_limit_is(codec: str) -> None:
    limit_inflation(64 * LIMIT)
    small = batch(codec, b"x" * 10_000)
    tracemalloc.start()
    try:
        assert len(read(small)) == 1
        _, maximum = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert maximum < LIMIT


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_batch_that_inflates_to_more_becomes_one_record_that_says_so(codec: str) -> None:
    bomb = batch(codec, *[b"x" * 500_000] * 5)
    assert len(bomb) < LIMIT // 8

    assert [(offset, value) for offset, value, _ in read(bomb)] == [(4, None)]
    ((_, _, why),) = read(bomb)
    assert why is not None
    assert b"more than 1048576 bytes" in why


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec != "none"])
def test_a_batch_that_is_broken_costs_only_itself(codec: str) -> None:
    whole = batch(codec, b"x" * 1000)
    broken = whole[:70] + bytes(255 - byte for byte in whole[70:])

    [(offset, value, why)] = read(broken)
    assert (offset, value) == (0, None)
    assert why
