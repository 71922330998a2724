"""A template in versions: changed content is the next version, and a version never changes."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.application import Caller
from tidemill_core.approvals import Approval, ApprovalMissing, ApprovalPolicy, check_may_lower, with_approval
from tidemill_inference.prompts.domain.errors import PromptVersionNotFound, TooManyPromptVersions
from tidemill_inference.prompts.domain.labels import MAX_MOVES, NO_PROTECTION, LabelMove, LabelProtection
from tidemill_inference.prompts.domain.origins import Inherited, VersionOrigin, with_origins

MAX_VERSIONS = 1000
MAX_CHARACTERS = 3 * 1024 * 1024
"""Of all versions: they are one document, which may have 16 MB, and a character up to 4 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptContent:
    """Two Jinja templates, and the JSON Schema of the variables that a caller gives; "" allows none."""

    user: str
    system: str = ""
    variables_schema: str = ""

    @property
    def characters(self) -> int:
        """How long it is."""
        return len(self.user) + len(self.system) + len(self.variables_schema)

    @property
    def variables(self) -> object:
        """The schema of the variables, however it is written; it was checked when the version was made."""
        return json.loads(self.variables_schema.strip() or "null")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersion:
    """One immutable version; `digest` covers the content without what makes no difference."""

    number: int
    digest: str
    content: PromptContent
    create_time: datetime
    creator: str = ""
    """The subject of the credential that made it; "" where none proved it."""
    approvals: tuple[Approval, ...] = ()
    merged_from: tuple[VersionOrigin, ...] = ()
    """The last versions of other prompts that were merged into it."""
    contains: tuple[VersionOrigin, ...] = ()
    """The last versions of other prompts that it goes on from, and the version before it did not."""
    contains_after: tuple[VersionOrigin, ...] = ()
    """Further ones that were merged when it was the newest, and changed nothing: the next version goes on from them.

    What it went on from itself stays as it was, since other prompts may go on from it by then.
    """
    contributors: tuple[str, ...] = ()
    """The subjects that made what was forked or merged into it."""

    @property
    def characters(self) -> int:
        """How long it is, with the names of what it goes on from."""
        origins = (*self.merged_from, *self.contains, *self.contains_after)
        return self.content.characters + sum(len(each.text) + len(each.digest) for each in origins)

    @property
    def authors(self) -> frozenset[str]:
        """The subjects whose approvals do not count."""
        return frozenset({self.creator, *self.contributors} - {""})


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptVersionWasCreated(Event):
    """A prompt has a new version."""

    version: int
    digest: str
    origin: str = ""
    """`prompt@version` of another prompt that was forked or merged into it."""


