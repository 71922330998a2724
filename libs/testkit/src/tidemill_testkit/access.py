"""An issuer of tokens for tests: of any claims, and with any defect."""

import atexit
import base64
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc
from joserfc import jws
from joserfc.jwk import Key, OKPKey

from tidemill_client.publishing import Publisher
from tidemill_core.grpc.client import open_channel
from tidemill_core.grpc.context import AUTHORIZATION, PROJECT
from tidemill_kit.access.access import Access
from tidemill_kit.access.authenticator import Authenticator
from tidemill_kit.access.grants import Grants, Shared
from tidemill_kit.access.holds import Holds
from tidemill_kit.access.keys import IssuerKeys, KeyTimes, SigningKeys
from tidemill_kit.access.retention import Retention
from tidemill_kit.access.revocations import Revocations
from tidemill_kit.access.running import RunningCalls
from tidemill_kit.access.tokens import AUDIENCE, EVENTS, Claims, public_set, signed
from tidemill_testkit.sole_member import RUN

ISSUER = "https://issuer.test"


class TestIssuer:
    """An Ed25519 key, its published set as a file, and tokens signed by it."""

    __test__ = False

    def __init__(self, folder: Path, *, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.key: Key = OKPKey.generate_key("Ed25519", auto_kid=True)
        self.file = folder / f"{uuid.uuid4()}.jwks.json"
        self.publish()

    @property
    def setting(self) -> str:
        """What ACCESS_ISSUERS names it by."""
        return f"{self.issuer}=file:{self.file}"

    def publish(self, *keys: Key) -> None:
        """Write the set of these keys, without any of the own one."""
        self.file.write_bytes(public_set(keys or [self.key]))

    def rotate(self, *, keep_old: bool = True) -> None:
        """Sign by a new key from now on."""
        old, self.key = self.key, OKPKey.generate_key("Ed25519", auto_kid=True)
        self.publish(self.key, *([old] if keep_old else []))

    def claims(self, project: str = "acme", *roles: str, subject: str = "user:ada", **changes: Any) -> Claims:  # noqa: ANN401 - of any field
        """Return claims that are good for an hour."""
        now = time.time()
        given: dict[str, Any] = {
            "issuer": self.issuer,
            "subject": subject,
            "project": project,
            "id": str(uuid.uuid4()),
            "issue_time": now,
            "expire_time": now + 3600,
            "roles": frozenset(roles),
        }
        return Claims(**{**given, **changes})

    def token(self, project: str = "acme", *roles: str, subject: str = "user:ada", **changes: Any) -> str:  # noqa: ANN401 - of any field
        """Return a good token."""
        return signed(self.claims(project, *roles, subject=subject, **changes), self.key)

    def service_token(self, service: str) -> str:
        """Return the identity of a service."""
        return self.token("*", subject=f"service:{service}")

    def odd(
        self,
        *,
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
        key: Key | None = None,
        text: bytes = b"",
    ) -> str:
        """Return a signed token that `signed` would not make.

        Fields are changed (None takes one away), or the claims are this `text`.
        """
        payload = {**self.claims("acme", "viewer").payload(AUDIENCE), **(claims or {})}
        fields = {"alg": "EdDSA", "typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        head, body = ({name: value for name, value in part.items() if value is not None} for part in (fields, payload))
        unsigned = f"{_encoded(json.dumps(head).encode())}.{_encoded(text or json.dumps(body).encode())}."
        signature = jws.JWSRegistry.algorithms[fields["alg"]].sign(unsigned.rstrip(".").encode(), key or self.key)
        return unsigned + _encoded(signature)


@cache
def installation() -> TestIssuer:
    """Return the issuer of all servers in this run that name no other."""
    folder = tempfile.mkdtemp(prefix="tidemill-issuer-", dir=os.environ.get(RUN))  # which goes with the run
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return TestIssuer(Path(folder))


@cache
def admin_token() -> str:
    """Return the credential of an admin of the installation, who may do anything in any project."""
    return installation().token("*", "installation_admin")


@cache
def service_token(service: str) -> str:
    """Return the credential of a service."""
    return installation().service_token(service)


def signing_publisher() -> Publisher:
    """Return what signs submissions of every project and source."""
    made = Publisher.generate()
    claims = installation().claims("*", "installation_admin", public_key=made.public_key)
    return replace(made, certificate=signed(claims, installation().key, audience=AUDIENCE + EVENTS))


def admin_headers(project: str) -> dict[str, str]:
    """Return what a request of the admin sends."""
    return {PROJECT: project, AUTHORIZATION: f"Bearer {admin_token()}"}


def admin_channel(address: str, **how: Any) -> grpc.aio.Channel:  # noqa: ANN401 - as `open_channel` has it
    """Return a channel of the admin."""
    return open_channel(address, credential=admin_token, **how)


def service_channel(service: str, address: str, *, name: str = "", timeout_s: float = 10.0) -> grpc.aio.Channel:
    """Return a channel as a service has it: of its own credential, on behalf of the caller of `acting_as`."""
    credential = partial(service_token, service)
    return open_channel(address, name=name, timeout_s=timeout_s, credential=credential, on_behalf=True)


def access_of(*issuers: TestIssuer, revocations: Revocations | None = None) -> Access:
    """Return what checks the tokens of these issuers, or of `installation`, against revocations that were all read."""
    given = issuers or (installation(),)
    keys = [IssuerKeys(each.issuer, partial(_published, each.file), KeyTimes()) for each in given]
    known = Revocations(monotonic=lambda: 0.0) if revocations is None else revocations
    known.complete = True
    signing = SigningKeys(keys)
    return Access(
        authenticator=Authenticator(signing, known),
        running=RunningCalls(known),
        keys=signing,
        revocations=known,
        grants=Grants(known),
        holds=Holds(known),
        retention=Retention(),
        components=(),
    )


def grant(name: str, kind: Shared, *, to: str, seq: int = 1, revoked: bool = False) -> bytes:
    """Return the record by which a project shares `<project>/<id>` with another one, or by `revoked` does no more."""
    owner, _, resource = name.partition("/")
    given = {"id": f"{kind}-{resource}-{to}", "project": owner, "resource_kind": f"RESOURCE_KIND_{kind}"}
    return json.dumps({**given, "resource": resource, "grantee": to, "seq": seq, "revoked": revoked}).encode()


async def _published(file: Path) -> dict[str, Any]:
    """Read a key set at once: a thread would be waited for on a busy machine, and then given up."""
    published: dict[str, Any] = json.loads(file.read_bytes())  # noqa: ASYNC240 - a small file
    return published


def raw(header: object, payload: object, signature: bytes = b"") -> str:
    """Return three parts as a token has them, of which none has to be right."""
    return ".".join(map(_encoded, [json.dumps(header).encode(), json.dumps(payload).encode(), signature]))


def _encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
