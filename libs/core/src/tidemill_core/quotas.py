"""How many resources of a kind one project may have."""

from dataclasses import dataclass

from tidemill_core.errors import PreconditionFailed


class QuotaReached(PreconditionFailed):
    """The project has as many resources of the kind as it may have."""

    reason = "QUOTA_REACHED"

    def __init__(self, quota: "Quota", *, project: str) -> None:
        super().__init__(
            f"project {project} has {quota.limit} {quota.of}, which is the limit: "
            f"{quota.remedy}, or ask an operator to raise {quota.setting}",
            of=quota.of,
            limit=quota.limit,
            setting=quota.setting,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most `limit` resources of a project; `of` is their plural in words, `setting` the variable to raise.

    `remedy` is what the project can do by itself.

    Creates at the same moment may exceed it by their number: a quota bounds growth, and reserves nothing.
    """

    of: str
    limit: int
    setting: str
    remedy: str = "delete what is not needed"

    def check(self, project: str, count: int) -> None:
        """Refuse one more than `count`.

        Raises:
            QuotaReached: there are as many as there may be.

        """
        if count >= self.limit:
            raise QuotaReached(self, project=project)
