"""The public keys of the issuers: cached, read again at an interval and for an unknown key, held through an outage."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.access.documents import Read
from tidemill_kit.access.errors import CredentialInvalid, KeysUnavailable
from tidemill_kit.access.tokens import algorithm_of

MIN_INTERVAL_S = 10.0
"""Unknown keys have a set read at most this often: tokens may name any."""
_MAX_KEYS = 64
_TYPES = ("OKP", "EC", "RSA")
_RETRY_S = 1.0

Monotonic = Callable[[], float]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimes:
    """How long keys count."""

    max_age_s: float = 300.0
    hold_s: float = 86400.0


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(self, issuer: str, read: Read, times: KeyTimes, *, monotonic: Monotonic = time.monotonic) -> None:
        self.issuer = issuer
        self._read = read
        self._times = times
        self._monotonic = monotonic
        self._keys: dict[str, Key] = {}
        self._read_at: float | None = None
        self._tried_at: float | None = None
        self._failed = False
        self._reading: asyncio.Task[None] | None = None
        self.generation = 0
        """Counts the changes of the set: what was verified by another one is verified again."""

    async def key(self, key_id: str) -> Key:
        """Return a key.

        Raises:
            CredentialInvalid: the issuer has none of this id.
            KeysUnavailable: that cannot be said now.

        """
        if not (self.held and key_id in self._keys):
            await self._try_again()
        self.check_held()
        if key_id in self._keys:
            return self._keys[key_id]
        if self._failed:  # it may have changed its keys meanwhile
            raise KeysUnavailable
        raise CredentialInvalid

    @property
    def held(self) -> bool:
        """Whether the keys count: they were read not too long ago."""
        return self._read_at is not None and self._monotonic() - self._read_at < self._times.hold_s

    def check_held(self) -> None:
        """Pass while the keys count.

        Raises:
            KeysUnavailable: they do not.

        """
        if not self.held:
            raise KeysUnavailable

    async def refresh(self) -> None:
        """Read the keys, or wait for a reading that is under way; on a failure those that are known stay."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._refreshed(), name=f"keys of {self.issuer}")
        await asyncio.shield(self._reading)

    async def follow(self) -> None:
        """Read the keys again and again, sooner after a failure."""
        while True:
            await self.refresh()
            await asyncio.sleep(min(_RETRY_S if self._failed else self._times.max_age_s, self._times.max_age_s))

    async def _try_again(self) -> None:
        under_way = self._reading is not None and not self._reading.done()
        if under_way or self._tried_at is None or self._monotonic() - self._tried_at >= MIN_INTERVAL_S:
            await self.refresh()

    async def _refreshed(self) -> None:
        self._tried_at = self._monotonic()
        try:
            with isolated():
                keys = _keys(await self._read())
        except Exception as error:  # noqa: BLE001 - whatever an issuer answers, the keys that are known stay
            self._fail(error.message if isinstance(error, TidemillError) else type(error).__name__)
            return
        if not keys:
            self._fail("it publishes no key that tokens may be signed by")
            return
        if self._failed or self._read_at is None:
            _log.info("access_keys_read", issuer=self.issuer, keys=len(keys))
        if {kid: key.thumbprint() for kid, key in keys.items()} != {k: v.thumbprint() for k, v in self._keys.items()}:
            self._keys = keys
            self.generation += 1
        self._failed, self._read_at = False, self._tried_at

    def _fail(self, why: str) -> None:
        if not self._failed:
            _log.warning("access_keys_unavailable", issuer=self.issuer, why=why)
        self._failed = True


class SigningKeys:
    """The keys of all issuers, as a component that reads them for as long as the service runs."""

    name = "access keys"

    def __init__(self, issuers: Sequence[IssuerKeys]) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self.first_party = issuers[0].issuer if issuers else ""
        """The issuer that may name services and admins of the installation."""
        self._following: list[asyncio.Task[None]] = []

    def of(self, issuer: str) -> IssuerKeys:
        """Return the keys of an issuer.

        Raises:
            CredentialInvalid: its tokens are not taken.

        """
        if issuer not in self._issuers:
            raise CredentialInvalid
        return self._issuers[issuer]

    async def start(self) -> None:
        """Begin to read them; an issuer that does not answer holds up only the calls that need its keys."""
        self._following = [
            asyncio.create_task(each.follow(), name=f"follow {each.issuer}") for each in self._issuers.values()
        ]

    async def wait(self) -> None:
        """Raise what the reading ended with."""
        if self._following:
            done, _ = await asyncio.wait(self._following, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def stop(self) -> None:
        """Read them no more."""
        for task in self._following:
            task.cancel()
        if self._following:
            await asyncio.wait(self._following)


def _keys(published: Mapping[str, Any]) -> dict[str, Key]:
    """Return the keys that tokens may be signed by, by id; of two with one id neither counts."""
    found = published.get("keys")
    given = [each for each in found if isinstance(each, dict)][:_MAX_KEYS] if isinstance(found, list) else []
    ids = [each.get("kid") for each in given]
    keys: dict[str, Key] = {}
    for each in given:
        key_id = each.get("kid")
        if not isinstance(key_id, str) or ids.count(key_id) > 1:
            continue
        if each.get("use", "sig") != "sig" or each.get("kty") not in _TYPES:
            continue
        try:
            key = JWKRegistry.import_key(each)
            if algorithm_of(key):
                keys[key_id] = key
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    return keys
