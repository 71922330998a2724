"""Tokens: JWT (RFC 7519) in the form of access tokens (RFC 9068), signed by EdDSA, RS256 or ES256.

The key's type decides the algorithm, never the token. A key comes from the issuer's published set, never from a header.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, KeySet, OKPKey, RSAKey

from tidemill_core.grpc.context import PROJECT_SLUG
from tidemill_kit.access.errors import CredentialExpired, CredentialInvalid

MAX_TOKEN = 8192
"""Characters of a token."""
ANY_PROJECT = "*"
AUDIENCE = "tidemill"
EVENTS = ":events"
"""Behind the audience: that of publishers' certificates, which no API takes."""
SERVICE = "service:"

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})
_HEADERS_REFUSED = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc"})
"""What would bring a key along, or change what is signed or how it is read."""
_KEY_ID = re.compile(r"[!-~]{1,200}")
_NAME = re.compile(r"[!-~]{1,200}")
_SUBJECT = re.compile(r"(user|service_account):[!-~]{1,200}|service:[a-z][a-z0-9-]{0,39}")
_MAX_NAMES = {"roles": 64, "groups": 512, "permissions": 64, "scopes": 512}
_MIN_RSA_BITS = 2048


class _Registry(jws.JWSRegistry):
    """Allows what the key's type is for; headers that mean nothing here (such as `x5t`) pass, unlike those refused."""

    def __init__(self, signs: str, *verifies_too: str) -> None:
        super().__init__(algorithms=[signs, *verifies_too], strict_check_header=False)
        self.signs = signs

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - joserfc's own class of algorithms is not exported
        """Return the algorithm, without a warning about the name EdDSA, which most issuers still write."""
        if name not in (self.allowed or ()):
            raise CredentialInvalid
        return self.algorithms[name]


