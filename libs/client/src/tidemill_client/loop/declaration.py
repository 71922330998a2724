"""The shape of loop.yaml; its JSON Schema is generated from these models.

Sections that no service serves yet (datasets, training, suites, gates, rollouts) are refused by name.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

SLUG = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$"
REFERENCE = r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?(@[a-z0-9_-]{1,63})?$"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

Slug = Annotated[str, Field(pattern=SLUG)]
Reference = Annotated[str, Field(pattern=REFERENCE, description="name, name@version or name@label")]


def _duration(value: object) -> object:
    """Read "90s", "30m", "24h" or "730d"."""
    if isinstance(value, str) and value[:-1].isdigit() and value[-1:] in _UNITS:
        return timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])
    message = "write a whole number and a unit: 90s, 30m, 24h or 730d"
    raise ValueError(message)


def _source_address(value: str) -> str:
    if value.split(":", 1)[0] in {"hf", "file", "openai"} and value.split(":", 1)[-1] != value:
        return value
    message = "write hf:OWNER/NAME[@REVISION], file:FOLDER or openai:MODEL"
    raise ValueError(message)


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[smhd]$", "examples": ["60s", "730d"]}),
]


class Declared(BaseModel):
    """Every part of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Metadata(Declared):
    """The loop's own name and marks."""

    name: Slug
    labels: dict[str, str] = {}


class Secret(Declared):
    """The name of a secret; the service that uses it finds its value."""

    secret: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,127}$")]


class FromFile(Declared):
    """Text that lives in a file beside the loop's."""

    file: str


class Model(Declared):
    """A base model: a folder, a repository of the Hugging Face hub, or one behind an OpenAI-compatible endpoint."""

    source: Annotated[str, AfterValidator(_source_address)]
    base_url: str | None = None
    api_key: Secret | None = None


class Source(Declared):
    """Where documents come from."""

    events: str = ""
    mask: list[Literal["email", "phone", "credential", "card", "iban", "ip"]] | Literal["none"] | None = None
    retention: Duration | None = None


class Chunk(Declared):
    """How documents are cut."""

    by: Literal["structure"] = "structure"
    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 256
    overlap_tokens: Annotated[int, Field(ge=0, le=1024)] = 32


class Collection(Declared):
    """Sources made searchable in one way."""

    sources: Annotated[list[Slug], Field(min_length=1)]
    embedding: Reference
    chunk: Chunk = Chunk()


class Prompt(Declared):
    """A template; changed content is the next version."""

    system: str | FromFile = ""
    user: str | FromFile
    variables: dict[str, Any] | FromFile | None = None


class Retrieval(Declared):
    """Where passages come from."""

    collection: Slug
    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    index: Annotated[int, Field(ge=1)] | None = None
    filter: dict[str, Any] = {}


class Sampling(Declared):
    """How tokens are chosen."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    stop: Annotated[list[str], Field(max_length=4)] = []


class Deployment(Declared):
    """What answers under one name."""

    model: Reference
    prompt: Reference
    retrieval: Retrieval | None = None
    sampling: Sampling = Sampling()
    fallback: list[Reference] = []
    deadline: Duration = timedelta(seconds=60)
    record: Literal["full", "metadata", "none"] = "full"
    allow_sampling_override: bool = False


class Loop(Declared):
    """The whole file."""

    api_version: Annotated[Literal["tidemill.dev/v1"], Field(alias="apiVersion")]
    kind: Literal["Loop"]
    metadata: Metadata
    models: dict[Slug, Model] = {}
    sources: dict[Slug, Source] = {}
    collections: dict[Slug, Collection] = {}
    prompts: dict[Slug, Prompt] = {}
    deployments: dict[Slug, Deployment] = {}


LATER = ("datasets", "training", "suites", "gates", "rollouts")
"""Sections of the format that no service serves yet."""


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of the file (draft 2020-12)."""
    schema = Loop.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "loop.v1.schema.json", **schema}
