"""Where a call may go whose address a caller chose: to public addresses, and to hosts that the operator allows."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_MAX_NAME = 253
_MAX_ADDRESS = 2048
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_BRACKETED = re.compile(r"[^\[\]]*|(?:[^\[\]]*@)?\[[0-9A-Fa-f:.]+\](?::\d*)?")
"""An authority with an IPv6 address in brackets and nothing behind it, or without brackets."""
_NOT_THE_INTERNET = (
    ipaddress.ip_network("192.0.0.0/24"),
    ipaddress.ip_network("168.63.129.16/32"),
    ipaddress.ip_network("3fff::/20"),
)
"""Protocol assignments (a cloud's metadata among them), a cloud's own agent, documentation: global to some Pythons."""
_METADATA = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of an address; the host in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, address: str) -> "Origin":
        """Return the origin of an http or https address, in the one spelling that every reader understands alike.

        Raises:
            ValueError: it has characters, a host or a port that programs read in different ways; says which.

        """
        if (
            len(address) > _MAX_ADDRESS
            or not address.isascii()
            or not address.isprintable()
            or set(address) & set(" \\")
        ):
            message = f"must be at most {_MAX_ADDRESS} printable ASCII characters without blanks and backslashes"
            raise ValueError(message)
        parts = urlsplit(address)
        if parts.scheme not in _PORTS:
            message = "must begin with https:// or http://"
            raise ValueError(message)
        if not _BRACKETED.fullmatch(parts.netloc):
            message = "must have brackets around an IPv6 address only"
            raise ValueError(message)
        if parts.port == 0:
            message = "must have a port between 1 and 65535"
            raise ValueError(message)
        return cls(parts.scheme, _host(parts.hostname or ""), parts.port or _PORTS[parts.scheme])

    @property
    def literal(self) -> IPAddress | None:
        """The IP address that the host is; None where it is a name."""
        return _literal(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine: a loopback address, or localhost."""
        address = self.literal
        return self.host == "localhost" if address is None else address.is_loopback

    def __str__(self) -> str:
        """Return it as it stands in an address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that the operator lets calls go to, wherever they are and without TLS; each with one port, or with all."""

    entries: frozenset[tuple[str, int | None]] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> "AllowedHosts":
        """Read `host`, `host:port`, `[address]` and `[address]:port`.

        Raises:
            ValueError: an entry is none of these.

        """
        return cls(frozenset(_entry(each.strip()) for each in entries if each.strip()))

    @classmethod
    def of_addresses(cls, *addresses: str) -> "AllowedHosts":
        """Allow the hosts and ports of addresses that the operator wrote; what is no address allows nothing."""
        found = set()
        for each in addresses:
            try:
                origin = Origin.of(each)
            except ValueError:
                continue
            found.add((origin.host, origin.port))
        return cls(frozenset(found))

    def __or__(self, other: "AllowedHosts") -> "AllowedHosts":
        """Return what either allows."""
        return AllowedHosts(self.entries | other.entries)

    def allow(self, origin: Origin) -> bool:
        """Return whether the operator named this host."""
        return bool(self.entries & {(origin.host, None), (origin.host, origin.port)})


def is_public(address: IPAddress) -> bool:
    """Return whether an address belongs to the internet at large, also where an IPv4 address is written into it."""
    if isinstance(address, ipaddress.IPv6Address):
        if (inner := _embedded(address)) is not None:
            return is_public(inner)
        if address in _COMPATIBLE or address.is_site_local:
            return False
    if any(address in network for network in _NOT_THE_INTERNET):
        return False
    closed = address.is_multicast or address.is_unspecified or address.is_reserved or address.is_loopback
    return address.is_global and not closed and not address.is_link_local


def never_reachable(origin: Origin) -> bool:
    """Return whether no caller can mean the host: metadata services, link-local, multicast, unspecified."""
    address = origin.literal
    if address is None:
        return origin.host in _METADATA
    if isinstance(address, ipaddress.IPv6Address) and _embedded(address) is not None:
        return True
    return address.is_link_local or address.is_multicast or address.is_unspecified


def _entry(text: str) -> tuple[str, int | None]:
    origin = Origin.of(f"http://{text}")
    if str(origin) not in {f"http://{text.lower()}", f"http://{text.lower().removesuffix(':80')}"}:
        message = f"{text!r} is no host, host:port or [address]:port"
        raise ValueError(message)
    return origin.host, origin.port if urlsplit(f"http://{text}").port else None


def _host(host: str) -> str:
    host = host.lower().removesuffix(".")
    address = _literal(host)
    if address is not None:
        return str(address)
    if len(host) > _MAX_NAME or not _NAME.fullmatch(host):
        message = "must have a host of ASCII letters, digits, dots and hyphens (write other names as xn--...)"
        raise ValueError(message)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        message = "must have an IP address in its usual spelling, such as 192.0.2.1"
        raise ValueError(message)
    return host


def _literal(host: str) -> IPAddress | None:
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a gateway would make of an IPv6 one."""
    if address in _NAT64 or address in _TRANSLATED:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
