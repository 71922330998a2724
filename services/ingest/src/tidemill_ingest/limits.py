"""How much is taken; both sides of every limit are tested."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Every number that a submission is measured against. Lengths are in characters unless the name says bytes."""

    document_bytes: int = 10 * MEBIBYTE
    inline_bytes: int = 4 * MEBIBYTE
    record_bytes: int = 900 * 1024
    key_length: int = 1024
    title_length: int = 500
    uri_length: int = 2048
    readers: int = 100
    reader_length: int = 200
    metadata_entries: int = 64
    metadata_value_length: int = 1024
    metadata_bytes: int = 16 * 1024
    labels: int = 64
    label_length: int = 256
    reason_length: int = 500
    kept_versions: int = 50
    kept_steps: int = 100
    batch_bytes: int = 64 * MEBIBYTE
    batch_examples: int = 100_000
    waiting_offers: int = 100
    kept_dataset_versions: int = 1000
    compared_examples: int = 50_000
