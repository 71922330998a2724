"""Who may read and write which topic, derived from infra/kafka/topics.yaml; `python -m tidemill_local.acls --write`.

infra/kafka/acls.txt is this table, committed: the embedded broker, docker compose and `tidemill kafka acls` apply it.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from tidemill_kit.events.acls import Acl
from tidemill_local.kafka import user_of
from tidemill_local.topics import ACLS, Topic, declared

TOOLS = "tools"
"""The user of commands that only read: `tidemill events`, `tidemill dead-letters list`."""
REDRIVE = "redrive"
"""The user that may also write dead letters again where they came from: `tidemill dead-letters redrive`."""

_HEADER = """\
# Generated from topics.yaml by `python -m tidemill_local.acls --write`; a test compares. Do not edit.
# PRINCIPAL OPERATION RESOURCE PATTERN NAME; every host, allowed. READ and WRITE include DESCRIBE.
"""


def upstream_of(service: str) -> str:
    """Return the user of the systems that submit to a service."""
    return user_of(f"upstream-{service}")


def table_of(topics: Sequence[Topic]) -> list[Acl]:
    """Return the entries that these topics need."""
    services = sorted({topic.owner for topic in topics})
    entries = {each for topic in topics for each in _of_topic(topic, services)}
    entries |= {_entry(user_of(name), "READ", "group", f"tidemill.{name}.", pattern="prefixed") for name in services}
    for name in (TOOLS, REDRIVE):
        entries.add(_entry(user_of(name), "READ", "topic", "tidemill.", pattern="prefixed"))
    return sorted(entries)


def _of_topic(topic: Topic, services: Sequence[str]) -> Iterator[Acl]:
    for name in topic.written_by(services):
        yield _entry(user_of(name), "WRITE", "topic", topic.name)
    for name in topic.read_by(services):
        yield _entry(user_of(name), "READ", "topic", topic.name)
    if topic.kind == "inbound":
        yield _entry(upstream_of(topic.owner), "WRITE", "topic", topic.name)
        # A topic for one source is named `<topic>.<project>.<source>`.
        yield _entry(user_of(topic.owner), "READ", "topic", f"{topic.name}.", pattern="prefixed")
        yield _entry(user_of(REDRIVE), "WRITE", "topic", f"{topic.name}.", pattern="prefixed")
    if topic.kind == "dead-letters" or (topic.consumers and topic.kind != "state"):
        yield _entry(user_of(REDRIVE), "WRITE", "topic", topic.name)


def of_sources(topics: Sequence[Topic], names: Sequence[str]) -> list[Acl]:
    """Return the entries of those topics among `names` that belong to one source: its principal alone writes them."""
    entries = []
    for topic in topics:
        if topic.kind == "inbound":
            own = [name.removeprefix(f"{topic.name}.") for name in names if name.startswith(f"{topic.name}.")]
            entries += [_entry(user_of(f"source.{each}"), "WRITE", "topic", f"{topic.name}.{each}") for each in own]
    return entries


def _entry(user: str, operation: str, resource: str, name: str, *, pattern: str = "literal") -> Acl:
    return Acl(principal=f"User:{user}", operation=operation, resource=resource, pattern=pattern, name=name)


def written(topics: Sequence[Topic]) -> str:
    """Return the table as the committed file has it."""
    return _HEADER + "".join(f"{entry}\n" for entry in table_of(topics))


def main() -> None:
    """Write the table, or print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, nargs="?", const=ACLS, help="a file in place of the committed one")
    file = parser.parse_args().write
    if file is None:
        print(written(declared()), end="")  # noqa: T201 - a command's answer
    else:
        file.write_text(written(declared()), "utf-8")


if __name__ == "__main__":
    main()
