"""How projects, service accounts, API keys and roles are stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tidemill_core.application import Page, PageRequest
from tidemill_core.paging import Place, checked_size, list_digest, place_of, token_after
from tidemill_kit.mapping import DocumentCodec, Form, as_pairs
from tidemill_kit.store.aggregates import FOR_READING, decoded
from tidemill_kit.store.mongo import Collection, Document, count_up_to, document_id, read_page, translated, update_each
from tidemill_monitor.access.domain.api_key import ApiKey
from tidemill_monitor.access.domain.installation import Installation
from tidemill_monitor.access.domain.names import ALL_PROJECTS
from tidemill_monitor.access.domain.project import Project, ProjectState
from tidemill_monitor.access.domain.resource_grant import ResourceGrant
from tidemill_monitor.access.domain.role import Role
from tidemill_monitor.access.domain.service_account import ServiceAccount
from tidemill_monitor.access.messages import access_payload

PROJECTS = DocumentCodec(Project, {Project: Form(fields={"revoked": as_pairs})}, event=access_payload)
SERVICE_ACCOUNTS = DocumentCodec(ServiceAccount, event=access_payload)
ROLES = DocumentCodec(Role, event=access_payload)
INSTALLATIONS = DocumentCodec(Installation, {Installation: Form(fields={"revoked": as_pairs})}, event=access_payload)
RESOURCE_GRANTS = DocumentCodec(ResourceGrant, event=access_payload)
API_KEYS = DocumentCodec(ApiKey, event=access_payload)
_USES_KEPT = timedelta(days=400)
KEY_LISTS = [("service_account",)]
_FOR_LISTS = {**FOR_READING, "state.members": False, "state.removed": False, "state.revoked": False}
"""A project with all its members may take megabytes."""


class MongoKeyUses:
    """Implements `ports.KeyUses`: `{_id: "<project>/<credential>", last_use_time}`."""

    def __init__(self, uses: Collection) -> None:
        self._uses = uses

    async def ensure_indexes(self) -> None:
        """Have uses removed that are older than any key lasts."""
        with translated():
            await self._uses.create_index("last_use_time", expireAfterSeconds=int(_USES_KEPT.total_seconds()))

    async def record(self, project: str, uses: Mapping[str, datetime]) -> None:
        """See `KeyUses.record`."""
        later: list[tuple[Document, Document]] = [
            ({"_id": document_id(project, credential)}, {"$max": {"last_use_time": used}})
            for credential, used in uses.items()
        ]
        if later:
            with translated():
                await update_each(self._uses, later)

    async def last(self, project: str, credentials: Sequence[str]) -> Mapping[str, datetime]:
        """See `KeyUses.last`."""
        ids = {document_id(project, each): each for each in credentials}
        with translated():
            found = await self._uses.find({"_id": {"$in": [*ids]}}).to_list(None)
        return {ids[each["_id"]]: each["last_use_time"] for each in found}


class MongoCatalogue:
    """Implements `ports.Catalogue` on the aggregates' collection, by `_id`, which begins with the owner."""

    def __init__(self, grants: Collection, projects: Collection) -> None:
        self._grants = grants
        self._projects = projects

    async def ensure_indexes(self) -> None:
        """Create what the list needs."""
        with translated():
            await self._grants.create_index([("state.grantee", 1), ("deleted", 1), ("_id", 1)])

    async def list(self, grantee: str, page: PageRequest) -> Page[ResourceGrant]:
        """See `Catalogue.list`."""
        size, digest = checked_size(page), list_digest(grantee, {}, show_deleted=False)
        query: Document = {"state.grantee": grantee, "deleted": False}
        if place := place_of(page.token, digest=digest):
            query["_id"] = {"$gt": place.id}
        with translated():
            shown, more = await read_page(self._grants.find(query, FOR_READING).sort("_id", 1), size)
            owners = {"_id": {"$in": [document_id(each["project"], each["project"]) for each in shown]}}
            deleted = {"state.state": {"$ne": ProjectState.ACTIVE}}
            gone = {each["id"] async for each in self._projects.find({**owners, **deleted}, {"id": True})}
        token = token_after(Place(shown[-1]["create_time"], shown[-1]["_id"]), digest=digest) if more else ""
        listed = [decoded(RESOURCE_GRANTS, each) for each in shown if each["project"] not in gone]
        return Page(items=listed, next_token=token)


class MongoAllProjects:
    """Implements `ports.AllProjects` on the aggregates' collection, by `_id`."""

    def __init__(self, projects: Collection) -> None:
        self._projects = projects

    async def list(self, page: PageRequest) -> Page[Project]:
        """See `AllProjects.list`."""
        size, digest = checked_size(page), list_digest(ALL_PROJECTS, {}, show_deleted=False)
        query: Document = {"deleted": False}
        if place := place_of(page.token, digest=digest):
            query["_id"] = {"$gt": document_id(place.id, place.id)}
        shown, more = await read_page(self._projects.find(query, _FOR_LISTS).sort("_id", 1), size)
        token = token_after(Place(shown[-1]["create_time"], shown[-1]["id"]), digest=digest) if more else ""
        return Page(items=[decoded(PROJECTS, document) for document in shown], next_token=token)

    async def count(self, *, limit: int) -> int:
        """See `AllProjects.count`."""
        in_use = {"deleted": False, "state.state": ProjectState.ACTIVE}
        return await count_up_to(self._projects, in_use, limit=limit)
