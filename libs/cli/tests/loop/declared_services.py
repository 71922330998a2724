# ruff: noqa: ANN401 - one keeper serves messages of any kind
"""Everything that a loop declares, kept in memory behind one gRPC server: all kinds have the same five methods."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

from tidemill_cli.loop.kinds import KINDS
from tidemill_client.resources import Resources
from tidemill_core.errors import AlreadyExists, Conflict, NotFound, TidemillError


class Keeper:
    """The resources of one kind. `normalise` is what the service makes of one before it keeps it."""

    def __init__(self, kind: type[Resources[Any]], normalise: Callable[[Any], None] = lambda _message: None) -> None:
        self.kind = kind
        self.stored: dict[str, Any] = {}
        self.written: list[str] = []
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


def servicers(
    keepers: dict[str, Keeper], further: dict[str, dict[str, Callable[..., Any]]]
) -> list[tuple[Callable[..., None], Any]]:
    """Return what a server registers: one servicer a contract, with what `further` adds by the name of the module."""
    methods: dict[str, dict[str, Callable[..., Any]]] = {}
    for name, kind in KINDS.items():
        methods.setdefault(kind.contract.__name__, {}).update(keepers[name].methods())
    for module, added in further.items():
        methods.setdefault(f"tidemill.{module}_pb2", {}).update(added)
    registered = []
    for module, found in methods.items():
        generated = importlib.import_module(f"{module}_grpc")
        (add,) = (name for name in dir(generated) if name.startswith("add_"))
        name = add.removeprefix("add_").removesuffix("_to_server")
        bound = {method: _bound(work) for method, work in found.items()}
        servicer = type(f"Fake{name}", (getattr(generated, name),), bound)()
        registered.append((getattr(generated, add), servicer))
    return registered


def _bound(work: Callable[..., Any]) -> Callable[..., Any]:
    async def stream(_self: object, request: Any, context: object) -> Any:
        async for piece in work(request, context):
            yield piece

    if inspect.isasyncgenfunction(work):
        return stream

    async def method(_self: object, request: Any, context: object) -> Any:
        return await work(request, context)

    return method
