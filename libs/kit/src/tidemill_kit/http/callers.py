"""The caller of the HTTP API: the requested host, the project, and whether a browser sent the request."""

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers

from tidemill_core.errors import InvalidInput, PermissionDenied
from tidemill_core.grpc.context import PROJECT

PROJECT_HEADER = "OpenAI-Project"
ANY_HOST = "*"


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


def is_browser(headers: Headers) -> bool:
    """Return whether a page sends the request: browsers say so, and no page can keep them from it."""
    return "origin" in headers or "sec-fetch-mode" in headers
