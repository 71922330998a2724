"""Buckets of S3 servers: listed and read by signed requests, each to an address that was checked."""

import asyncio
import hashlib
import re
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast
from xml.etree.ElementTree import ParseError

from minio.credentials.credentials import Credentials
from minio.datatypes import parse_list_objects
from minio.signer import sign_v4_s3

from tidemill_ingest.errors import FileUnreadable, OriginFailed
from tidemill_ingest.limits import MEBIBYTE, OriginLimits
from tidemill_ingest.polling.domain.objects import ListedObject, Listing
from tidemill_ingest.polling.domain.origin import Polling, S3Origin
from tidemill_kit.outgoing.client import HttpError

_PAGE_BYTES = 8 * MEBIBYTE
"""A page of a listing: 1,000 keys of at most 1,024 bytes, as XML."""
_MAX_KEY_BYTES = 1024
"""What S3 itself allows; longer keys are passed over."""
_VERSION = re.compile(r"[\x21\x23-\x7e]{1,128}")
"""An ETag without its quotes, as it may be sent in a header."""
_MAX_PAGES = 2000
"""With what is passed over."""
_ERROR_BYTES = 4096
_REGION = "us-east-1"
_EMPTY = hashlib.sha256(b"").hexdigest()
_REASONS: Mapping[int, tuple[str, str]] = {
    401: ("ACCESS_DENIED", "the server turns ingest away: check access_key, the secret and what they may read"),
    403: ("ACCESS_DENIED", "the server turns ingest away: check access_key, the secret and what they may read"),
    404: ("ORIGIN_NOT_FOUND", "there is no such bucket: check endpoint and bucket"),
}


class _Body(Protocol):
    @property
    def status_code(self) -> int: ...

    def aiter_bytes(self) -> AsyncIterator[bytes]: ...


class HttpClient(Protocol):
    """What requests are sent by: `outgoing_client` makes one."""

    def stream(self, method: str, url: str, *, headers: Mapping[str, str]) -> AbstractAsyncContextManager[_Body]:
        """Send one request, and return its answer while the block runs."""
        ...


@dataclass(frozen=True, slots=True)
class _Page:
    """Stands for the response that minio's parser reads."""

    data: bytes


