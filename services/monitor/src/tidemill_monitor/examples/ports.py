"""Ports to the batches of examples and to feedback's exchange bucket."""

from collections.abc import Sequence
from typing import Protocol

from tidemill_core.application import ResourceKey
from tidemill_monitor.examples.domain import Batch, ExampleIds


class Batches(Protocol):
    """Batches of examples, each read once under a lease."""

    async def add_pending(self, batch: Batch) -> bool:
        """Enqueue a batch; return whether it is new."""
        ...

    async def pending(self, key: ResourceKey) -> Batch | None:
        """Return the batch unless it is finished."""
        ...

    async def finish(self, key: ResourceKey, *, epoch: int, reason: str) -> None:
        """Record that the batch was read, or why it cannot be.

        Raises:
            LeaseLost: a later holder has it.

        """
        ...


class Examples(Protocol):
    """The examples in feedback's exchange bucket."""

    async def read(self, batch: Batch) -> Sequence[ExampleIds]:
        """Return the ids of the batch's examples in order, without their text.

        Raises:
            NotFound: they were erased.
            BatchUnusable: they are not what a batch is, or too large.
            PermissionDenied: the reference leads elsewhere.

        """
        ...
