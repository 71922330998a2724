"""Merges of prompts: three ways, by field of the content, from the last versions that both have in common.

Versions are a graph: each goes on from the one before it, a first one from what it was forked from, a merged one from
what was merged into it, too. Since the versions of a prompt are a line, a number for each prompt says all that a
version goes on from (a version vector, Parker et al. 1983), and the lower of both numbers what two versions have in
common. Bases are those common versions that no other of them goes on from; where merges crossed there are several,
and a field is merged only where all of them say the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from tidemill_core.approvals import MAX_AUTHORS, with_author
from tidemill_core.errors import InvalidInput, Violation, named
from tidemill_core.resources import refuse
from tidemill_inference.prompts.domain.errors import PromptMergeConflict
from tidemill_inference.prompts.domain.origins import Inherited, VersionOrigin
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent, PromptVersion

FIELDS = tuple(each.name for each in fields(PromptContent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A version of a prompt, and the prompt that it comes into; `others` are those that bases may be versions of.

    Their content is read where it is known: a base without any leaves each field that differs to people.
    """

    target: Prompt
    source: Prompt
    version: PromptVersion
    others: Mapping[str, Prompt] = field(default_factory=dict)
    """By full name."""

    @property
    def brings_nothing(self) -> bool:
        """Whether the target goes on from this version already."""
        known = self._known()
        return known is not None and known.version >= self.version.number

    def bases(self) -> list[VersionOrigin]:
        """Return the last versions that both go on from, named in full."""
        mine = self.target.contained()
        theirs = self.source.contained(self.version.number)
        shared = (self._older(mine[name], theirs[name]) for name in sorted(mine.keys() & theirs.keys()))
        common = [each for each in shared if each is not None]
        for later in tuple(common):
            prompt = self._prompt(later.prompt)
            if prompt is not None and prompt.has(later) and later in common:
                before = prompt.contained(later.version)
                common = [each for each in common if each is later or not _is_in(before, each)]
        return common

    def merged(self, resolutions: Mapping[str, str]) -> PromptContent:
        """Return the content that comes of both.

        Raises:
            InvalidInput: a resolution names no field, or one that is in no conflict.
            PromptMergeConflict: names the fields that both have changed, and no resolution decides.

        """
        unknown = sorted(resolutions.keys() - {*FIELDS})
        refuse(Violation("resolutions", f"has {named(each)}; use {', '.join(FIELDS)}") for each in unknown)
        bases = self.bases()
        contents = [self._content_of(each) for each in bases]
        taken = {name: self._chosen(name, contents) for name in FIELDS}
        conflicts = [name for name, value in taken.items() if value is None]
        if needless := sorted(resolutions.keys() - {*conflicts}):
            text = f"has {', '.join(needless)}, which is in no conflict: leave it out, or change it with an update"
            raise InvalidInput.at(field="resolutions", text=text)
        if missing := [name for name in conflicts if name not in resolutions]:
            target, source, *since = [
                each.named_in(self.target.project).text
                for each in (
                    origin_of(self.target, self.target.latest),
                    origin_of(self.source, self.version),
                    *bases,
                )
            ]
            raise PromptMergeConflict(target, source, fields=missing, since=since)
        return PromptContent(**{name: resolutions.get(name, value or "") for name, value in taken.items()})

    def inherited(self) -> Inherited:
        """Return what the target has of the source then."""
        known = self._known()
        return inherited(
            self.source,
            self.version,
            project=self.target.project,
            after=known.version if known else 0,
            known=self.target.contained(),
            copied=self._has_first(),
        )

    def _known(self) -> VersionOrigin | None:
        """Return the last version of the source that the target goes on from."""
        found = self.target.contained().get(self.source.full_name)
        return found if found is not None and self.source.has(found) else None

    def _has_first(self) -> bool:
        """Return whether the source's first version is a copy of one that the target goes on from."""
        if self.source.forked_from is None:
            return False
        forked = self.source.forked_from.named_in_full(self.source.project)
        prompt = self._prompt(forked.prompt)
        return prompt is not None and prompt.has(forked) and _is_in(self.target.contained(), forked)

    def _older(self, one: VersionOrigin, other: VersionOrigin) -> VersionOrigin | None:
        """Return the version that both have; None where the prompt was made anew between them.

        Of one that was made anew since then both are versions, as none is of what there is now.
        """
        prompt = self._prompt(one.prompt)
        if prompt is not None and prompt.has(one) != prompt.has(other):
            return None
        if one.version == other.version and one.digest != other.digest:
            return None
        return min(one, other, key=lambda each: each.version)

    def _content_of(self, base: VersionOrigin) -> PromptContent | None:
        """Return the content of a version, which a branch's first version has as well."""
        prompt = self._prompt(base.prompt)
        if prompt is not None and prompt.has(base):
            return prompt.versions[base.version - 1].content
        for each in (self.target, self.source):
            if each.forked_from is not None and each.forked_from.named_in_full(each.project) == base:
                return each.versions[0].content
        return None

    def _chosen(self, name: str, bases: Sequence[PromptContent | None]) -> str | None:
        """Return what a field becomes, None where it is in conflict."""
        ours, theirs = self.target.latest.content, self.version.content
        if _same(name, ours, theirs):
            return str(getattr(ours, name))
        found = {_changed(name, ours, theirs, base) for base in bases} or {None}
        side = found.pop()
        return None if found or side is None else str(getattr(ours if side == "ours" else theirs, name))

    def _prompt(self, full_name: str) -> Prompt | None:
        for each in (self.target, self.source):
            if each.full_name == full_name:
                return each
        return self.others.get(full_name)


