"""The caller of the HTTP API: the requested host, the project, and whether a browser sent the request."""

import ipaddress
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import Headers

from tidemill_core.errors import InvalidInput, PermissionDenied, Unauthenticated
from tidemill_core.grpc.context import PROJECT, PROJECT_FORM, PROJECT_SLUG

PROJECT_HEADER = "OpenAI-Project"
ANY_HOST = "*"
KnownProject = Callable[[str], Awaitable[bool]]

_BEARER = "bearer "


class HostNotServed(PermissionDenied):
    """The request was meant for another host: a page may have pointed its own name at this machine."""

    reason = "HOST_NOT_SERVED"

    def __init__(self, setting: str) -> None:
        super().__init__(
            f"this host name is not served: use localhost or an IP address, or set {setting} to the names "
            "under which the API is to be served"
        )


def check_host(headers: Headers, served: Collection[str], *, setting: str) -> None:
    """Let IP addresses, localhost and the named hosts pass: what DNS rebinding (a page's own name for us) is not.

    Raises:
        HostNotServed: it is another one.

    """
    if ANY_HOST in served:
        return
    for host in headers.getlist("host"):
        name, _, port = host.lower().rpartition(":")
        name = (name if name and (port.isdecimal() or not port) else host.lower()).strip("[]").rstrip(".")
        if not (name == "localhost" or name.endswith(".localhost") or name in served or _is_address(name)):
            raise HostNotServed(setting)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def named_project(headers: Headers, in_path: str) -> str:
    """Return the project that a request names in its path or a header, or "".

    Raises:
        InvalidInput: two are named.

    """
    named = [*headers.getlist(PROJECT_HEADER), *headers.getlist(PROJECT)]
    if len(named) > 1 or (named and in_path and named[0] != in_path):
        where = "the path names another" if in_path else "is sent twice"
        raise InvalidInput.at(field=PROJECT_HEADER, text=f"{where}: name one project")
    return in_path or (named[0] if named else "")


async def project_of(headers: Headers, in_path: str, known: KnownProject) -> str:
    """Return the project that a request names: in its path, in the header, or, without these, as its API key.

    Path and key are for programs that accept only a URL and a key. A path requires any key as well: a page of another
    origin cannot send the headers Authorization and OpenAI-Project without a preflight. A key must name a known
    project, because it may be a real secret: it is never logged and never in an error.

    Raises:
        InvalidInput: two projects are named.
        Unauthenticated: none is, or it is no name.

    """
    project, key = named_project(headers, in_path), _key(headers)
    if in_path and not key and PROJECT_HEADER not in headers and PROJECT not in headers:
        message = "send an API key (any) with a project in the path: the header Authorization"
        raise Unauthenticated(message)
    if PROJECT_SLUG.fullmatch(project):
        return project
    if not project and PROJECT_SLUG.fullmatch(key) and await known(key):
        return key
    message = (
        f'send your project in the header "{PROJECT_HEADER}" (OpenAI\'s clients: project="..."), or, where the API '
        f"serves that, in the path (/projects/NAME/v1) or as the API key of a project in use: {PROJECT_FORM}"
    )
    raise Unauthenticated(message)


def is_browser(headers: Headers) -> bool:
    """Return whether a page sends the request: browsers say so, and no page can keep them from it."""
    return "origin" in headers or "sec-fetch-mode" in headers


def _key(headers: Headers) -> str:
    sent = headers.get("authorization", "")
    return sent[len(_BEARER) :].strip() if sent.lower().startswith(_BEARER) else ""
