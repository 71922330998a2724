"""Random histories of branches: no merge brings back what one side has gone on from, nor loses what only one has."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from tidemill_inference.prompts.domain.errors import PromptMergeConflict
from tidemill_inference.prompts.domain.merging import Merge, inherited
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent, PromptVersion
from tidemill_testkit.clocks import NOON

FIELDS = ("user", "system")
Writes = Mapping[str, frozenset[int]]
"""What was written to each field up to a version, each writing by a number."""


@dataclass
class History:
    """Four prompts at most, which fork, change and merge; each field has one of three values."""

    dice: random.Random
    prompts: dict[str, Prompt] = field(default_factory=dict)
    writes: dict[tuple[str, int], Writes] = field(default_factory=dict)
    newest: dict[str, Writes] = field(default_factory=dict)
    """What the next version of a prompt goes on from: more than its newest, where a merge changed nothing."""
    written: int = 0
    merges: int = 0

    def begin(self) -> None:
        self._write(
            Prompt(id="p0", project="acme"), PromptContent(user="0", system="0"), dict.fromkeys(FIELDS, frozenset())
        )

    def step(self) -> None:
        prompt = self.dice.choice([*self.prompts.values()])
        self.dice.choice([self._fork, self._change, self._change, self._merge, self._merge, self._merge])(prompt)

    def _fork(self, source: Prompt) -> None:
        version = self.dice.choice(source.versions)
        if len(self.prompts) < 4:
            fresh = Prompt(id=f"p{len(self.prompts)}", project="acme")
            after = version.number - 1
            brought = inherited(source, version, project="acme", after=after, known={})
            fresh.write(version.content, digest=version.digest, now=NOON, inherited=brought)
            self._keep(fresh, self.writes[source.id, version.number])

    def _change(self, prompt: Prompt) -> None:
        name, value = self.dice.choice(FIELDS), str(self.dice.randrange(3))
        content = replace(prompt.latest.content, **{name: value})
        if content != prompt.latest.content:
            self._write(
                prompt, content, {**self.newest[prompt.id], name: self.newest[prompt.id][name] | self._number()}
            )

    def _merge(self, prompt: Prompt) -> None:
        others = [each for each in self.prompts.values() if each is not prompt]
        if not others:
            return
        source = self.dice.choice(others)
        version = self.dice.choice([source.latest, self.dice.choice(source.versions)])
        by_name = {each.full_name: each for each in self.prompts.values()}
        merge = Merge(target=prompt, source=source, version=version, others=by_name)
        ours, theirs = self.newest[prompt.id], self.writes[source.id, version.number]
        if merge.brings_nothing:
            assert all(theirs[name] <= ours[name] for name in FIELDS)
            return
        self.merges += 1
        resolutions = dict[str, str]()
        try:
            merge.merged({})
        except PromptMergeConflict as conflict:
            resolutions = {name: str(self.dice.randrange(3)) for name in conflict.metadata["fields"].split(", ")}
        content = merge.merged(resolutions)
        self._check(content, prompt.latest, version, ours=ours, theirs=theirs, resolved=resolutions)
        both = {name: ours[name] | theirs[name] for name in FIELDS}
        decided = {name: both[name] | self._number() for name in resolutions}
        prompt.write(content, digest=repr(content), now=NOON, inherited=merge.inherited())
        self._keep(prompt, {**both, **decided})

    @staticmethod
    def _check(  # noqa: PLR0913 - what is merged, and what comes of it
        content: PromptContent,
        target: PromptVersion,
        source: PromptVersion,
        *,
        ours: Writes,
        theirs: Writes,
        resolved: Mapping[str, str],
    ) -> None:
        for name in FIELDS:
            if name in resolved:
                continue
            merged, own, other = (getattr(each, name) for each in (content, target.content, source.content))
            assert merged in {own, other}
            if theirs[name] <= ours[name]:
                assert merged == own, "the target has gone on from all that the source has"
            elif ours[name] <= theirs[name]:
                assert merged == other, "the source has gone on from all that the target has"

    def _write(self, prompt: Prompt, content: PromptContent, writes: Writes) -> None:
        prompt.write(content, digest=repr(content), now=NOON)
        self._keep(prompt, writes)

    def _keep(self, prompt: Prompt, writes: Writes) -> None:
        self.prompts[prompt.id], self.newest[prompt.id] = prompt, writes
        self.writes.setdefault((prompt.id, prompt.latest.number), writes)

    def _number(self) -> frozenset[int]:
        self.written += 1
        return frozenset({self.written})


@pytest.mark.parametrize("seed", range(8))
def test_no_merge_brings_back_or_loses_what_one_side_alone_went_on_from(seed: int) -> None:
    merges = 0
    for number in range(8):
        history = History(random.Random(100 * seed + number))  # noqa: S311 - a history, no secret
        history.begin()
        for _ in range(40):
            history.step()
        merges += history.merges

    assert merges > 20
