"""login and logout: a person's token, by the device flow of the identity provider (RFC 8628)."""

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx2
import typer

from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill_cli.options import without_project
from tidemill_cli.output import chosen_project, moment, run, show, stderr
from tidemill_client.connection import Addresses, Connection
from tidemill_client.logins import ALL_PROJECTS, forget_logins, remember_login
from tidemill_core.errors import DependencyUnavailable, PermissionDenied, PreconditionFailed
from tidemill_core.transport_security import is_loopback

SCOPES = "openid profile email groups"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL_S = 5.0
"""Between two questions whether the person has agreed, unless the provider says otherwise."""
_SLOWER_S = 5.0
_TIMEOUT_S = 10.0
_LONGEST_S = 1800.0
_MAX_BYTES = 256 * 1024
_DISCOVERY = "/.well-known/openid-configuration"


class LoginImpossible(PreconditionFailed):
    """The installation, or its identity provider, lets no person log in by a device code."""

    reason = "LOGIN_IMPOSSIBLE"


class LoginRefused(PermissionDenied):
    """The person, or the identity provider, did not agree."""

    reason = "LOGIN_REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What is exchanged for a token once the person has agreed at the address."""

    code: str
    user_code: str
    address: str
    interval_s: float
    expires_s: float


class Provider:
    """An identity provider, as its discovery document says."""

    def __init__(self, http: httpx2.AsyncClient, issuer: str, client_id: str) -> None:
        self._http = http
        self._issuer = issuer
        self._client_id = client_id
        self._endpoints: dict[str, Any] = {}

    async def begin(self) -> DeviceCode:
        """Ask for a device code.

        Raises:
            LoginImpossible: the provider has no device flow, or not for this client.
            DependencyUnavailable: it does not answer.

        """
        status, self._endpoints = await self._asked("GET", _safe(self._issuer.rstrip("/") + _DISCOVERY))
        endpoint = self._endpoints.get("device_authorization_endpoint", "")
        if status != httpx2.codes.OK or self._endpoints.get("issuer") != self._issuer or not endpoint:
            message = f"{self._issuer} offers no login by a device code (RFC 8628): ask an operator to allow it there"
            raise LoginImpossible(message)
        form = {"client_id": self._client_id, "scope": SCOPES}
        status, given = await self._asked("POST", _safe(endpoint), form)
        if status != httpx2.codes.OK or not {"device_code", "user_code", "verification_uri"} <= given.keys():
            why = str(given.get("error", status))[:80]
            message = f"{self._issuer} gives client {self._client_id} no device code ({why}): ask an operator"
            raise LoginImpossible(message)
        return DeviceCode(
            code=given["device_code"],
            user_code=str(given["user_code"]),
            address=str(given.get("verification_uri_complete") or given["verification_uri"]),
            interval_s=_seconds(given.get("interval"), INTERVAL_S),
            expires_s=min(_LONGEST_S, _seconds(given.get("expires_in"), _LONGEST_S)),
        )

    async def id_token(self, code: DeviceCode) -> str:
        """Return the ID token, as soon as the person has agreed.

        Raises:
            LoginRefused: the person has not, or not in time.
            DependencyUnavailable: the provider does not answer.

        """
        endpoint = _safe(str(self._endpoints.get("token_endpoint", "")))
        form = {"grant_type": GRANT, "device_code": code.code, "client_id": self._client_id}
        interval_s, until = code.interval_s, time.monotonic() + code.expires_s
        while time.monotonic() < until:
            await asyncio.sleep(interval_s)
            status, given = await self._asked("POST", endpoint, form)
            if status == httpx2.codes.OK and isinstance(given.get("id_token"), str):
                return str(given["id_token"])
            error = given.get("error")
            if error == "slow_down":
                interval_s += _SLOWER_S
            elif error != "authorization_pending":
                message = f"the login was refused ({str(error or status)[:80]}): run `tidemill login` again"
                raise LoginRefused(message)
        message = "nothing was confirmed in time: run `tidemill login` again"
        raise LoginRefused(message)

    async def _asked(self, method: str, address: str, form: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        try:
            response = await self._http.request(method, address, data=form, headers={"accept": "application/json"})
        except httpx2.HTTPError as error:
            message = f"{self._issuer} does not answer ({type(error).__name__}): try again"
            raise DependencyUnavailable(message, dependency="identity provider") from error
        try:
            found = response.json() if len(response.content) <= _MAX_BYTES else None
        except ValueError:
            found = None
        return response.status_code, found if isinstance(found, dict) else {}


@without_project
def logout() -> None:
    """Forget the tokens of `tidemill login` for this installation. They end by themselves within the hour."""
    forgotten = forget_logins(Addresses.find().of("monitor"))
    show({"forgotten": forgotten}, f"{forgotten} logins forgotten")


def login(
    *,
    all_projects: Annotated[bool, typer.Option("--all-projects", help="As an admin of the installation.")] = False,
) -> None:
    """Log in at the identity provider of this installation, for one project and an hour at most."""

    async def work() -> tuple[pb.ExchangeTokenResponse, str]:
        project = ALL_PROJECTS if all_projects else chosen_project()
        addresses = Addresses.find()
        async with Connection(project if project != ALL_PROJECTS else "", addresses) as connection:
            configured = await connection.access.GetAccessConfiguration(pb.GetAccessConfigurationRequest())
            if not configured.identity_provider:
                message = "this installation has no identity provider: use an API key (TIDEMILL_CREDENTIAL_FILE)"
                raise LoginImpossible(message)
            async with httpx2.AsyncClient(follow_redirects=False, timeout=_TIMEOUT_S) as http:
                token = await confirmed(Provider(http, configured.identity_provider, configured.client_id))
            request = pb.ExchangeTokenRequest(subject_token=token, project=project)
            exchanged = await connection.access.ExchangeToken(request)
        return exchanged, str(remember_login(addresses.of("monitor"), project, exchanged.token))

    found, file = run(work())
    facts = {"subject": found.subject, "project": found.project, "roles": list(found.roles), "file": file}
    sentence = f"{found.subject} in {found.project} as {', '.join(found.roles)}, until {moment(found.expire_time)}"
    show({**facts, "expire_time": found.expire_time.ToJsonString()}, sentence)


async def confirmed(provider: Provider) -> str:
    """Return the ID token of the person who confirms at the provider."""
    code = await provider.begin()
    stderr.print(f"Open {code.address} and confirm the code {code.user_code}", soft_wrap=True, markup=False)
    return await provider.id_token(code)


def _safe(address: str) -> str:
    """Return an address that tokens may be sent to: by TLS, or on this machine.

    Raises:
        LoginImpossible: it is another one.

    """
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return address
    message = f"the identity provider names {address[:80]!r}, which is not https: ask an operator"
    raise LoginImpossible(message)


def _seconds(given: object, default: float) -> float:
    return float(given) if isinstance(given, int | float) and given > 0 else default
