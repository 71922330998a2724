"""Where the documents of a source are fetched from, as it is declared."""

import fnmatch
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from tidemill_core.characters import clean_line
from tidemill_core.errors import Violation, digest_of
from tidemill_core.media_types import media_type_of
from tidemill_core.origins import Origin
from tidemill_ingest.formats import FORMATS

MIN_INTERVAL_S = 60
MAX_INTERVAL_S = 7 * 24 * 3600
_INTERVAL_S = 900
_DELETED_SHARE = 0.5
_MAX_PATHS = 32
_MAX_PATH = 200
_MAX_PREFIX = 512
_MAX_CREDENTIAL = 256
_MAX_URL = 1024
_REF = re.compile(r"(?!.*(?:\.\.|//|@\{))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{0,40}")
_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,127}")
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Origin:
    """A bucket, or what is below a prefix of it; without an access key requests are not signed."""

    endpoint: str
    bucket: str
    prefix: str = ""
    region: str = ""
    access_key: str = ""
    secret: str = ""

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with it."""
        field = "source.polling.s3"
        yield from _address_violations(f"{field}.endpoint", self.endpoint)
        if not _BUCKET.fullmatch(self.bucket) or ".." in self.bucket:
            yield Violation(
                f"{field}.bucket", f"is {self.bucket[:_SHOWN]!r}; use a bucket's name, 3 to 63 of a-z, 0-9, . and -"
            )
        if len(self.prefix) > _MAX_PREFIX:
            yield Violation(f"{field}.prefix", f"has {len(self.prefix)} characters, and {_MAX_PREFIX} is the limit")
        if not _REGION.fullmatch(self.region):
            yield Violation(f"{field}.region", f"is {self.region[:_SHOWN]!r}; use a region such as eu-central-1")
        yield from _credential_violations(field, "access_key", self.access_key, self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOrigin:
    """A repository, of which one branch or tag is read; "" is its HEAD."""

    url: str
    ref: str = ""
    username: str = ""
    secret: str = ""

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with it."""
        field = "source.polling.git"
        try:
            Origin.of(self.url)
            parts = urlsplit(self.url)
        except ValueError as error:
            yield Violation(f"{field}.url", str(error))
            return
        if "@" in parts.netloc or parts.query or parts.fragment or len(parts.path) < 2 or len(self.url) > _MAX_URL:  # noqa: PLR2004 - a slash
            text = "must be https://, host and path alone, such as https://github.com/acme/handbook.git"
            yield Violation(f"{field}.url", f"{text}: the password goes into a secret")
        if self.ref and not _REF.fullmatch(self.ref):
            yield Violation(f"{field}.ref", f"is {self.ref[:_SHOWN]!r}; use the name of a branch or a tag")
        if ":" in self.username:
            yield Violation(f"{field}.username", "has a colon, which separates it from the password")
        yield from _credential_violations(field, "username", self.username, self.secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """What is fetched, and when: of one origin."""

    s3: S3Origin | None = None
    git: GitOrigin | None = None
    paths: tuple[str, ...] = ()
    interval_s: int = 0
    max_deleted_share: float = 0.0

    @property
    def interval(self) -> timedelta:
        """The time between two polls."""
        return timedelta(seconds=self.interval_s or _INTERVAL_S)

    @property
    def digest(self) -> str:
        """Equal exactly where the same is declared."""
        return digest_of(json.dumps(asdict(self), sort_keys=True))

    def may_delete(self, gone: int, *, of: int) -> bool:
        """Return whether so many of the known files may be gone: an emptied or exchanged origin may be a mistake."""
        return gone <= of * (self.max_deleted_share or _DELETED_SHARE)

    def takes(self, key: str) -> bool:
        """Return whether a file with this key becomes a document: by its paths, and by what its name says it is."""
        path = PurePosixPath(key)
        if key.endswith("/") or any(part.startswith(".") for part in path.parts):
            return False
        if self.paths and not any(fnmatch.fnmatchcase(key, pattern) for pattern in self.paths):
            return False
        return not path.suffix or media_type_of(path.name) in FORMATS

    def violations(self) -> Iterator[Violation]:
        """Yield what is wrong with it."""
        origins = [each for each in (self.s3, self.git) if each is not None]
        if len(origins) != 1:
            yield Violation("source.polling", f"has {len(origins)} origins: set one of s3 and git")
        for each in origins:
            yield from each.violations()
        if len(self.paths) > _MAX_PATHS:
            yield Violation("source.polling.paths", f"has {len(self.paths)} entries, and {_MAX_PATHS} is the limit")
        for index, pattern in enumerate(self.paths[:_MAX_PATHS]):
            if not pattern.strip() or len(pattern) > _MAX_PATH:
                yield Violation(
                    f"source.polling.paths[{index}]", f"needs 1 to {_MAX_PATH} characters, such as docs/*.md"
                )
        if self.interval_s and not MIN_INTERVAL_S <= self.interval_s <= MAX_INTERVAL_S:
            text = f"is {self.interval_s}; send {MIN_INTERVAL_S} to {MAX_INTERVAL_S} seconds, or 0 for {_INTERVAL_S}"
            yield Violation("source.polling.interval_s", text)
        if not 0 <= self.max_deleted_share <= 1:
            text = f"is {self.max_deleted_share}; send a share of 0 (for {_DELETED_SHARE}) to 1"
            yield Violation("source.polling.max_deleted_share", text)


def _address_violations(field: str, address: str) -> Iterator[Violation]:
    try:
        origin = Origin.of(address)
    except ValueError as error:
        yield Violation(field, str(error))
        return
    if address.rstrip("/").lower() not in {str(origin), f"{origin.scheme}://{origin.host}:{origin.port}"}:
        yield Violation(field, f"must be scheme, host and port alone, such as {origin}")


def _credential_violations(field: str, name: str, account: str, secret: str) -> Iterator[Violation]:
    if len(account) > _MAX_CREDENTIAL or clean_line(account) != account or not account.isascii():
        yield Violation(f"{field}.{name}", f"must be at most {_MAX_CREDENTIAL} printable ASCII characters")
    if secret and not _SECRET.fullmatch(secret):
        yield Violation(f"{field}.secret", "must be the name of a secret: A-Z, 0-9 and _, starting with a letter")
    if bool(account) != bool(secret):
        missing = "secret" if account else name
        yield Violation(f"{field}.{missing}", f"is missing: {name} and secret belong together")
