"""Experiments as documents."""

from collections.abc import Sequence

from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling
from tidemill_inference.experiments.domain.experiment import Experiment
from tidemill_inference.experiments.domain.run import ExperimentRun
from tidemill_inference.rollouts.domain.values import SideValues
from tidemill_kit.mapping import DocumentCodec, Form, as_json, as_pairs
from tidemill_kit.store.mongo import Collection, Document, translated
from tidemill_kit.workers.pending import PendingDocuments

_ACTIVE = {"state.run.active": True}

EXPERIMENTS = DocumentCodec(
    Experiment,
    {
        Retrieval: Form(fields={"metadata_filter": as_json}),  # its names are the user's, and MongoDB may not take them
        Sampling: Form(fields={"logit_bias": as_pairs}),  # its keys are numbers
        SideValues: Form(omits={"samples"}),
        ExperimentRun: Form(derived={"active": lambda run: not run.released}),  # to be searched for
    },
)
"""Experiments as they are stored."""


class MongoRunningExperiments:
    """Says which experiments are `pending`, and which runs count outcomes. Their index holds those only."""

    def __init__(self, experiments: Collection) -> None:
        self._experiments = experiments
        self.pending = PendingDocuments(experiments, _ACTIVE, index="state.run.active", partialFilterExpression=_ACTIVE)

    async def ensure_indexes(self) -> None:
        """Create what finding them needs; repeating it changes nothing."""
        await self.pending.ensure_indexes()

    async def runs(self) -> Sequence[tuple[str, str]]:
        """Return project and run of all that run."""
        asked: Document = {"project": True, "state.run.id": True}
        with translated():
            found = self._experiments.find(_ACTIVE, asked)
            return [(each["project"], each["state"]["run"]["id"]) async for each in found]
