"""How clients of Kafka connect: their options, the tokens of OAUTHBEARER, and why a server turned a client away."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from aiokafka import conn
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)

from tidemill_core.errors import DependencyUnavailable, TidemillError
from tidemill_core.origins import AllowedHosts
from tidemill_core.transport_security import ClientCredentials, KafkaServers, Secret
from tidemill_kit.events.records import KAFKA, milliseconds

_ENDPOINT_S = 10.0
_PROBE_S = 5.0
_OK = 200
_MAX_ANSWER_BYTES = 64 * 1024
_USABLE_SHARE = 0.8
"""Of its lifetime, a token of an endpoint is used again; then the next connection gets a new one."""
_LIFETIME_S = 300.0
"""Of a token whose endpoint does not say it."""

_DENIED = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)

_original_step = conn.OAuthAuthenticator.step


async def _step(authenticator: Any, answer: bytes | None) -> Any:  # noqa: ANN401 - aiokafka has no types
    """See what the server answered to the token: aiokafka takes a refusal for consent, and its requests fail later."""
    if answer:
        message = "the token was refused"
        raise SaslAuthenticationFailed(message)
    return await _original_step(authenticator, answer)


conn.OAuthAuthenticator.step = _step


def let_kafka_wait(consumer: Any, seconds: float) -> None:  # noqa: ANN401 - aiokafka has no types
    """Have Kafka wait for records so long before it answers the consumer's next requests that there are none.

    aiokafka takes that once, as an option of a new consumer.
    """
    consumer._fetcher._fetch_max_wait_ms = milliseconds(seconds)  # noqa: SLF001 - see above


def client_options(servers: KafkaServers) -> dict[str, Any]:
    """Return what every client of aiokafka needs to connect.

    Raises:
        SecretUnreadable: the password's file cannot be read.

    """
    options: dict[str, Any] = {
        "bootstrap_servers": servers.bootstrap,
        "security_protocol": servers.protocol,
        "ssl_context": servers.ssl_context(),
    }
    if not servers.sasl:
        return options
    options["sasl_mechanism"] = servers.mechanism
    if servers.mechanism == "OAUTHBEARER":
        return options | {"sasl_oauth_token_provider": token_provider(servers)}
    return options | {"sasl_plain_username": servers.username, "sasl_plain_password": servers.password.read()}


def token_provider(servers: KafkaServers) -> AbstractTokenProvider:
    """Return what a client of aiokafka gets its tokens from, for each connection."""
    token = servers.token
    return EndpointTokens(token) if isinstance(token, ClientCredentials) else FileTokens(token)


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]  # aiokafka has no types
    """There is no token to connect with; aiokafka treats it as a server that does not answer."""


class FileTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """The token in a file, read for each connection."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    async def token(self) -> str:
        """Return the token.

        Raises:
            TokenUnavailable: there is none.

        """
        try:
            return self._secret.read()
        except DependencyUnavailable as error:
            raise TokenUnavailable(error.message) from None


class EndpointTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka has no types
    """Tokens of a token endpoint for client credentials (RFC 6749, section 4.4), each used for most of its lifetime."""

    def __init__(self, credentials: ClientCredentials, *, now: Callable[[], float] = time.monotonic) -> None:
        self._credentials = credentials
        self._now = now
        self._fetching = asyncio.Lock()
        self._token, self._usable_until = "", 0.0

    async def token(self) -> str:
        """Return a token that is still usable for a while.

        Raises:
            TokenUnavailable: the endpoint gives none.

        """
        async with self._fetching:
            if self._now() >= self._usable_until:
                began = self._now()
                try:
                    async with asyncio.timeout(_ENDPOINT_S):
                        self._token, lifetime_s = await self._fetched()
                except (OSError, ValueError, RecursionError, TimeoutError, TidemillError) as error:
                    why = str(error) or type(error).__name__
                    message = f"the token endpoint {self._credentials.url} gives no token: {why}"
                    raise TokenUnavailable(message) from None
                self._usable_until = began + _USABLE_SHARE * lifetime_s
            return self._token

    async def _fetched(self) -> tuple[str, float]:
        # A third of a second, which only clients with an endpoint need.
        from tidemill_kit.outgoing.client import HttpError, InvalidAddress, outgoing_client  # noqa: PLC0415

        ours, form = self._credentials, {"grant_type": "client_credentials"}
        if ours.scope:
            form["scope"] = ours.scope
        words = f"{quote_plus(ours.client_id)}:{quote_plus(ours.client_secret.read())}"  # RFC 6749, section 2.3.1
        headers = {"authorization": f"Basic {b64encode(words.encode()).decode()}", "accept-encoding": "identity"}
        body = b""
        try:
            async with (
                outgoing_client(allowed=AllowedHosts.of_addresses(ours.url), timeout_s=_ENDPOINT_S) as client,
                client.stream("POST", ours.url, data=form, headers=headers) as response,
            ):
                if response.status_code != _OK:
                    message = f"HTTP status {response.status_code}"
                    raise ValueError(message)
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > _MAX_ANSWER_BYTES:
                        message = f"its answer exceeds {_MAX_ANSWER_BYTES} bytes"
                        raise ValueError(message)
        except (HttpError, InvalidAddress) as error:
            raise OSError(type(error).__name__) from None
        return _token_of(body)


def _token_of(body: bytes) -> tuple[str, float]:
    message = "its answer has no access_token"
    try:
        answer = json.loads(body)
    except ValueError:
        raise ValueError(message) from None  # without the body, which may have a token in it
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise ValueError(message)
    lifetime = answer.get("expires_in")
    return token, float(lifetime) if isinstance(lifetime, int | float) and lifetime > 0 else _LIFETIME_S


async def unavailable(servers: KafkaServers, error: Exception) -> DependencyUnavailable:
    """Return the error that says why Kafka cannot be used, and what to check.

    aiokafka says of a wrong password what it says of a server that is down: so one connection is tried, which knows.
    """
    if isinstance(error, KafkaConnectionError | TimeoutError | OSError) and servers.sasl:
        error = await _refusal(servers) or error
    return said(servers, error)


def said(servers: KafkaServers, error: Exception) -> DependencyUnavailable:
    """Return the error in words; of a client that was refused with what has to be checked."""
    if isinstance(error, SaslAuthenticationFailed):
        checked = "the token, its issuer and audience" if servers.mechanism == "OAUTHBEARER" else "user and password"
        message = f"Kafka refuses {servers.principal} by {servers.mechanism}: check {checked}"
    elif isinstance(error, UnsupportedSaslMechanismError):
        message = f"Kafka does not take {servers.mechanism}: check KAFKA_SASL_MECHANISM ({error})"
    elif isinstance(error, _DENIED):
        message = (
            f"Kafka does not let {servers.principal} do this ({type(error).__name__}): compare its ACLs with "
            "`tidemill kafka acls show`"
        )
    elif isinstance(error, TokenUnavailable | DependencyUnavailable):
        message = f"Kafka cannot be connected to: {error}"
    else:
        message = f"Kafka does not answer: {error!r}"
    return DependencyUnavailable(message, dependency=KAFKA)


async def _refusal(servers: KafkaServers) -> Exception | None:
    """Connect to one server after the other, and return what the first that answers says against this client."""
    try:
        options = client_options(servers)
    except DependencyUnavailable as error:
        return error
    for host, port, _ in conn.collect_hosts(options.pop("bootstrap_servers")):
        try:
            async with asyncio.timeout(_PROBE_S):
                connection = await conn.create_conn(host, port, request_timeout_ms=int(_PROBE_S * 1000), **options)
            connection.close()
        except (SaslAuthenticationFailed, UnsupportedSaslMechanismError, TokenUnavailable) as error:
            return error
        except (KafkaError, OSError, TimeoutError):
            continue
        return None
    return None