def origin_of(prompt: Prompt, version: PromptVersion) -> VersionOrigin:
    """Return a version named in full."""
    return VersionOrigin(prompt=prompt.full_name, version=version.number, digest=version.digest)


def inherited(  # noqa: PLR0913 - keyword-only, and each of another kind
    source: Prompt,
    version: PromptVersion,
    *,
    project: str,
    known: Mapping[str, VersionOrigin],
    after: int = 0,
    copied: bool = False,
) -> Inherited:
    """Return what a prompt of `project` has of a source that it forks or merges.

    It has had its versions up to `after`, and goes on from `known` without it; `copied` says that the source's first
    version is one of these, so that nothing of those who made that one comes in. Of another project's prompt neither
    who made it is kept, nor what that project alone merged into it.
    """
    origin = origin_of(source, version)
    further = [
        each
        for name, each in source.contained(version.number).items()
        if name != source.full_name and name.startswith(f"{project}/") and not _is_in(known, each)
    ]
    authors: tuple[str, ...] = ()
    if source.project == project:
        for made in source.versions[after : version.number]:
            by = {made.creator} if copied and made.number == 1 else made.authors
            for subject in sorted(by):
                authors = with_author(authors, subject)
    return Inherited(
        origin=origin.named_in(project),
        contains=tuple(each.named_in(project) for each in (origin, *further)),
        contributors=authors[-MAX_AUTHORS:],
    )


def _is_in(contained: Mapping[str, VersionOrigin], version: VersionOrigin) -> bool:
    """Return whether what goes on from these versions, by full name, goes on from this one."""
    return version.prompt in contained and contained[version.prompt].version >= version.version


def _changed(name: str, ours: PromptContent, theirs: PromptContent, base: PromptContent | None) -> str | None:
    """Return who alone changed a field since the base, None where both did."""
    if base is None:
        return None
    if _same(name, base, theirs):
        return "ours"
    return "theirs" if _same(name, base, ours) else None


def _same(name: str, one: PromptContent, other: PromptContent) -> bool:
    """Return whether a field says the same in both; space at its end, and the layout of a schema, do not count."""
    if name == "variables_schema":
        return json.dumps(one.variables, sort_keys=True) == json.dumps(other.variables, sort_keys=True)
    return str(getattr(one, name)).rstrip() == str(getattr(other, name)).rstrip()
