import pytest

from services.inference.tests.fakes import HANDBOOK
from tidemill_core.errors import InvalidInput
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.prompts.domain.errors import PromptRefused
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.jinja_templates import MAX_SOURCE_CHARACTERS, JinjaTemplates
from tidemill_inference.prompts.ports import PromptInput

TEMPLATES = JinjaTemplates()


def content(user: str, *, system: str = "", schema: str = "") -> PromptContent:
    return PromptContent(user=user, system=system, variables_schema=schema)


def rendered(user: str) -> str:
    return TEMPLATES.render(content(user), PromptInput(question="why?", passages=HANDBOOK))[-1].text


def test_what_makes_no_difference_makes_no_version() -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}'
    plain = content("{{ question }} {{ a }}", schema=schema)
    same = content(
        "{# a comment #}{{ question }} {{ a }}\n\n",
        schema='{"properties": {"b": {}, "a": {"type": "string"}},\n "type": "object"}',
    )

    assert TEMPLATES.check(plain).digest == TEMPLATES.check(same).digest
    assert TEMPLATES.check(plain).digest != TEMPLATES.check(content("{{ question }}{{ a }}", schema=schema)).digest


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (content("one\n{% for p in passages %}"), r"content\.user: line 2: Unexpected end of template"),
        (content("one\n\n{{ questoin }}"), r"content\.user: line 3: 'questoin' is not known; there are memory"),
        (content("{{ question }}", system="{{ x }}"), r"content\.system: line 1: 'x' is not known"),
        (content("  "), r"content\.user: is required"),
        (content("{{ question | center(9) }}"), "No filter named 'center'"),
        (content("{% include 'other' %}"), "include is not supported"),
        (content("x" * (MAX_SOURCE_CHARACTERS + 1)), "the limit is 65536"),
        (content("{% for a in messages %}" * 3 + "{% endfor %}" * 3), "loops are nested more than 2 deep"),
        (content("{{ a }}", schema='{\n"properties"'), "line 2: is not JSON"),
        (content("{{ a }}", schema='{"properties": {"a": {"type": "strng"}}}'), r"schema\.properties\.a\.type"),
        (content("{{ question }}", schema='{"properties": {"question": {}}}'), "every template has already"),
    ],
)
def test_a_prompt_that_cannot_work_is_refused_where_it_is_wrong(bad: PromptContent, why: str) -> None:
    with pytest.raises(PromptRefused, match=why):
        TEMPLATES.check(bad)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(PromptRefused) as caught:
        TEMPLATES.check(content("{{ a }}{{ b }}", system="{{ c }}"))

    assert len(caught.value.violations) == 3


def test_a_template_sees_question_passages_and_earlier_messages() -> None:
    user = "{% for p in passages %}[{{ p.id }}] {{ p.text }} {% endfor %}{{ messages[0].role }}: {{ question }}  \n"
    given = PromptInput(question="why?", passages=HANDBOOK[:1], messages=[Message.of(Role.USER, "hi")])

    (message,) = TEMPLATES.render(content(user), given)

    assert message == Message.of(Role.USER, "[1] os.walk walks a directory tree. user: why?")


def test_what_a_user_wrote_is_text_and_never_a_template() -> None:
    given = PromptInput(question="{{ 7 * 7 }} <b>", variables={"tone": "{% for %}"})

    (message,) = TEMPLATES.render(content("{{ tone }} {{ question }}"), given)

    assert message.text == "{% for %} {{ 7 * 7 }} <b>"


@pytest.mark.parametrize(
    "user",
    [
        "{{ question.__class__ }}",
        "{{ 'a' * 100000000 }}",
        "{{ 'a'.ljust(100000000) }}",
        "{{ 9 ** 999999 }}",
        "{{ range(100000) | list }}",
        "{% for a in range(100) %}{% for b in range(100) %}{{ question * 1 }}{% endfor %}{% endfor %}",
        "{{ passages[7].text }}",
        "{{ passages[0].titel }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_reaches_out_or_grows_is_stopped(user: str) -> None:
    with pytest.raises(PromptRefused, match="cannot be rendered"):
        rendered(user)


def test_too_much_text_is_stopped_while_it_is_made() -> None:
    loop = "{% for a in range(100) %}{% for b in range(100) %}" + "x" * 200 + "{% endfor %}{% endfor %}"

    with pytest.raises(PromptRefused, match="makes more than"):
        rendered(loop)


def test_variables_fit_the_schema_or_are_refused_without_their_values() -> None:
    schema = '{"properties": {"tone": {"enum": ["kind"]}, "n": {"type": "integer"}}, "required": ["tone"]}'
    prompt = content("{{ tone }}", schema=schema)

    TEMPLATES.check_variables(prompt, {"tone": "kind", "n": 3.0})
    with pytest.raises(InvalidInput, match="'tone' is a required property"):
        TEMPLATES.check_variables(prompt, {})
    with pytest.raises(InvalidInput, match="other is not declared by the prompt; declared are n, tone"):
        TEMPLATES.check_variables(prompt, {"tone": "kind", "other": 1})
    with pytest.raises(InvalidInput) as caught:
        TEMPLATES.check_variables(prompt, {"tone": "my secret"})
    assert "my secret" not in caught.value.message


def test_a_schema_fetches_nothing_from_elsewhere() -> None:
    prompt = content("{{ question }}", schema='{"properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}}')

    with pytest.raises(InvalidInput, match="cannot be resolved"):
        TEMPLATES.check_variables(prompt, {"a": 1})
