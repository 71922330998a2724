"""A prompt that only names texts is rendered as Jinja renders it, and every other one is left to Jinja."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill_core.errors import InvalidInput
from tidemill_inference.prompts import plain_templates
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.jinja_templates import JinjaTemplates
from tidemill_inference.prompts.ports import MAX_RENDERED_CHARACTERS, PromptInput

GIVEN = PromptInput(
    question="why? {{ summary }} <b>\r\n",
    summary="said",
    variables={"a": "x", "n": 7, "true": "no", "é": "y", "self": "I", "range": "far"},
)
PIECES = st.sampled_from(
    [
        *("{{ question }}", "{{question}}", "{{\tsummary }}", "{{ a }}", "{{ n }}", "{{ é }}", "{{ missing }}"),
        *(
            "{{ true }}",
            "{{ self }}",
            "{{ range }}",
            "{{ none }}",
            "{{- a -}}",
            "{{ a|upper }}",
            "{{ a }",
            "{ a }}",
            "{{ 'a' }}",
            "{{\na}}",
            "{{}}",
        ),
        *("{% if a %}", "{% endif %}", "{% raw %}", "{% endraw %}", "{# a #}", "{{", "}}", "{", "}", "%}", "#}", "#"),
        *("{{ self }}", "{{ range }}"),
        *("text", " ", "\n", "\r\n", "\r", "\f", "\x85", "\u2028", "-", "- {{ a }}", "{{ messages }}"),
    ]
)


@pytest.mark.heavy
@settings(max_examples=300, deadline=None)
@given(system=st.lists(PIECES, max_size=3), user=st.lists(PIECES, min_size=1, max_size=6))
def test_it_makes_what_jinja_makes_or_nothing(system: list[str], user: list[str]) -> None:
    content = PromptContent(system="".join(system), user="".join(user))

    if (plain := plain_templates.rendered(content, GIVEN)) is not None:
        assert plain == JinjaTemplates().render(content, GIVEN)


@pytest.mark.parametrize(
    "user", ["{{ question }}", "Answer:\n{{ question }}\n\n{{ summary }}", "{{ a }}, {{ question }}"]
)
def test_it_renders_prompts_that_only_name_texts(user: str) -> None:
    content = PromptContent(system="Be brief.", user=user)

    assert plain_templates.rendered(content, GIVEN) == JinjaTemplates().render(content, GIVEN)


@pytest.mark.parametrize(
    "user", ["{{ passages }}", "{{ n }}", "{{ missing }}", "{{ question|upper }}", "{% raw %}a", "{{{ a }}"]
)
def test_it_leaves_what_does_more_to_jinja(user: str) -> None:
    assert plain_templates.rendered(PromptContent(user=user), GIVEN) is None


def test_too_long_a_text_is_left_to_jinja_which_refuses_it() -> None:
    content = PromptContent(user="{{ question }}" * 4000)
    long = PromptInput(question="x" * MAX_RENDERED_CHARACTERS)

    assert plain_templates.rendered(content, long) is None
    with pytest.raises(InvalidInput):
        JinjaTemplates().render(content, long)
