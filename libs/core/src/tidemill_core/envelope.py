"""A secret as it is stored: what aggregates hold of it, encrypted by `tidemill_kit.store.envelope`."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One encrypted value."""

    key_id: str
    """Which of the operator's keys its data key is wrapped by."""
    wrapped_key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
