# ruff: noqa: ANN401 - one keeper serves messages of any kind
"""Everything that a loop declares, kept in memory behind one gRPC server: all kinds have the same five methods."""

import inspect
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import MethodDescriptor

from tidemill_client.resources import Resources
from tidemill_core.errors import AlreadyExists, Conflict, NotFound, TidemillError
from tidemill_kit.grpc.server import Registration
from tidemill_testkit.contract import register_all


class Keeper:
    """The resources of one kind. `normalise` is what the service makes of one before it keeps it."""

    def __init__(self, kind: type[Resources[Any]], normalise: Callable[[Any], None] = lambda _message: None) -> None:
        self.kind = kind
        self.stored: dict[str, Any] = {}
        self.written: list[str] = []
        self.updates: list[Any] = []
        self.refused: TidemillError | None = None
        self.normalise = normalise
        self.left_out: tuple[str, ...] = ()
        """Fields that only Get returns."""
        self._requests = kind.contract

    def methods(self) -> dict[str, Callable[..., Any]]:
        """Return the methods by the names of the contract."""
        noun = self.kind.noun
        return {
            f"Create{noun}": self._create,
            f"Get{noun}": self._get,
            f"List{noun}s": self._list,
            f"Update{noun}": self._update,
            f"Delete{noun}": self._delete,
        }

    def _answer(self, verb: str, message: Any) -> Any:
        return getattr(self._requests, f"{verb}{self.kind.noun}Response")(**{self.kind.field: message})

    async def _create(self, request: Any, _context: object) -> Any:
        if self.refused:
            raise self.refused
        requested = getattr(request, self.kind.field)
        if requested.id in self.stored:
            message = f"{requested.id} exists"
            raise AlreadyExists(message)
        if not request.validate_only:
            self._keep(requested)
        return self._answer("Create", requested)

    async def _get(self, request: Any, _context: object) -> Any:
        if request.id not in self.stored:
            message = f"there is no {request.id}"
            raise NotFound(message)
        return self._answer("Get", self.stored[request.id])

    async def _list(self, _request: Any, _context: object) -> Any:
        found = {f"{self.kind.field}s": list(self.stored.values())}
        return getattr(self._requests, f"List{self.kind.noun}sResponse")(**found)

    async def _update(self, request: Any, _context: object) -> Any:
        self.updates.append(request)
        requested = getattr(request, self.kind.field)
        changed = type(requested)()
        changed.CopyFrom(self.stored[requested.id])
        if requested.etag and requested.etag != changed.etag:
            message = "it has changed since"
            raise Conflict(message)
        for path in request.update_mask.paths:
            changed.ClearField(path)
        only = type(requested)()
        for path in request.update_mask.paths:
            given = type(requested)()
            given.CopyFrom(requested)
            for field, _ in requested.ListFields():
                if field.name != path:
                    given.ClearField(field.name)
            only.MergeFrom(given)
        changed.MergeFrom(only)
        self.normalise(changed)
        if not request.validate_only:
            self._keep(changed)
        for field in self.left_out:
            changed.ClearField(field)
        return self._answer("Update", changed)

    async def _delete(self, request: Any, _context: object) -> Any:
        self.written.append(f"-{request.id}")
        return self._answer("Delete", self.stored.pop(request.id))

    def _keep(self, message: Any) -> None:
        kept = type(message)()
        kept.CopyFrom(message)
        self.normalise(kept)
        kept.seq += 1
        kept.etag = str(kept.seq)
        self.stored[kept.id] = kept
        self.written.append(kept.id)


def registrations(method_of: Callable[[str], Callable[..., Any]]) -> list[Registration]:
    """Return every contract as a server registers it. `method_of` finds what answers, for each call anew.

    It is given `<module>:<method>`, for example "trainer.v1.training_service:ListTrainingRuns".
    """

    def handler(method: MethodDescriptor) -> Callable[..., Any]:
        file = method.containing_service.file.name.removeprefix("tidemill/").removesuffix(".proto")
        name = f"{file.replace('/', '.')}:{method.name}"

        async def stream(request: Any, context: Any) -> Any:
            answered = method_of(name)(request, context)
            if inspect.isawaitable(answered):
                await answered  # it aborts: a stream has pieces
                return
            async for piece in answered:
                yield piece

        async def answer(request: Any, context: Any) -> Any:
            return await method_of(name)(request, context)

        return stream if method.server_streaming else answer

    return register_all(handler)
