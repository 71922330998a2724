"""How the live requests of a deployment are divided among the arms of an experiment."""

import hashlib
import math
from dataclasses import dataclass, field

from tidemill_core.aggregate import Event
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.configuration import Configuration, Sampling
from tidemill_inference.experiments.domain.plan import CohortPlan
from tidemill_inference.rollouts.domain.policy import StickyBy

_PLACE_BITS = 52
_PLACES = 2.0**_PLACE_BITS
"""So many and a half are a float, above 0 and below 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitArm:
    """An arm with its share in percent; a stopped one keeps it, and the control answers in its place."""

    name: str
    weight: int
    configuration: Configuration
    stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The arms of a run, the control first; `epoch` counts its changes, `baseline` is the digest of what is live.

    `metrics` are those whose values count; `cohorts` says which labels of requests are kept with outcomes.
    """

    run: str
    baseline: str
    arms: tuple[SplitArm, ...]
    epoch: int = 0
    sticky_by: StickyBy = StickyBy.END_USER
    metrics: tuple[str, ...] = ()
    cohorts: CohortPlan = field(default_factory=CohortPlan)

    @property
    def control(self) -> SplitArm:
        """The arm that answers as the deployment does."""
        return self.arms[0]

    def choose(self, *, end_user: str, request_id: str, conversation: str = "") -> ChosenConfiguration:
        """Return what answers one live request."""
        arm = self.arm_of(end_user=end_user, request_id=request_id, conversation=conversation)
        return ChosenConfiguration(
            variant=arm.name,
            configuration=arm.configuration,
            experiment=self.run,
            step=self.epoch,
            searches_anew=self.searches_differ,
            prompts_differ=self.prompts_differ,
        )

    @property
    def searches_differ(self) -> bool:
        """Whether arms search differently, so that the time of a search is the arm's own."""
        return len({str(arm.configuration.retrieval) for arm in self.arms}) > 1

    @property
    def prompts_differ(self) -> bool:
        """Whether arms have different prompts, so that what a template refuses, or makes too long, is the arm's own."""
        return len({arm.configuration.prompt for arm in self.arms}) > 1

    def asked(self, sampling: Sampling) -> Sampling | None:
        """Return what a request asks for, without what the control has as well: there each arm has its own.

        None where it asks for something else of what arms change, or for fewer tokens than one of them may write: no
        arm would answer with its sampling, and those that do not change it would be compared with other requests.
        """
        own = self.control.configuration.sampling
        others = [arm.configuration.sampling for arm in self.arms[1:]]
        changed = {name for each in others for name in each.changes(own)}
        said = [name for name in changed if sampling.says(name)]
        if set(said) & set(sampling.changes(own)):
            return None
        longest = max((each.max_output_tokens or 0 for each in others), default=0)
        if "max_output_tokens" in said and (sampling.max_output_tokens or 0) < longest:
            return None
        return sampling.without(said)

    def arm_of(self, *, end_user: str, request_id: str, conversation: str = "") -> SplitArm:
        """Return the arm of a user, else conversation or request: the one with the greatest weight / -ln(u).

        That is weighted rendezvous hashing. Where weights change, only so many change their arm as the weights have to,
        and only to an arm that has gained. Where an arm stops, its own go to the control, and no others change.
        Schindelhauer and Schomaker, Weighted distributed hash tables (2005).
        """
        if self.sticky_by is StickyBy.END_USER and (end_user or conversation):
            key = f"user:{end_user}" if end_user else f"conversation:{conversation}"
        else:
            key = f"request:{request_id}"
        chosen = max(self.arms, key=lambda arm: arm.weight / -math.log(self._place(arm.name, key)))
        return self.control if chosen.stopped else chosen

    def _place(self, arm: str, key: str) -> float:
        """Return a place above 0 and below 1."""
        digest = hashlib.sha256(f"{self.run}\0{arm}\0{key}".encode()).digest()
        return ((int.from_bytes(digest[:8]) >> (64 - _PLACE_BITS)) + 0.5) / _PLACES


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentEvent(Event):
    """The fields of every event of an experiment; `experiment` is the run."""

    experiment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentHasStarted(ExperimentEvent):
    """Arms answer live requests; `baseline` is the digest of what is live."""

    baseline: str
    arms: tuple[SplitArm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentHasEnded(ExperimentEvent):
    """What is live answers all requests again; `configuration` is the digest of the best arm's."""

    reason: str
    message: str
    best: str = ""
    configuration: str = ""
    decided_by: str = ""
