"""A project's secret: what it may be, where it may be sent, and its encrypted value."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tidemill_core.envelope import Encrypted, Envelope
from tidemill_core.errors import Violation
from tidemill_core.origins import AllowedHosts, Origin
from tidemill_core.resources import refuse

NAME_FORM = "1 to 64 of A-Z, 0-9 and _, starting with a letter, without __ and not ending with _"
MAX_VALUE = 4096
MAX_HOSTS = 16
ANY_HOST = "*"
_PURPOSE = "inference.secrets"
_NAME = re.compile(r"(?!.*__)[A-Z](?:[A-Z0-9_]{0,62}[A-Z0-9])?")
_VALUE = re.compile(rf"[!-~]{{1,{MAX_VALUE}}}")
_QUOTED = 80

Seal = Callable[..., Envelope]
"""Encrypts a value for what is given: the parts that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRules:
    """To which hosts projects may have their secrets sent; of loopback alone without TLS."""

    allowed: AllowedHosts = field(default_factory=AllowedHosts)
    any_host: bool = False

    @classmethod
    def of(cls, entries: Sequence[str]) -> "HostRules":
        """Read `host`, `host:port`, `[address]:port`, and `*` for every host.

        Raises:
            ValueError: an entry is none of these.

        """
        named = [each for each in entries if each.strip() != ANY_HOST]
        return cls(allowed=AllowedHosts.of(named), any_host=len(named) < len(entries))

    def allow(self, origin: Origin) -> bool:
        """Return whether a project's secret may be sent there."""
        return (self.any_host or self.allowed.allow(origin)) and (origin.scheme == "https" or origin.is_loopback)


@dataclass(slots=True, kw_only=True)
class Secret(Encrypted):
    """A value in its envelope, and the origins that it may be sent to. It publishes no events."""

    hosts: tuple[str, ...] = ()
    revision: int = 0
    """How often a value was set, also before a deletion."""

    def set(self, hosts: Sequence[Origin], labels: dict[str, str], seal: Seal) -> None:
        """Take a value, sealed for this secret, revision and hosts; it replaces the one before."""
        self.hosts, self.labels, self.deleted = tuple(dict.fromkeys(map(str, hosts))), dict(labels), False
        self.revision += 1
        self.envelope = seal(*self.belongs)

    def forget(self) -> None:
        """Keep nothing of the value."""
        self.envelope = None

    @property
    def belongs(self) -> tuple[str, ...]:
        """What the value is bound to: an envelope that is put elsewhere, or whose hosts are changed, does not open."""
        return (_PURPOSE, self.project, self.id, str(self.revision), *self.hosts)

    def may_go_to(self, origin: Origin) -> bool:
        """Return whether the secret names this origin."""
        return str(origin) in self.hosts


def checked_hosts(hosts: Sequence[str], rules: HostRules, *, setting: str) -> list[Origin]:
    """Return the origins of a secret; one without a scheme is meant by https.

    Raises:
        InvalidInput: names each host that cannot be one, or that the operator does not allow.

    """
    if not 1 <= len(hosts) <= MAX_HOSTS:
        text = f"has {len(hosts)} entries; give 1 to {MAX_HOSTS}, such as https://api.openai.com"
        refuse(iter([Violation("secret.hosts", text)]))
    found: list[Origin] = []
    problems: list[Violation] = []
    for number, each in enumerate(hosts):
        where = f"secret.hosts[{number}]"
        try:
            origin = Origin.of(each if "://" in each else f"https://{each}")
        except ValueError as error:
            problems.append(Violation(where, str(error)))
            continue
        if not rules.allow(origin):
            problems.append(Violation(where, _refusal(origin, setting)))
        found.append(origin)
    refuse(iter(problems))
    return found


def check_secret(name: str, value: str) -> None:
    """Refuse a name or a value that cannot be one; nothing of the value is repeated.

    Raises:
        InvalidInput: names field and rule.

    """
    refuse(_violations(name, value))


def _violations(name: str, value: str) -> Iterator[Violation]:
    if not _NAME.fullmatch(name):
        yield Violation("secret.id", f"is {name[:_QUOTED]!r}; use {NAME_FORM}")
    if not _VALUE.fullmatch(value):
        yield Violation("value", f"must be 1 to {MAX_VALUE} printable ASCII characters without blanks")


def _refusal(origin: Origin, setting: str) -> str:
    if origin.scheme != "https" and not origin.is_loopback:
        return f"is {origin}: use https://, secrets are sent without TLS to this machine only"
    return f"is {origin}, which the operator does not allow for secrets: have them add the host to {setting}"
