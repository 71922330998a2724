"""Tables of Kafka's access control lists, as text: one entry a line."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

OURS = ("tidemill.", "tidemill-")
"""What names of our topics, groups and users begin with."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Acl:
    """One entry of Kafka's access control lists."""

    principal: str
    operation: str
    resource: str
    pattern: str
    name: str
    host: str = "*"
    permission: str = "allow"

    def __str__(self) -> str:
        """Return it as a line of a table."""
        usual = (self.principal, self.operation, self.resource, self.pattern, self.name)
        unusual = () if (self.host, self.permission) == ("*", "allow") else (self.host, self.permission)
        return " ".join((*usual, *unusual))

    @classmethod
    def of(cls, line: str) -> Self:
        """Read a line of a table.

        Raises:
            ValueError: it has not five or seven words.

        """
        principal, operation, resource, pattern, name, *unusual = line.split()
        host, permission = unusual or ("*", "allow")
        return cls(
            principal=principal,
            operation=operation,
            resource=resource,
            pattern=pattern,
            name=name,
            host=host,
            permission=permission,
        )

    @property
    def is_ours(self) -> bool:
        """Whether it concerns what belongs to Tidemill."""
        return self.name == "*" or self.name.startswith(OURS) or self.principal.startswith("User:tidemill-")


def read_table(file: Path) -> list[Acl]:
    """Return the entries of a file: one a line, besides comments."""
    lines = file.read_text("utf-8").splitlines()
    return [Acl.of(line) for line in lines if line and not line.startswith("#")]


def users_of(table: Collection[Acl]) -> list[str]:
    """Return the names of the users that a table names."""
    return sorted({entry.principal.removeprefix("User:") for entry in table})
