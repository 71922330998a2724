"""What monitor erases. Audit records, erasures, certificates and the ids of projects stay."""

from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope, Step, Steps, Target
from tidemill_kit.service.backend import Backend
from tidemill_monitor.access.deleted_projects import DeletedProjects
from tidemill_monitor.access.resource_grant_crud import ResourceGrantCrud
from tidemill_monitor.holds.crud import HoldCrud
from tidemill_monitor.lineage.mongo import MongoGraph


def erasure_steps(
    backend: Backend,
    *,
    graph: MongoGraph,
    projects: DeletedProjects,
    grants: ResourceGrantCrud,
    holds: HoldCrud,
) -> Steps:
    """Return what is erased of a project, an end user and a document."""
    database = backend.database

    async def members(target: Target) -> int:
        return await projects.erase(target.project)

    async def grants_received(target: Target) -> int:
        return await grants.revoke_received(target.project)

    async def nodes(target: Target) -> int:
        return await graph.erase_project(target.project)

    async def facts(target: Target) -> int:
        return await graph.erase_document(target.project, target.subject)

    async def all_holds(target: Target) -> int:
        return await holds.forget(target.project)

    async def holds_of_user(target: Target) -> int:
        return await holds.forget(target.project, end_user=target.subject)

    async def holds_of_document(target: Target) -> int:
        return await holds.forget(target.project, document=target.subject)

    return {
        Scope.PROJECT: [
            documents("API keys", database["api_keys"]),
            documents("uses of API keys", database["key_uses"]),
            documents("service accounts", database["service_accounts"]),
            documents("roles", database["roles"]),
            Step(kind="members", erase=members),
            documents("grants", database["grants"]),
            Step(kind="grants of other projects", erase=grants_received),
            Step(kind="released holds", erase=all_holds),
            documents("retention", database["retention"]),
            documents("batches of examples", database["batches"]),
            Step(kind="lineage", erase=nodes, covers=("nodes",)),
            documents("lineage edges", database["edges"]),
            documents("places of lineage edges", database["edge_places"]),
        ],
        Scope.END_USER: [Step(kind="released holds", erase=holds_of_user)],
        Scope.DOCUMENT: [
            Step(kind="lineage", erase=facts),
            Step(kind="released holds", erase=holds_of_document),
        ],
    }
