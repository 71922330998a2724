"""Approvals of versions: the policy of a model, what a version lacks, and a person's approval."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_core.approvals import ApprovalPolicy, approval_of
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_core.resources import Write, check_labels, update
from tidemill_trainer.errors import ModelNotFound
from tidemill_trainer.registry.domain.approvals import NOTHING_MISSING, Missing
from tidemill_trainer.registry.domain.model import Model, split_reference, version_id
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.ports import Models, Versions
from tidemill_trainer.registry.references import References


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelApprovals:
    """A policy is of the model; approvals are of a version."""

    models: Models
    versions: Versions
    references: References
    clock: Clock

    async def missing(self, caller: Caller, version: ModelVersion) -> Missing:
        """Return what a version lacks, also one that another project shares, which is shown without its approvals."""
        model = version.model.rpartition("/")[2]
        try:
            policy = (await self.models.get(version.project, model)).approval
            if version.project != caller.project and policy.count:
                version = await self.versions.get(version.project, version_id(model, version.number))
        except NotFound:
            return NOTHING_MISSING
        return Missing.of(version, policy)

    async def policy_of(self, caller: Caller, model_id: str) -> ApprovalPolicy:
        """Return the policy of a model.

        Raises:
            ModelNotFound: names the models that exist.

        """
        return (await self.references.model(caller.project, model_id)).approval

    async def update(
        self,
        caller: Caller,
        model_id: str,
        *,
        approval: ApprovalPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        write: Write,
    ) -> Model:
        """Return the changed model; None leaves something as it is.

        Raises:
            ModelNotFound: names the models that exist.
            InvalidInput: the policy or the labels are out of bounds.
            ApprovalPolicyLowered: only an admin may do that.
            Conflict: it has changed since the etag.

        """
        if labels is not None:
            check_labels("model.labels", labels)

        def change(model: Model) -> None:
            if approval is not None:
                model.approval.check_change(caller, approval)
                model.approval = approval
            if labels is not None:
                model.labels = dict(labels)

        try:
            return await update(self.models, caller.project, model_id, change, write)
        except ModelNotFound:
            raise await self.references.missing(caller.project, model_id) from None

    async def approve(self, caller: Caller, reference: str, *, rationale: str, write: Write) -> ModelVersion:
        """Return the version with the caller's approval; a second one changes nothing.

        Raises:
            InvalidInput: the reference has no number, or the rationale is too long.
            ModelNotFound, ModelVersionNotFound: name those that exist.
            ApproverNotAllowed: the caller lacks the policy's role, is no person, or an author of the version.

        """
        given = approval_of(caller, rationale=rationale, now=self.clock.now())
        version = await self.references.version(caller.project, reference)
        if not split_reference(reference)[1]:
            raise InvalidInput.at(field="id", text=f"is {reference!r}: an approval is of one version, model@number")
        policy = await self.policy_of(caller, version.model)
        policy.check(caller, version.authors)
        return await update(self.versions, caller.project, version.id, lambda stored: stored.approve(given), write)
