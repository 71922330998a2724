"""Prompts merged into one another, by field from the last version in common."""

import json
from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.prompts.branching import BASE, SCHEMA, Branching
from services.inference.tests.prompts.test_crud import BOB, MIA
from tidemill_core.errors import Conflict, InvalidInput
from tidemill_inference.prompts.domain.errors import (
    PromptMergeConflict,
    PromptRefused,
    TooManyPromptVersions,
)
from tidemill_inference.prompts.domain.origins import Inherited, VersionOrigin
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.messages import prompt_message
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_testkit.clocks import NOON


async def test_fields_that_one_side_changed_are_taken_and_the_result_is_the_next_version(library: Branching) -> None:
    await library.set("answer", user="Now: {{ question }}")
    await library.set("brief", system="Be brief.")
    await library.set("brief", variables_schema=SCHEMA)

    merged = await library.merge("answer", "brief", caller=BOB)

    assert merged.latest.content == PromptContent(
        user="Now: {{ question }}", system="Be brief.", variables_schema=SCHEMA
    )
    assert (merged.latest.number, merged.latest.creator) == (4, "user:bob")
    assert [each.text for each in merged.latest.merged_from] == ["brief@3"]
    assert merged.latest.contributors == ("user:mia",)
    shown, shared = (prompt_message(merged, asking=each).versions[-1] for each in (ADA.project, "globex"))
    assert [(each.prompt, each.version) for each in shown.merged_from] == [("brief", 3)]
    assert (list(shown.contributors), list(shared.contributors), list(shared.merged_from)) == (["user:mia"], [], [])


async def test_merging_what_is_there_already_changes_nothing(library: Branching) -> None:
    await library.set("brief", system="Be brief.")
    before = await library.merge("answer", "brief")

    for source in ("brief", "acme/brief"):
        after = await library.merge("answer", source)
        assert (after.version, after.latest.number) == (before.version, 3)
    older = await library.merge("answer", "brief", version=1)
    assert older.latest.number == 3


async def test_a_field_that_both_changed_in_different_ways_waits_for_a_resolution(library: Branching) -> None:
    await library.set("answer", system="Be formal.", user="Now: {{ question }}")
    await library.set("brief", system="Be brief.")

    with pytest.raises(
        PromptMergeConflict,
        match=r"answer@3 and brief@2 both changed system since answer@2: give the content of system",
    ) as refused:
        await library.merge("answer", "brief")
    assert refused.value.metadata["fields"] == "system"
    assert "formal" not in str(refused.value)
    with pytest.raises(InvalidInput, match="resolutions: has user, which is in no conflict"):
        await library.merge("answer", "brief", resolutions={"system": "Be both.", "user": "{{ question }}"})
    with pytest.raises(InvalidInput, match="resolutions: has tone; use user, system, variables_schema"):
        await library.merge("answer", "brief", resolutions={"tone": ""})

    merged = await library.merge("answer", "brief", resolutions={"system": ""})

    assert merged.latest.content == PromptContent(user="Now: {{ question }}")
    await library.set("brief", user="So: {{ question }}")
    await library.set("answer", user="Then: {{ question }}")
    with pytest.raises(PromptMergeConflict, match="since brief@2: give") as refused:
        await library.merge("answer", "brief")
    assert refused.value.metadata["fields"] == "user"


async def test_what_both_changed_alike_is_no_conflict_and_layout_is_no_change(library: Branching) -> None:
    await library.set("answer", system="Be brief.", variables_schema=SCHEMA)
    await library.set("brief", system="Be brief.\n", variables_schema=SCHEMA.replace(": ", ":"))

    merged = await library.merge("answer", "brief")

    assert merged.latest.number == 3
    assert [each.text for each in merged.latest.merged_from] == ["brief@2"]
    await library.set("answer", system="Be kind.")
    assert (await library.merge("answer", "brief")).latest.content.system == "Be kind."
    await library.set("brief", user="Now: {{ question }}")
    again = await library.merge("answer", "brief")  # it is brief@2 that both have in common by now
    assert (again.latest.content.system, again.latest.content.user) == ("Be kind.", "Now: {{ question }}")


async def test_a_number_of_a_schema_is_not_the_truth_value_that_it_equals(library: Branching) -> None:
    one, true = (json.dumps({"type": "object", "properties": {"n": {"const": each}}}) for each in (1, True))
    await library.set("answer", variables_schema=one)
    await library.merge("brief", "answer")
    await library.set("brief", variables_schema=true)

    merged = await library.merge("answer", "brief")

    assert merged.latest.content.variables_schema == true


async def test_what_a_prompt_goes_on_from_counts_towards_its_limit_of_characters(library: Branching) -> None:
    prompt = await library.prompts.get(ADA.project, "answer")
    origins = tuple(VersionOrigin(prompt=f"acme/{number:050}", version=1, digest="d" * 64) for number in range(9_000))
    before = len(prompt.versions)

    def merge(content: PromptContent, digest: str) -> None:
        brought = Inherited(origin=origins[0], contains=origins)
        prompt.write(content, digest=digest, now=NOON, inherited=brought)

    for number in range(2):
        merge(replace(BASE, system=str(number)), str(number))
    with pytest.raises(TooManyPromptVersions):
        merge(replace(BASE, system="2"), "2")
    with pytest.raises(TooManyPromptVersions):
        merge(replace(BASE, system="1"), "1")

    assert len(prompt.versions) == before + 2