_EDDSA, _ES256, _RS256 = _Registry("EdDSA", "Ed25519"), _Registry("ES256"), _Registry("RS256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says; times are seconds since 1970."""

    issuer: str
    subject: str
    """`user:...`, `service_account:...` or `service:<name>`."""
    project: str
    """A project, or `*`: every project, of services and the installation's admin."""
    id: str
    issue_time: float
    expire_time: float
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    permissions: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    public_key: str = ""
    """Of a publisher's certificate: the Ed25519 key (base64url) of the events that it is for."""
    event_source: str = ""
    """Of a publisher's certificate: the only ce_source that it is for, "" for every one of the project."""

    @property
    def service(self) -> str:
        """The service whose identity it is, or ""."""
        return self.subject.removeprefix(SERVICE) if self.subject.startswith(SERVICE) else ""

    @property
    def names(self) -> Iterable[str]:
        """What gives it its rights, as a revocation names them: the subject, its groups and its roles."""
        return (self.subject, *(f"group:{each}" for each in self.groups), *(f"role:{each}" for each in self.roles))

    def payload(self, audience: str = AUDIENCE) -> dict[str, Any]:
        """Return it as it stands in a token."""
        names = {"roles": self.roles, "groups": self.groups, "permissions": self.permissions, "scopes": self.scopes}
        published = {"cnf": {"jwk": {"kty": "OKP", "crv": "Ed25519", "x": self.public_key}}} if self.public_key else {}
        return (
            published
            | {
                "iss": self.issuer,
                "aud": audience,
                "sub": self.subject,
                "project": self.project,
                "jti": self.id,
                "iat": int(self.issue_time),
                "nbf": int(self.issue_time),
                "exp": int(self.expire_time),
                **({"event_source": self.event_source} if self.event_source else {}),
            }
            | {
                name: sorted(given)
                for name, given in names.items()
                if given or (given is not None and name == "scopes")
            }
        )


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is not verified yet: what says where its key is to be found."""

    text: str = field(repr=False)
    issuer: str
    key_id: str

    @classmethod
    def read(cls, text: str, *, untyped: bool = False) -> "Token":
        """Read what nothing may be concluded from but the key; `untyped` takes one that does not say what it is.

        Raises:
            CredentialInvalid: it is no token, or one that asks to be checked in another way.

        """
        if len(text) > MAX_TOKEN or not _COMPACT.fullmatch(text):
            raise CredentialInvalid
        try:
            token = jws.extract_compact(text.encode())
            header, claims = token.headers(), _json_object(token.payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise CredentialInvalid from None
        kind = header.get("typ", "jwt" if untyped else None)
        key_id, issuer = header.get("kid"), claims.get("iss")
        if header.keys() & _HEADERS_REFUSED or not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise CredentialInvalid
        if not (isinstance(key_id, str) and _KEY_ID.fullmatch(key_id) and isinstance(issuer, str)):
            raise CredentialInvalid
        return cls(text, issuer, key_id)

    def verified(self, key: Key, *, audience: str, leeway_s: float, now: float, first_party: bool) -> Claims:
        """Return what it says, if the key signed it and it is for us, now.

        `first_party` issuers name services and `*`; the subjects of others are users, unless they say otherwise.

        Raises:
            CredentialInvalid, CredentialExpired: it is not.

        """
        payload = self.checked(key, audience=audience, leeway_s=leeway_s, now=now)
        return _claims(payload, first_party=first_party)

    def checked(self, key: Key, *, audience: str, leeway_s: float, now: float) -> dict[str, Any]:
        """Return what any token says, such as the ID token of OpenID Connect, if the key signed it for us, now.

        Raises:
            CredentialInvalid, CredentialExpired: it is not.

        """
        try:
            token = jws.deserialize_compact(self.text, key, registry=_registry_of(key))
            payload = _json_object(token.payload)
        except (JoseError, ValueError, TypeError, RecursionError):
            raise CredentialInvalid from None
        audiences = payload.get("aud")
        if payload.get("iss") != self.issuer or audience not in _texts([audiences] if _text(audiences) else audiences):
            raise CredentialInvalid
        begins, ends = max(_time(payload.get("iat")), _time(payload.get("nbf", 0))), _time(payload.get("exp"))
        if begins > now + leeway_s:
            raise CredentialInvalid
        if ends <= now - leeway_s:
            raise CredentialExpired
        return payload


def signed(claims: Claims, key: Key, *, audience: str = AUDIENCE) -> str:
    """Return a token of these claims, signed by a private key."""
    key.ensure_kid()
    registry = _registry_of(key)
    header = {"alg": registry.signs, "typ": "at+jwt", "kid": key.kid}
    payload = json.dumps(claims.payload(audience), separators=(",", ":")).encode()
    return jws.serialize_compact(header, payload, key, registry=registry)


def public_set(keys: Iterable[Key]) -> bytes:
    """Return the published form (a JWK set) of signing keys, without anything private."""
    published = KeySet(list(keys)).as_dict(private=False)
    return json.dumps({"keys": [{**key, "use": "sig"} for key in published["keys"]]}).encode()


def algorithm_of(key: Key) -> str:
    """Return the algorithm by which a key signs tokens; "" of a type that is not taken, or of a weak one."""
    try:
        return _registry_of(key).signs
    except CredentialInvalid:
        return ""


def _registry_of(key: Key) -> _Registry:
    if isinstance(key, OKPKey) and key.curve_name == "Ed25519":
        return _EDDSA
    if isinstance(key, ECKey) and key.curve_name == "P-256":
        return _ES256
    if isinstance(key, RSAKey) and key.public_key.key_size >= _MIN_RSA_BITS:
        return _RS256
    raise CredentialInvalid


def _claims(payload: Mapping[str, Any], *, first_party: bool) -> Claims:
    subject, project, identifier = (payload.get(name) for name in ("sub", "project", "jti"))
    if not (_text(subject) and _text(project) and _text(identifier) and _NAME.fullmatch(identifier)):
        raise CredentialInvalid
    if not first_party and subject.partition(":")[0] not in ("user", "service_account"):
        subject = f"user:{subject}"
    if not _SUBJECT.fullmatch(subject) or (project != ANY_PROJECT and not PROJECT_SLUG.fullmatch(project)):
        raise CredentialInvalid
    roles = _names(payload, "roles")
    every_project = first_party and (subject.startswith(SERVICE) or "installation_admin" in roles)
    if project == ANY_PROJECT and not every_project:
        raise CredentialInvalid
    return Claims(
        issuer=payload["iss"],
        subject=subject,
        project=project,
        id=identifier,
        issue_time=_time(payload.get("iat")),
        expire_time=_time(payload.get("exp")),
        roles=roles if first_party else roles - {"installation_admin"},
        groups=_names(payload, "groups"),
        permissions=_names(payload, "permissions"),
        scopes=_names(payload, "scopes") if "scopes" in payload else None,
        public_key=_public_key(payload.get("cnf")),
        event_source=_texts([payload.get("event_source", "")])[0],
    )


def _public_key(confirmation: object) -> str:
    """Return the key of RFC 7800's `cnf`, "" where there is none of Ed25519."""
    key = confirmation.get("jwk") if isinstance(confirmation, dict) else None
    if not isinstance(key, dict) or (key.get("kty"), key.get("crv")) != ("OKP", "Ed25519"):
        return ""
    found = key.get("x")
    return found if _text(found) else ""


def _names(payload: Mapping[str, Any], claim: str) -> frozenset[str]:
    names = _texts(payload.get(claim, []))
    if len(names) > _MAX_NAMES[claim] or not all(map(_NAME.fullmatch, names)):
        raise CredentialInvalid
    return frozenset(names)


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(map(_text, value)):
        raise CredentialInvalid
    return value


def _text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _END_OF_TIME:
        raise CredentialInvalid
    return float(value)


_END_OF_TIME = 253402300800
"""The year 10000: what is later is no time for any clock."""


def _json_object(raw: bytes) -> dict[str, Any]:
    """Return a JSON object in which each name stands once.

    Raises:
        ValueError: it is none.

    """
    found = json.loads(raw, object_pairs_hook=_unique, parse_constant=_refused)
    if not isinstance(found, dict):
        raise ValueError  # noqa: TRY004 - one error for all that is no such object
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found


def _refused(_constant: str) -> None:
    raise ValueError
