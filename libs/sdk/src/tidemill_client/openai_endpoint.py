"""The OpenAI-compatible endpoint of a connection's project, for clients that others wrote."""

from dataclasses import dataclass, field

from tidemill_client.connection import Connection, NoAddress, tls_of_environment
from tidemill_core.transport_security import host_of, is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiEndpoint:
    """What a client needs beside the name of a deployment, which is its model."""

    base_url: str
    """With the project and /v1."""
    token: str = field(repr=False)
    """The connection's credential; "" where it has none."""


def openai_endpoint(connection: Connection) -> OpenAiEndpoint:
    """Return the endpoint, with the credential that calls of inference carry.

    Raises:
        NoAddress: neither the environment nor a running stack provides it.
        PlaintextRefused: the credential would be readable on the way.

    """
    address, tls = connection.addresses.http, tls_of_environment()
    if not address:
        message = "the address of the OpenAI API is not configured: run `tidemill up`, or set TIDEMILL_HTTP_ADDRESS"
        raise NoAddress(message, service="inference")
    tls.check_confidential(address)
    credential = connection.credential_for("inference")
    of_stack = bool(connection.addresses.credential_file) and not is_loopback(host_of(address))
    if of_stack:  # the local stack's credential never leaves this machine
        credential = None
    scheme = "https" if tls.ca_file else "http"
    return OpenAiEndpoint(
        base_url=f"{scheme}://{address}/projects/{connection.project}/v1", token=credential() if credential else ""
    )
