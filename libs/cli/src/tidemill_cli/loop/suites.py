"""The schema of loop.yaml's section suites, and of files of cases."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tidemill_cli.loop.shapes import Declared, FromFile, Slug


class Turn(Declared):
    """An earlier message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: Annotated[str, Field(min_length=1)]


class Expectation(Declared):
    """What an answer has to be, decided without a judge; all that is stated has to hold."""

    must_not_contain: Annotated[list[str], Field(description="texts that may not be in the answer")] = Field(
        default_factory=list
    )
    must_match: Annotated[str, Field(description="RE2 that is found in the answer")] = ""
    must_refuse: Annotated[bool, Field(description="or say that it does not know")] = False
    must_answer: Annotated[bool, Field(description="and neither refuse nor say that it does not know")] = False
    must_be_json: Annotated[bool, Field(description="an object or an array, and nothing else")] = False


class Case(Declared):
    """A question with its reference answer, with a schema, or with what an answer has to be."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    question: Annotated[str, Field(min_length=1)]
    reference: str = ""
    expect: Expectation | None = None
    answer_schema: Annotated[
        dict[str, Any] | None, Field(alias="schema", description="a JSON Schema that answers have to follow")
    ] = None
    code_tests: Annotated[str, Field(description="Python that has to run after the code of an answer")] = ""
    labels: dict[str, str] = Field(default_factory=dict)
    earlier: Annotated[list[Turn], Field(description="messages before the question")] = Field(default_factory=list)
    variables: Annotated[dict[str, Any], Field(description="the prompt's variables")] = Field(default_factory=dict)
    principals: Annotated[list[str], Field(description="reader groups of the caller")] = Field(default_factory=list)

    @model_validator(mode="after")
    def _scored(self) -> Self:
        checked = self.expect is not None or self.answer_schema is not None or self.code_tests.strip()
        if not self.reference.strip() and not checked:
            message = "needs a reference, a schema, tests of code, or what to expect"
            raise ValueError(message)
        return self


class Suite(Declared):
    """Trusted cases, independent of feedback: inline, a file of JSON lines, or those that the evaluator ships."""

    cases: FromFile | Annotated[list[Case], Field(min_length=1)] | None = None
    shipped: Annotated[Slug | None, Field(description="see `tidemill suites shipped`")] = None
    languages: Annotated[list[str], Field(description="of shipped cases, as en; empty takes all")] = Field(
        default_factory=list
    )
    max_cases: Annotated[int, Field(ge=0, description="of shipped cases; 0 takes all")] = 0

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.cases is None) == (self.shipped is None):
            message = "use either cases, or shipped: NAME"
            raise ValueError(message)
        if self.shipped is None and (self.languages or self.max_cases):
            message = "languages and max_cases belong to shipped: NAME"
            raise ValueError(message)
        return self
