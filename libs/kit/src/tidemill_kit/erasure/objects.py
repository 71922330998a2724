"""Steps that remove objects of a bucket, in bounded batches."""

from collections.abc import Callable
from typing import Protocol

from tidemill_kit.erasure.steps import Step, Target

BATCH = 500


class Erasable(Protocol):
    """An object store of which objects are removed: `ObjectStore`."""

    async def delete_some(self, bucket: str, prefix: str, *, limit: int) -> int:
        """Remove at most `limit` objects whose keys start so, and return how many; 0 when there is none."""
        ...


def below_project(target: Target) -> str:
    """Return where the objects of a target's project lie: `<project>/`."""
    return f"{target.project}/"


def objects(kind: str, store: Erasable, bucket: str, *, below: Callable[[Target], str] = below_project) -> Step:
    """Return the step that removes the objects of a target: those whose keys begin with `below(target)`."""

    async def erase(target: Target) -> int:
        prefix = below(target)
        if not prefix.strip("/") or not prefix.endswith("/"):
            message = f"{prefix!r} does not end with a slash: objects of others may begin so too"
            raise ValueError(message)
        return await store.delete_some(bucket, prefix, limit=BATCH)

    return Step(kind=kind, erase=erase, covers=(f"bucket:{bucket}",))
