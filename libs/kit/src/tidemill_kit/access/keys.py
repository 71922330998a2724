"""The public keys of the issuers: cached, read again at an interval and for an unknown key, held through an outage.

Where a folder is given, the last set of each is kept there too: an outage may last longer than the process.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key
from prometheus_client import Gauge

from tidemill_core.errors import TidemillError, isolated
from tidemill_kit.access.documents import Read
from tidemill_kit.access.errors import CredentialInvalid, KeysUnavailable
from tidemill_kit.access.saved_keys import SavedKeys
from tidemill_kit.access.tokens import algorithm_of

MIN_INTERVAL_S = 10.0
"""Unknown keys have a set read at most this often: tokens may name any."""
_MAX_KEYS = 64
_TYPES = ("OKP", "EC", "RSA")
_RETRY_S = 1.0

Monotonic = Callable[[], float]

KEYS_AGE = Gauge("tidemill_access_keys_age_seconds", "Time since the keys of an issuer were read.", ["issuer"])

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTimes:
    """How long keys count."""

    max_age_s: float = 300.0
    hold_s: float = 86400.0


class IssuerKeys:
    """The keys of one issuer."""

    def __init__(  # noqa: PLR0913 - its parts, put together once
        self,
        issuer: str,
        read: Read,
        times: KeyTimes,
        *,
        saved: SavedKeys | None = None,
        monotonic: Monotonic = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.issuer = issuer
        self._read = read
        self._times = times
        self._saved = saved
        self._save_failed = False
        self._monotonic = monotonic
        self._now = now
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
    def count(self) -> int:
        """How many keys are known."""
        return len(self._keys)

    @property
    def age_s(self) -> float:
        """How long ago the keys were read, infinite before they were."""
        return math.inf if self._read_at is None else self._monotonic() - self._read_at

    @property
    def held(self) -> bool:
        """Whether the keys count: they were read not too long ago."""
        return self.age_s < self._times.hold_s

    def check_held(self) -> None:
        """Pass while the keys count.

        Raises:
            KeysUnavailable: they do not.

        """
        if not self.held:
            raise KeysUnavailable

    async def restore(self) -> None:
        """Take the keys that were kept in a file, for as long as they would have counted without a restart."""
        if self._saved is None or self._read_at is not None:
            return
        try:
            found = await asyncio.to_thread(self._saved.read)
        except OSError as error:
            _log.warning("access_keys_not_restored", issuer=self.issuer, why=str(error))
            return
        if found is None or self._read_at is not None:
            return
        published, read_time = found
        age_s = max(0.0, self._now() - read_time)
        keys = _keys(published)
        if keys and age_s < self._times.hold_s:
            self._keys, self._read_at = keys, self._monotonic() - age_s
            self.generation += 1
            _log.info("access_keys_restored", issuer=self.issuer, keys=len(keys), age_s=round(age_s))

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
                published = await self._read()
                keys = _keys(published)
        except Exception as error:  # noqa: BLE001 - whatever an issuer answers, the keys that are known stay
            self._fail(error.message if isinstance(error, TidemillError) else type(error).__name__)
            return
        if not keys:
            self._fail("it publishes no key that tokens may be signed by")
            return
        if self._failed or not self.generation:
            _log.info("access_keys_read", issuer=self.issuer, keys=len(keys))
        if {kid: key.thumbprint() for kid, key in keys.items()} != {k: v.thumbprint() for k, v in self._keys.items()}:
            self._keys = keys
            self.generation += 1
        self._failed, self._read_at = False, self._tried_at
        if self._saved is not None:
            await self._save(self._saved, published)

    async def _save(self, saved: SavedKeys, published: Mapping[str, Any]) -> None:
        try:
            await asyncio.to_thread(saved.write, published, read_time=self._now())
        except OSError as error:
            if not self._save_failed:  # once, however long it lasts
                _log.warning("access_keys_not_saved", issuer=self.issuer, why=str(error))
            self._save_failed = True
        else:
            self._save_failed = False

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

    def __iter__(self) -> Iterator[IssuerKeys]:
        """Yield those of each issuer."""
        return iter(self._issuers.values())

    async def start(self) -> None:
        """Begin to read them; an issuer that does not answer holds up only the calls that need its keys."""
        for each in self:
            KEYS_AGE.labels(each.issuer).set_function(lambda keys=each: keys.age_s)  # type: ignore[misc]
            await each.restore()
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
