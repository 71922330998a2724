"""grants and catalogue: what projects share with one another."""

from typing import Annotated

import typer

from tidemill.monitor.v1.access_pb2 import Grant, ResourceKind
from tidemill.monitor.v1.access_service_pb2 import ListCatalogueRequest, ListGrantsRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, moment, plain, show, table, word
from tidemill_cli.pages import SizeOption, TokenOption, lists, show_page
from tidemill_client.access import Access

grants = Commands(help="What the project lets other projects read.")

KindArgument = Annotated[str, typer.Argument(help="model, prompt, dataset or collection.")]
ResourceArgument = Annotated[str, typer.Argument(help="The resource, for example support.")]
GranteeOption = Annotated[str, typer.Option("--to", help="The project that may read it, for example globex.")]


@lists(
    grants,
    "list",
    lambda c: c.access.ListGrants,
    ("kind", "resource", "may be read by", "description", "since", "last used"),
    lambda g: (
        word(ResourceKind, g.kind),
        g.resource,
        g.grantee,
        g.description,
        moment(g.create_time),
        moment(g.last_use_time),
    ),
)
def list_grants() -> ListGrantsRequest:
    """List what the project shares, with which projects, and when these last used it."""
    return ListGrantsRequest()


@grants.command("create")
def create_grant(
    kind: KindArgument,
    resource: ResourceArgument,
    *,
    to: GranteeOption,
    description: Annotated[str, typer.Option("--description", "-d", help="What it is for.")] = "",
) -> None:
    """Let another project read one resource, with all its versions, until you revoke it."""
    _show(call(lambda c: Access(c).grants.create(kind, resource, to, description=description)))


@grants.command("revoke")
def revoke_grant(kind: KindArgument, resource: ResourceArgument, *, to: GranteeOption) -> None:
    """Take a grant back: the resource is absent in the other project within seconds."""
    _show(call(lambda c: Access(c).grants.revoke(kind, resource, to)))


def catalogue(*, size: SizeOption = 50, token: TokenOption = "") -> None:
    """List what other projects let this one read, by the names to use."""
    page = call(lambda c: c.access.ListCatalogue(ListCatalogueRequest(page_size=size, page_token=token)))
    rows = [(word(ResourceKind, g.kind), f"{g.project}/{g.resource}", g.description) for g in page.grants]
    show_page("grants", page.grants, page.next_page_token, table(("kind", "name", "description"), rows))


def _show(grant: Grant) -> None:
    facts = {
        "kind": word(ResourceKind, grant.kind),
        "resource": grant.resource,
        "may be read by": grant.grantee,
        "as": f"{grant.project}/{grant.resource}",
        "description": grant.description,
    }
    show(plain(grant), card({name: value for name, value in facts.items() if value}))