@dataclass(slots=True, kw_only=True)
class Prompt(Aggregate):
    """All versions of a prompt, and the labels that point to some of them."""

    versions: list[PromptVersion] = field(default_factory=list)
    version_labels: dict[str, int] = field(default_factory=dict)
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    """Who has to agree to a version before a deployment may use it."""
    label_protection: LabelProtection = NO_PROTECTION
    label_moves: list[LabelMove] = field(default_factory=list)
    """The last ones, oldest first."""
    forked_from: VersionOrigin | None = None
    """The version that it is a branch of, which its first version has the content of."""

    @property
    def full_name(self) -> str:
        """Its name among the prompts of all projects."""
        return f"{self.project}/{self.id}"

    @property
    def latest(self) -> PromptVersion:
        """The newest version; a saved prompt has one."""
        return self.versions[-1]

    def write(
        self,
        content: PromptContent,
        *,
        digest: str,
        now: datetime,
        creator: str = "",
        inherited: Inherited | None = None,
    ) -> None:
        """Make the content the newest version, unless it is that already. A, B, A is three versions.

        What the first version inherits it was forked from; what a later one inherits was merged into it, and is
        recorded also where the content is that of the newest version already.

        Emits PromptVersionWasCreated.

        Raises:
            TooManyPromptVersions: the limit of versions or characters is reached.

        """
        if self.versions and self.latest.digest == digest:
            if inherited is not None:
                after = with_origins(self.latest.contains_after, *inherited.contains)
                merged_from = with_origins(self.latest.merged_from, inherited.origin)
                merged = replace(self.latest, merged_from=merged_from, contains_after=after)
                self._refuse_more(merged.characters - self.latest.characters, versions=len(self.versions))
                self.versions[-1] = merged
            return
        number = len(self.versions) + 1
        made = PromptVersion(number=number, digest=digest, content=content, create_time=now, creator=creator)
        if inherited is not None:
            contributors = tuple(each for each in inherited.contributors if each != creator)
            made = replace(made, contains=inherited.contains, contributors=contributors)
            if number == 1:
                self.forked_from = inherited.origin
            else:
                made = replace(made, merged_from=(inherited.origin,))
        self._refuse_more(made.characters, versions=number)
        self.versions.append(made)
        origin = inherited.origin.text if inherited else ""
        self.pending.append(PromptVersionWasCreated(occurred_at=now, version=number, digest=digest, origin=origin))

    def _refuse_more(self, further: int, *, versions: int) -> None:
        characters = sum(each.characters for each in self.versions) + further
        if versions > MAX_VERSIONS or characters > MAX_CHARACTERS:
            raise TooManyPromptVersions(self.id, versions=len(self.versions), characters=characters)

    def has(self, origin: VersionOrigin) -> bool:
        """Return whether this version is one of its own, and not of a prompt of this name that was there before."""
        number = origin.version
        return 1 <= number <= len(self.versions) and self.versions[number - 1].digest == origin.digest

    def contained(self, number: int = 0) -> dict[str, VersionOrigin]:
        """Return the last version of each prompt that a version goes on from, by full name; of its own, itself.

        Without a number, those that the next version goes on from.
        """
        last = number or len(self.versions)
        found: dict[str, VersionOrigin] = {}
        for version in self.versions[:last]:
            after = version.contains_after if version.number < last or not number else ()
            for each in (*version.contains, *after):
                origin = each.named_in_full(self.project)
                found[origin.prompt] = origin
        own = VersionOrigin(prompt=self.full_name, version=last, digest=self.versions[last - 1].digest)
        return found | {self.full_name: own}

    def approve(self, number: int, approval: Approval, *, caller: Caller) -> None:
        """Record a person's approval of a version, once.

        Raises:
            PromptVersionNotFound: there is no such version.
            ApproverNotAllowed: the caller lacks the policy's role, is no person, or made the version.

        """
        version = self.resolve(str(number))
        self.approval.check(caller, version.authors)
        approved = replace(version, approvals=with_approval(version.approvals, approval))
        self.versions = [approved if each.number == number else each for each in self.versions]

    def missing_approvals(self, version: PromptVersion) -> int:
        """Return how many people still have to agree to a version."""
        return self.approval.missing(version.approvals, version.authors)

    def check_approved(self, version: PromptVersion, *, named: str) -> None:
        """Refuse a version that people still have to agree to; `named` is the prompt as who asks names it.

        Raises:
            ApprovalMissing: says how many, and of which role.

        """
        if missing := self.missing_approvals(version):
            text = f"{named}@{version.number}"
            raise ApprovalMissing(kind="prompt", version=text, missing=missing, role=self.approval.role)

    def label(self, name: str, *, version: int, now: datetime, mover: str = "") -> None:
        """Point a label to a version; where it points there already, nothing changes.

        Raises:
            PromptVersionNotFound: there is no such version.
            ApprovalMissing: the label is protected, and people still have to agree to the version.

        """
        pointed, previous = self.resolve(str(version)), self.version_labels.get(name, 0)
        if pointed.number == previous:
            return
        if name in self.label_protection.labels:
            required = replace(self.approval, count=self.label_protection.approvals)
            if missing := required.missing(pointed.approvals, pointed.authors):
                text = f"{self.id}@{pointed.number}, which label {name} would point to,"
                raise ApprovalMissing(kind="prompt", version=text, missing=missing, role=required.role)
        self.version_labels[name] = pointed.number
        move = LabelMove(label=name, version=pointed.number, previous=previous, mover=mover, move_time=now)
        self.label_moves = [*self.label_moves, move][-MAX_MOVES:]

    def change_approval(self, policy: ApprovalPolicy, *, caller: Caller) -> None:
        """Have other people agree than before.

        Protected labels wait for that role whatever the policy's count is: another one is an admin's decision then, and
        what people of the former role have approved does not open them.

        Raises:
            InvalidInput: the policy is out of bounds.
            ApprovalPolicyLowered: fewer approvals or another role, and the caller is no admin.

        """
        self.approval.check_change(caller, policy)
        if self.label_protection.labels and policy.role != self.approval.role:
            check_may_lower(caller)
            self.versions = [replace(each, approvals=()) for each in self.versions]
        self.approval = policy

    def check_protection(self, protection: LabelProtection, *, caller: Caller) -> None:
        """Let a caller protect other labels than before.

        Raises:
            ApprovalPolicyLowered: some are protected less, and the caller is no admin.

        """
        if protection.lowers(self.label_protection):
            check_may_lower(caller)

    def resolve(self, pin: str) -> PromptVersion:
        """Return the version that a number or a label names; "" names the newest.

        Raises:
            PromptVersionNotFound: neither is there.

        """
        number = int(pin) if pin.isdecimal() else self.version_labels.get(pin, 0) if pin else len(self.versions)
        if not 1 <= number <= len(self.versions):
            raise PromptVersionNotFound(
                self.id, requested=pin, latest=len(self.versions), labels=sorted(self.version_labels)
            )
        return self.versions[number - 1]