async def test_merging_works_both_ways_and_goes_on_from_the_last_merge_either_way(library: Branching) -> None:
    await library.set("brief", system="Be brief.")
    await library.merge("answer", "brief")
    await library.set("answer", user="Now: {{ question }}")
    await library.set("brief", system="Be very brief.")

    back = await library.merge("brief", "answer")
    forth = await library.merge("answer", "brief")

    both = PromptContent(user="Now: {{ question }}", system="Be very brief.")
    assert (back.latest.content, forth.latest.content) == (both, both)
    level = await library.merge("brief", "answer")
    assert (level.latest.number, [each.text for each in level.latest.merged_from]) == (4, ["answer@5"])
    await library.set("brief", system="Be kind.")  # back to what it was at the fork
    assert (await library.merge("answer", "brief")).latest.content.system == "Be kind."


async def test_branches_of_one_prompt_are_merged_from_where_both_began_also_when_it_is_gone(library: Branching) -> None:
    await library.fork("answer", "formal")
    await library.set("brief", system="Be brief.")
    await library.set("formal", user="Sir: {{ question }}")
    library.deployments.remove(ADA.project, "helpdesk")
    await library.crud.delete(MIA, "answer", writing("gone"))
    anew = PromptContent(user="Another one: {{ question }}")
    await library.crud.create(MIA, "answer", anew, labels={}, write=writing("anew"))

    merged = await library.merge("brief", "formal")

    assert merged.latest.content == PromptContent(user="Sir: {{ question }}", system="Be brief.")


async def test_what_came_by_a_third_prompt_is_known_to_be_there(library: Branching) -> None:
    await library.fork("answer", "formal")
    await library.set("brief", system="Be brief.")
    await library.merge("answer", "brief")
    await library.merge("formal", "answer")
    await library.set("formal", system="Be kind.")  # it goes back on what brief had changed

    assert (await library.merge("formal", "brief")).latest.content.system == "Be kind."


async def test_where_merges_crossed_a_field_is_merged_only_if_all_bases_say_the_same(library: Branching) -> None:
    await library.set("answer", system="A")
    await library.set("brief", system="B")
    await library.merge("answer", "brief", version=2, resolutions={"system": "A and B"})
    await library.merge("brief", "answer", version=3, resolutions={"system": "B and A"})

    with pytest.raises(PromptMergeConflict, match="changed system since answer@3 and brief@2"):
        await library.merge("answer", "brief")


async def test_prompts_with_nothing_in_common_are_merged_by_resolutions_of_what_differs(library: Branching) -> None:
    await library.has("stranger", PromptContent(user="{{ question }}", system="Be strange."))

    with pytest.raises(PromptMergeConflict, match="answer@2 and stranger@1 have no version in common: system: give"):
        await library.merge("answer", "stranger")
    merged = await library.merge("answer", "stranger", resolutions={"system": "Be a little strange."})

    assert [each.text for each in merged.latest.merged_from] == ["stranger@1"]
    await library.set("stranger", user="Hm: {{ question }}")
    assert (await library.merge("answer", "stranger")).latest.content.user == "Hm: {{ question }}"


async def test_a_source_that_was_made_anew_is_another_prompt(library: Branching) -> None:
    await library.set("brief", system="Be brief.")
    await library.merge("answer", "brief")
    await library.crud.delete(MIA, "brief", writing("gone"))
    await library.has(
        "brief", PromptContent(user="{{ question }}", system="Other."), PromptContent(user="{{ question }}?")
    )

    with pytest.raises(PromptMergeConflict, match="have no version in common"):
        await library.merge("answer", "brief")


async def test_a_merge_is_checked_as_an_update_is(library: Branching) -> None:
    await library.set("brief", variables_schema=SCHEMA)
    await library.set("brief", user="{{ tone }}: {{ question }}")
    await library.merge("answer", "brief")
    await library.set("brief", system="Be {{ tone }}.")
    await library.set("answer", user="{{ question }}", variables_schema="")

    with pytest.raises(PromptRefused, match=r"content\.system: line 1: 'tone' is not known"):
        await library.merge("answer", "brief")
    with pytest.raises(InvalidInput, match="source: is answer itself"):
        await library.merge("answer", "acme/answer")
    with pytest.raises(InvalidInput, match="source"):
        await library.merge("answer", "")


async def test_a_merge_that_was_decided_on_an_older_state_is_refused_and_a_preview_stores_nothing(
    library: Branching,
) -> None:
    await library.set("brief", system="Be brief.")
    with pytest.raises(Conflict, match="etag 1"):
        await library.merge("answer", "brief", write=writing("m1", etag="1"))

    preview = await library.merge("answer", "brief", write=writing("m2", validate_only=True))

    assert preview.latest.content.system == "Be brief."
    assert (await library.prompts.get(ADA.project, "answer")).latest.number == 2

    class Meanwhile(SharedPrompts):
        async def get(self, project: str, name: str, /) -> Prompt:
            await library.set("answer", user="Now: {{ question }}")
            return await super().get(project, name)

    late = replace(library.branches, readable=Meanwhile(library.prompts, library.grants))
    with pytest.raises(Conflict):
        await late.merge(MIA, "answer", source="brief", version=0, resolutions={}, write=writing("m3"))
    assert (await library.merge("answer", "brief", write=writing("m3"))).latest.content.system == "Be brief."


async def test_a_label_that_is_moved_meanwhile_is_no_reason_to_refuse_a_merge(library: Branching) -> None:
    await library.set("brief", system="Be brief.")

    class Meanwhile(SharedPrompts):
        async def get(self, project: str, name: str, /) -> Prompt:
            await library.crud.label(MIA, "answer", "live", version=1, write=writing("l"))
            return await super().get(project, name)

    late = replace(library.branches, readable=Meanwhile(library.prompts, library.grants))

    merged = await late.merge(MIA, "answer", source="brief", version=0, resolutions={}, write=writing("m"))

    assert (merged.latest.content.system, merged.version_labels) == ("Be brief.", {"live": 1})
