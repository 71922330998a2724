"""The keys that tokens are signed with (a private JSON Web Key Set, RFC 7517)."""

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from tidemill_core.errors import PreconditionFailed
from tidemill_kit.access.tokens import EVENTS, Claims, algorithm_of, signed
from tidemill_monitor.access.domain.tokens import TokenClaims
from tidemill_monitor.errors import IssuingNotConfigured

ALGORITHMS = ("EdDSA", "RS256", "ES256")
_MAX_FILE_BYTES = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SigningKeysUnusable(PreconditionFailed):
    """The file of signing keys cannot be used."""

    reason = "SIGNING_KEYS_UNUSABLE"

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the signing keys in {path} cannot be used: {why}")


class NoIssuer:
    """Implements `ports.TokenIssuer` where there are no keys."""

    issuer = ""
    public: Mapping[str, object] = {"keys": ()}

    def issue(self, _claims: TokenClaims, /) -> str:
        """See `TokenIssuer.issue`."""
        raise IssuingNotConfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKeys:
    """Implements `ports.TokenIssuer`: the first key signs, all of them verify.

    So a key is replaced by one that is put before it, and dropped when the tokens that it signed have expired.
    """

    issuer: str
    audience: str
    keys: Sequence[Key]

    def __repr__(self) -> str:
        """Name the keys and leave them out."""
        return f"SigningKeys(issuer={self.issuer!r}, keys={[key.kid for key in self.keys]})"

    @property
    def public(self) -> Mapping[str, object]:
        """The JSON Web Key Set without private parts."""
        return {"keys": [key.as_dict(private=False) for key in self.keys]}

    def issue(self, claims: TokenClaims, /) -> str:
        """See `TokenIssuer.issue`."""
        said = Claims(
            issuer=self.issuer,
            subject=claims.subject,
            project=claims.project,
            id=claims.credential,
            issue_time=claims.issue_time.timestamp(),
            expire_time=claims.expire_time.timestamp(),
            roles=frozenset(claims.roles),
            groups=frozenset(claims.groups),
            permissions=frozenset(claims.permissions),
            scopes=frozenset(claims.scopes) or None,
            public_key=claims.public_key,
            event_source=claims.event_source,
        )
        return signed(said, self.keys[0], audience=self.audience + (EVENTS if claims.public_key else ""))


def signing_keys(path: Path, *, issuer: str, audience: str) -> SigningKeys:
    """Return the keys of a file, which is a JSON Web Key Set of private keys.

    Raises:
        SigningKeysUnusable: it is not there, others may read it, or a key is none that tokens are signed with.

    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
            raise SigningKeysUnusable(path, f"it is no file of at most {_MAX_FILE_BYTES} bytes")
        if status.st_mode & _OTHERS:
            raise SigningKeysUnusable(path, "others than its owner may read it: chmod 600")
        read = json.loads(path.read_bytes())
    except OSError as error:
        raise SigningKeysUnusable(path, f"it cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError):
        read = None  # the error would quote the file
    listed = read.get("keys") if isinstance(read, dict) else None
    if not isinstance(listed, list) or not listed:
        raise SigningKeysUnusable(path, 'it is no JSON Web Key Set: {"keys": [...]}')
    keys = [_key(path, number, given) for number, given in enumerate(listed)]
    if len({key.kid for key in keys}) < len(keys):
        raise SigningKeysUnusable(path, "two keys have the same kid")
    return SigningKeys(issuer=issuer, audience=audience, keys=keys)


def _key(path: Path, number: int, given: object) -> Key:
    where = f"keys[{number}]"
    try:
        key = JWKRegistry.import_key(given if isinstance(given, dict) else {})
    except (JoseError, ValueError, TypeError, KeyError):
        raise SigningKeysUnusable(path, f"{where} is no JSON Web Key") from None  # the error may quote the key
    algorithm = algorithm_of(key)
    if not algorithm or not key.is_private:
        text = f"{where} is no private key for {', '.join(ALGORITHMS)} (Ed25519, RSA from 2048 bits, P-256)"
        raise SigningKeysUnusable(path, text)
    if key.alg not in {None, algorithm} or key.get("use") not in {None, "sig"}:
        raise SigningKeysUnusable(
            path, f"{where} is for another use: leave out alg and use, or set {algorithm} and sig"
        )
    kid = key.kid or key.thumbprint()
    return JWKRegistry.import_key(key.as_dict(private=True) | {"kid": kid, "alg": algorithm, "use": "sig"})
