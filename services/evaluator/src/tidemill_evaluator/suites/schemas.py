"""JSON Schemas of cases, checked in bounded processes: they are a caller's."""

from collections.abc import Iterator, Sequence

from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable
from tidemill_evaluator.suites.ports import Processes
from tidemill_evaluator.suites.schema_checks import all_wrong_schemas
from tidemill_kit.workers.bounded_processes import WorkEndedError

_TOGETHER = 64 * 1024
"""Characters of schemas that are checked in one go."""
_ENDED = "cannot be checked: it "


class BoundedSchemas:
    """Implements `ports.Schemas`."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    async def wrong_with(self, caller: Caller, schemas: Sequence[str]) -> Sequence[str]:
        """See `Schemas.wrong_with`; what comes behind one that cannot be checked is not checked."""
        found = list[str]()
        for some in _some_together(schemas):
            found += await self._checked(caller.project, some)
            if _one_ended(found):
                break
        return [*found, *[""] * (len(schemas) - len(found))]

    async def _checked(self, project: str, schemas: Sequence[str]) -> Sequence[str]:
        try:
            return await self._processes.run(project, all_wrong_schemas, schemas)
        except WorkEndedError as ended:
            if ended.cause in {"wall", "died"}:
                message = f"checking a schema {ended.why}"
                raise DependencyUnavailable(message, dependency="evaluator's processes") from ended
            if len(schemas) == 1:
                return [f"{_ENDED}{ended.why}"]
        half = len(schemas) // 2  # until it is alone
        found = [*await self._checked(project, schemas[:half])]
        if not _one_ended(found):
            found += await self._checked(project, schemas[half:])
        return [*found, *[""] * (len(schemas) - len(found))]


def _one_ended(found: Sequence[str]) -> bool:
    return any(each.startswith(_ENDED) for each in found)


def _some_together(schemas: Sequence[str]) -> Iterator[Sequence[str]]:
    together, size = list[str](), 0
    for each in schemas:
        if together and size + len(each) > _TOGETHER:
            yield together
            together, size = [], 0
        together.append(each)
        size += len(each)
    if together:
        yield together
