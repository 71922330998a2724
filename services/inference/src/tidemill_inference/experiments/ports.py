"""What experiments need: their store, and what resolves a spec."""

from collections.abc import Callable
from typing import Protocol

from tidemill_core.application import Aggregates, Caller, ResourceKey
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.experiments.domain.experiment import Experiment

Experiments = Aggregates[Experiment]


class Resolving(Protocol):
    """From a spec to what answers: every reference resolved."""

    async def __call__(
        self, caller: Caller, spec: DeploymentSpec, *, kept_model: str = "", live: Configuration | None = None
    ) -> Configuration:
        """Return the configuration; `kept_model` replaces the spec's model, and what `live` uses needs no approval.

        Raises:
            InvalidInput, ReferenceNotFound, ApprovalMissing: it does not answer; says why.
            DependencyUnavailable: an owner does not answer.

        """
        ...


class Searched(Protocol):
    """What arms search; `generation.ports.Retriever` is it."""

    async def check(self, caller: Caller, retrieval: Retrieval) -> None:
        """Refuse a collection or a pinned index that does not exist.

        Raises:
            ReferenceNotFound: lists what exists.
            DependencyUnavailable: rag does not answer.

        """
        ...


Enqueue = Callable[[ResourceKey], None]
"""Called with an experiment that is to be reconciled soon."""
