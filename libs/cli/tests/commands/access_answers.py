"""A small AccessService in memory, as `Running.answers` holds it."""

from collections.abc import Callable
from typing import Any

from tidemill.monitor.v1 import access_service_pb2 as pb
from tidemill.monitor.v1.access_pb2 import (
    API_KEY_STATE_ACTIVE,
    API_KEY_STATE_REVOKED,
    PROJECT_STATE_ACTIVE,
    PROJECT_STATE_DELETING,
    RESOURCE_KIND_PROMPT,
    ApiKey,
    Grant,
    Member,
    Project,
    Role,
    ServiceAccount,
)

TOKEN = "header." + "x" * 300 + ".signature"
SEARCH = "tidemill.rag.v1.RetrievalService/Search"


class AccessAnswers:
    """Remembers what it was asked; answers with one resource of each kind."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.token = TOKEN
        self.stored: dict[str, Any] = {
            "project": Project(id="acme", display_name="Acme", state=PROJECT_STATE_ACTIVE),
            "member": Member(id="m-1", subject="user:ada", roles=["admin"], etag="3"),
            "role": Role(id="searcher", permissions=[SEARCH], description="reads"),
            "service_account": ServiceAccount(id="ci", roles=["contributor"], description="tests"),
            "api_key": ApiKey(id="laptop", service_account="ci", roles=["contributor"], state=API_KEY_STATE_ACTIVE),
        }
        self.stored["grant"] = Grant(
            id="g-1",
            project="acme",
            kind=RESOURCE_KIND_PROMPT,
            resource="support",
            grantee="globex",
            description="tone",
        )
        self.stored["api_key"].expire_time.FromSeconds(1_800_000_000)
        self.stored["api_key"].last_use_time.FromSeconds(1_790_000_000)

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Return an answer to each RPC."""
        service = pb.DESCRIPTOR.services_by_name["AccessService"]
        return {f"monitor.v1.access_service:{method.name}": self._answering(method.name) for method in service.methods}

    def _answering(self, name: str) -> Callable[[Any], Any]:
        reply: Any = getattr(pb, f"{name}Response")

        def answer(request: Any) -> Any:  # noqa: ANN401 - of each RPC
            self.asked.append(request)
            made = reply()
            for field in (each for each in made.DESCRIPTOR.fields if each.message_type is not None):
                if field.name in self.stored:
                    getattr(made, field.name).CopyFrom(self._changed(name, field.name, request))
                elif field.name.removesuffix("s") in self.stored:
                    getattr(made, field.name).append(self.stored[field.name.removesuffix("s")])
            if name == "CreateApiKey":
                made.token = self.token
            if name in ("RevokeToken", "RevokeSubject"):
                made.revoke_time.FromSeconds(1_800_000_000)
            if name == "WhoAmI":
                made.subject, made.project = "user:ada", "acme"
                made.roles.append("admin")
            return made

        return answer

    def _changed(self, rpc: str, field: str, request: Any) -> Any:  # noqa: ANN401 - of each kind
        found = self.stored[field]
        if rpc.startswith(("Create", "Update")):
            found.MergeFrom(getattr(request, field))
        if rpc in ("RevokeApiKey", "DeleteApiKey"):
            found.state = API_KEY_STATE_REVOKED
        if rpc == "DeleteProject":
            found.state = PROJECT_STATE_DELETING
        return found
