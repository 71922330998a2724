"""kafka acls: who may read and write which topic, and how that comes to a broker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill_cli.kafka_connection import ADMIN, kafka_servers
from tidemill_cli.options import Commands, without_project
from tidemill_cli.output import run, show, table
from tidemill_core.errors import InvalidInput
from tidemill_kit.events.acls import Acl, read_table
from tidemill_kit.events.administration import Applied, administrator
from tidemill_local.acls import of_sources
from tidemill_local.places import ACLS
from tidemill_local.topics import declared

kafka = Commands(help="Kafka: who may read and write which topic.")
acls = Commands(help="Show the access control lists that Tidemill needs, and add them to a broker.")
kafka.add_typer(acls, name="acls")

TableOption = Annotated[Path, typer.Option("--table", help="A file in place of the one of this release.")]
PrincipalArgument = Annotated[str, typer.Argument(help="Only this principal, for example User:tidemill-rag.")]


@acls.command("show")
@without_project
def show_acls(principal: PrincipalArgument = "", *, file: TableOption = ACLS) -> None:
    """Print the table of this release; nothing is connected to."""
    entries = [entry for entry in _read(file) if principal in {"", entry.principal}]
    show({"acls": [_facts(entry) for entry in entries]}, _picture(entries))


@acls.command("apply")
@without_project
def apply_acls(
    *,
    file: TableOption = ACLS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added; add nothing.")] = False,
) -> None:
    """Add what is missing on the broker, as its administrator; nothing is ever removed.

    Topics of single sources that are there get the entry of their source's principal too. Entries that concern Tidemill
    and that the table does not have are listed.
    """
    entries = _read(file)

    async def work() -> Applied:
        async with administrator(kafka_servers(ADMIN)) as admin:
            sources = of_sources(declared(), await admin.topics())
            return await admin.apply([*entries, *sources], dry_run=dry_run)

    applied = run(work())
    facts = {
        "added": [_facts(entry) for entry in applied.added],
        "there": applied.there,
        "others": [_facts(entry) for entry in applied.others],
        "dry_run": dry_run,
    }
    said = [f"{len(applied.added)} ACLs {'would be ' if dry_run else ''}added, {applied.there} were there."]
    said += [f"  + {entry}" for entry in applied.added]
    if applied.others:
        said += ["Not in the table, and left as they are:", *(f"  ? {entry}" for entry in applied.others)]
    show(facts, "\n".join(said))


def _read(file: Path) -> list[Acl]:
    try:
        return read_table(file)
    except (OSError, ValueError) as error:
        raise InvalidInput.at(field="table", text=f"{file} is no table of ACLs ({type(error).__name__})") from None


def _facts(entry: Acl) -> dict[str, Any]:
    names = ("principal", "operation", "resource", "pattern", "name", "host", "permission")
    return {name: getattr(entry, name) for name in names}


def _picture(entries: Sequence[Acl]) -> Any:  # noqa: ANN401 - what rich prints
    rows = [(each.principal, each.operation, each.resource, each.pattern, each.name) for each in entries]
    return table(("principal", "operation", "resource", "pattern", "name"), rows)
