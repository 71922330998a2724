"""What a signed CloudEvent on Kafka is signed over, and the headers that carry it (standardwebhooks.com, `v1a`).

The signed text is `<webhook-id>.<webhook-timestamp>.<payload>`: in structured mode the payload is the record's value;
in binary mode the attributes, which are headers then, stand before it, each in a line.
"""

from collections.abc import Mapping

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
PUBLISHER = "tidemill-publisher"
"""The header with the publisher's certificate: the token that monitor issued for its public key."""
VERSION = "v1a"
"""Of signatures by Ed25519."""
ATTRIBUTES = ("type", "source", "subject", "project", "time")
"""In the order in which they are signed; one that is not sent is an empty line."""


def signed_text(event_id: str, timestamp: str, value: bytes, attributes: Mapping[str, str] | None) -> bytes:
    """Return what is signed; `attributes` None is structured mode, in which they are in the value."""
    lines = "" if attributes is None else "".join(f"{attributes.get(name, '')}\n" for name in ATTRIBUTES)
    return f"{event_id}.{timestamp}.{lines}".encode() + value