class _TooLargeError(Exception):
    """An answer that exceeds its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Bucket:
    """Implements `ports.OpenOrigin`."""

    client: HttpClient
    origin: S3Origin
    polling: Polling
    secret: str
    limits: OriginLimits

    async def listing(self, known: str = "") -> Listing:  # noqa: ARG002 - a bucket has no position
        """See `OpenOrigin.listing`."""
        async with self._in_time("the listing takes"):
            return await self._listing()

    async def _listing(self) -> Listing:
        objects, skipped, token = dict[str, ListedObject](), 0, ""
        for _ in range(_MAX_PAGES):
            page, token = await self._page(token)
            taken, passed_over = await asyncio.to_thread(self._taken, page)
            skipped += passed_over
            objects.update((each.key, each) for each in taken)
            if len(objects) > self.limits.max_objects:
                text = f"has more than {self.limits.max_objects} files, the limit: narrow prefix or paths"
                raise OriginFailed(reason="TOO_MANY_OBJECTS", message=text)
            if not token:
                return Listing(objects=list(objects.values()), skipped=skipped)
        text = f"the server's listing has no end within {_MAX_PAGES} pages: narrow prefix, or check endpoint"
        raise OriginFailed(reason="ORIGIN_UNREADABLE", message=text)

    async def read(self, listed: ListedObject) -> bytes | None:
        """See `OpenOrigin.read`."""
        path = f"/{self.origin.bucket}/{urllib.parse.quote(listed.key, safe='/~')}"
        only, max_bytes = {"if-match": f'"{listed.version}"'}, self.limits.max_bytes
        try:
            async with self._in_time("a file takes"):
                status, body = await self._get(path, {}, max_bytes=max_bytes, headers=only)
        except _TooLargeError as error:
            text = f"the file has more than {max_bytes} bytes, though its listing says less: it is tried again"
            raise FileUnreadable(text) from error
        if status in {404, 412}:
            return None
        if status in {400, 403}:
            text = f"the server lists this file and answers {status} for it: check what access_key may read"
            raise FileUnreadable(text)
        self._check(status)
        return body

    @asynccontextmanager
    async def _in_time(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.limits.wall_s):
                yield
        except TimeoutError as error:
            text = f"{what} more than {self.limits.wall_s:g} s, the limit: it is tried again later"
            raise OriginFailed(reason="ORIGIN_TOO_SLOW", message=text) from error

    async def _page(self, token: str) -> tuple[list[ListedObject], str]:
        query = {"list-type": "2", "max-keys": "1000", "encoding-type": "url", "prefix": self.origin.prefix}
        if token:
            query["continuation-token"] = token
        try:
            status, body = await self._get(f"/{self.origin.bucket}", query, max_bytes=_PAGE_BYTES)
            self._check(status)
            return await asyncio.to_thread(_parsed, body)
        except (ParseError, ValueError, UnicodeDecodeError, AttributeError, TypeError, _TooLargeError) as error:
            raise OriginFailed(
                reason="ORIGIN_UNREADABLE", message="the server's listing is not one of S3: check endpoint"
            ) from error

    def _taken(self, page: list[ListedObject]) -> tuple[list[ListedObject], int]:
        taken = [each for each in page if len(each.key.encode()) <= _MAX_KEY_BYTES and self.polling.takes(each.key)]
        return taken, len(page) - len(taken)

    async def _get(
        self, path: str, query: Mapping[str, str], *, max_bytes: int, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote)
        url = urllib.parse.urlsplit(f"{self.origin.endpoint.rstrip('/')}{path}{'?' if text else ''}{text}")
        try:
            async with self.client.stream("GET", url.geturl(), headers=self._signed(url, headers or {})) as response:
                body = await _body(response, max_bytes if response.status_code == 200 else _ERROR_BYTES)  # noqa: PLR2004
                return response.status_code, body
        except HttpError as error:
            raise OriginFailed(
                reason="ORIGIN_UNREACHABLE", message=f"{self.origin.endpoint} does not answer"
            ) from error

    def _signed(self, url: urllib.parse.SplitResult, headers: Mapping[str, str]) -> dict[str, str]:
        now = datetime.now(UTC)
        sent = {"Host": url.netloc, "x-amz-content-sha256": _EMPTY, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
        sent |= headers
        if not self.origin.access_key:
            return sent
        credentials = Credentials(self.origin.access_key, self.secret)
        region = self.origin.region or _REGION
        signed = sign_v4_s3(
            method="GET",
            url=url,
            region=region,
            headers=dict(sent),
            credentials=credentials,
            content_sha256=_EMPTY,
            date=now,
        )
        return {name: str(value) for name, value in signed.items()}

    def _check(self, status: int) -> None:
        if status == 200:  # noqa: PLR2004 - of HTTP
            return
        if status in {301, 307, 400}:
            text = f"the server answers {status}: check endpoint and region"
            raise OriginFailed(reason="ORIGIN_REFUSED", message=text)
        reason, text = _REASONS.get(
            status, ("ORIGIN_UNREACHABLE", f"the server answers {status}: it is asked again later")
        )
        raise OriginFailed(reason=reason, message=text)


async def _body(response: _Body, max_bytes: int) -> bytes:
    """Return the bytes of an answer; of one that failed as many as may be."""
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > max_bytes:
            if response.status_code == 200:  # noqa: PLR2004 - of HTTP
                raise _TooLargeError
            break
    return bytes(found)


def _parsed(body: bytes) -> tuple[list[ListedObject], str]:
    if b"ListBucketResult" not in body[:_ERROR_BYTES]:
        message = "it is something else"
        raise ValueError(message)
    objects, is_truncated, token, _ = parse_list_objects(cast("Any", _Page(body)))
    if b"IsTruncated>" not in body or (is_truncated and not token):
        message = "it is cut"
        raise ValueError(message)
    found = [
        ListedObject(key=each.object_name, version=_version(each.etag), size=each.size or 0)
        for each in objects
        if each.object_name and not (each.object_name.endswith("/") and not each.etag)
    ]
    return found, (token or "") if is_truncated else ""


def _version(etag: str | None) -> str:
    if not _VERSION.fullmatch(etag or ""):
        message = "an object has no ETag that can be asked for"
        raise ValueError(message)
    return etag or ""
