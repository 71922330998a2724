"""The schema of loop.yaml; the JSON Schema is generated from these models and those of `learning`."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tidemill_cli.loop.answering import Retrieval, Sampling
from tidemill_cli.loop.examples import ShownExamples
from tidemill_cli.loop.experiments import Experiment
from tidemill_cli.loop.feedback_metrics import Metric
from tidemill_cli.loop.judges import Judge
from tidemill_cli.loop.learning import Approval, Dataset, Gate, Training
from tidemill_cli.loop.polled import S3, Git
from tidemill_cli.loop.protected_labels import ProtectedLabels
from tidemill_cli.loop.review_queues import ReviewQueue
from tidemill_cli.loop.rolling import Rollout
from tidemill_cli.loop.shapes import (
    SHARED_REFERENCE,
    SLUG,
    VERSION,
    Declared,
    Duration,
    FromFile,
    Reference,
    SecretName,
    Share,
    SharedReference,
    ShortDuration,
    Slug,
)
from tidemill_cli.loop.spending import Budget, Price
from tidemill_cli.loop.suites import Suite


def _source_address(value: str) -> str:
    if value.split(":", 1)[0] in {"hf", "file", "openai"} and value.split(":", 1)[-1] != value:
        return value
    message = "must be hf:OWNER/NAME[@REVISION], file:FOLDER or openai:MODEL"
    raise ValueError(message)


class Metadata(Declared):
    """The loop's name and labels."""

    name: Slug
    labels: dict[str, str] = Field(default_factory=dict)


class Secret(Declared):
    """The name of a secret; inference resolves its value."""

    secret: SecretName


class Model(Declared):
    """A base model: a folder, a Hugging Face hub repository, or a model behind an OpenAI-compatible endpoint."""

    source: Annotated[str, AfterValidator(_source_address)]
    base_url: str | None = None
    api_key: Secret | None = None
    approval: Approval = Approval()


class Derived(Declared):
    """A model whose versions `tidemill models derive` makes, so that gates and deployments may name it.

    Applying the file makes none.
    """

    source: Annotated[Slug, Field(description="the training, model or derived model that they are made of")]


MaskKind = Literal[
    "email", "phone", "credential", "card", "iban", "ip", "national_id", "person", "place", "organisation"
]


class Quality(Declared):
    """What texts must be like; documents that break a rule are withheld. 0 is no rule."""

    languages: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]],
        Field(max_length=50, description="languages that are accepted: en, de, fr, ...; none accepts all"),
    ] = Field(default_factory=list)
    min_characters: Annotated[int, Field(ge=0)] = 0
    max_characters: Annotated[int, Field(ge=0)] = 0
    min_letters: Annotated[Share, Field(description="least share of letters and digits")] = 0.0
    max_symbols: Annotated[Share, Field(description="greatest share of symbols")] = 0.0
    max_repeated_lines: Annotated[Share, Field(description="greatest share of lines that repeat another one")] = 0.0
    max_repeated_words: Annotated[
        Share, Field(description="greatest share of words in runs of five that occur more than once")
    ] = 0.0
    duplicates: Annotated[
        Literal["keep", "link", "reject"] | None,
        Field(description="what becomes of texts that other documents have; left out, none are compared"),
    ] = None
    min_similarity: Annotated[
        float, Field(ge=0, le=1, description="from which on texts are duplicates: 0.8 to 1; 0 is 0.8")
    ] = 0.0
    boilerplate: Annotated[
        Literal["keep", "remove"] | None,
        Field(description="whether parts that repeat across the source's documents, such as menus, are searched"),
    ] = None


class Source(Declared):
    """A source of documents."""

    events: str = ""
    mask: list[MaskKind] | Literal["none"] | None = None
    names: (
        Annotated[
            str,
            Field(
                pattern=r"^([a-z0-9-]+/)?[a-z0-9_-]+@[1-9][0-9]*$",
                description="version of a model that finds names of persons, places and organisations, such as names@1",
            ),
        ]
        | None
    ) = None
    reject_personal_data: Annotated[
        bool, Field(description="refuse documents in which anything of `mask` is found, instead of masking it")
    ] = False
    pseudonyms: Annotated[
        bool,
        Field(description="put a pseudonym in place of what `mask` and `names` find: the same for the same value"),
    ] = False
    retention: Duration | None = None
    quality: Quality = Quality()
    s3: Annotated[S3 | None, Field(description="a bucket that its documents are fetched from")] = None
    git: Annotated[Git | None, Field(description="a repository that its documents are fetched from")] = None


class Chunk(Declared):
    """Chunking of documents."""

    by: Annotated[
        Literal["structure", "sentence", "window", "rows"],
        Field(description="rows: each row of a table is a passage; sentence and window: across paragraphs"),
    ] = "structure"
    max_tokens: Annotated[int, Field(ge=16, le=8192)] = 256
    overlap_tokens: Annotated[int, Field(ge=0, le=1024)] = 32


class Sparse(Declared):
    """Sparse vectors beside the embedding's: searches find terms, too."""

    by: Annotated[Literal["bm25", "none"], Field(description="none: passages are searched by vectors alone")] = "bm25"
    languages: Annotated[
        list[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]],
        Field(
            max_length=5, description="languages of the documents, whose words are reduced to stems: en, de, fr, ..."
        ),
    ] = Field(default_factory=lambda: ["en"])


class Rerank(Declared):
    """A model that orders the best passages by reading each together with the question."""

    model: Annotated[str, Field(pattern=VERSION, description="model@version: a cross-encoder")]
    candidates: Annotated[int, Field(ge=1, le=100, description="how many of the best passages it orders")] = 20


class Search(Declared):
    """Ranking of passages; a change builds no index."""

    dense_weight: Annotated[float, Field(ge=0, le=100, description="weight of the ranking by vectors")] = 1.0
    sparse_weight: Annotated[float, Field(ge=0, le=100, description="weight of the ranking by terms")] = 0.7
    min_score: Annotated[
        float, Field(ge=0, le=1, description="passages with a lower score are left out; 0 leaves none out")
    ] = 0.0
    diversity: Annotated[
        float, Field(ge=0, le=1, description="what a passage loses by being like a better one (MMR); 0 is off")
    ] = 0.0
    neighbours: Annotated[
        int, Field(ge=0, le=5, description="passages before and after a found one that are returned with it")
    ] = 0
    rerank: Rerank | None = None
    answerable_above: Annotated[
        float,
        Field(ge=0, le=1, description="a question finds nothing where its best passage scores lower; 0 refuses none"),
    ] = 0.0
    identifiers_required: Annotated[
        bool, Field(description="a question finds nothing that names an identifier (M-4200) which no good passage has")
    ] = False


class Collection(Declared):
    """A searchable index over sources."""

    sources: Annotated[list[Slug], Field(min_length=1)]
    embedding: Reference
    chunk: Chunk = Chunk()
    sparse: Annotated[
        Sparse | None,
        Field(description="a new collection has bm25 in English; left out, one that exists keeps its own"),
    ] = None
    search: Search = Search()
    go_live: Annotated[
        Literal["when_complete", "by_rollout"] | None,
        Field(
            description="by_rollout: new index versions and changes of search wait for a promotion; left out, it stays"
        ),
    ] = None


class Prompt(Declared):
    """A prompt template; changed content becomes a new version."""

    system: str | FromFile = ""
    user: str | FromFile
    variables: dict[str, Any] | FromFile | None = None
    approval: Approval = Approval()
    protect: ProtectedLabels | None = None


class Conversation(Declared):
    """What answers are given of a conversation."""

    max_turns: Annotated[int, Field(ge=1, le=100, description="at most this many of the last turns")] = 20
    max_history_tokens: Annotated[
        int, Field(ge=0, description="at most this many tokens of them; 0 is half of the model's context")
    ] = 0
    summary_model: Annotated[
        SharedReference | None, Field(description="summarises the turns before these; without it they are cut")
    ] = None
    memory_model: Annotated[
        SharedReference | None, Field(description="finds what end users state about themselves, which is remembered")
    ] = None


class Follow(Declared):
    """A model that is changed by rollouts, never by applying the file."""

    follow: Annotated[
        str, Field(pattern=SLUG, description="the training, or derived model, whose versions are rolled out")
    ]
    start_with: Annotated[str, Field(pattern=SHARED_REFERENCE, description="the model until the first promotion")]


class LivePrompt(Declared):
    """A prompt, and when its new versions answer."""

    name: Annotated[str, Field(pattern=SHARED_REFERENCE)]
    go_live: Annotated[
        Literal["when_applied", "by_rollout"],
        Field(description="by_rollout: a new version answers when its gate and rollout say so, never by applying"),
    ] = "when_applied"


class Routing(Declared):
    """What happens where models fail or are slow; a change needs no rollout."""

    retries: Annotated[int, Field(ge=0, le=10, description="retries of a model before its fallback answers")] | None = (
        None
    )
    first_token_timeout: ShortDuration | None = None
    token_timeout: ShortDuration | None = None
    hedge_after: (
        Annotated[
            ShortDuration,
            Field(description="time without a token after which a second attempt starts beside the first"),
        ]
        | None
    ) = None
    equal_models: dict[Annotated[str, Field(pattern=SHARED_REFERENCE)], Annotated[int, Field(ge=1, le=1000)]] = Field(
        default_factory=dict, max_length=16, description="models that answer as the deployment's does, with weights"
    )
    weight: Annotated[int, Field(ge=1, le=1000, description="the weight of the deployment's model")] = 1
    balance: Literal["weighted", "least_busy", "prefix"] = "weighted"


class SemanticCache(Declared):
    """Similar questions get the same answer, by the cosine similarity of their embeddings."""

    embedding: Reference
    threshold: Annotated[float, Field(ge=0.7, le=1, description="the lowest cosine similarity of two questions")] = 0.99


class Cache(Declared):
    """Answers that are given again to equal or similar questions; a change needs no rollout."""

    ttl: Duration
    semantic: SemanticCache | None = None


class Deployment(Declared):
    """A serving configuration under a stable name."""

    model: SharedReference | Follow
    prompt: SharedReference | LivePrompt
    retrieval: Retrieval | None = None
    sampling: Sampling = Sampling()
    fallback: list[SharedReference] = Field(default_factory=list)
    routing: Routing | None = None
    cache: Cache | None = None
    examples: ShownExamples | None = None
    deadline: Duration = timedelta(seconds=60)
    record: Literal["full", "metadata", "none"] = "full"
    record_days: int = Field(default=0, ge=0, le=3650)
    allow_sampling_override: bool = False
    conversation: Conversation | None = None
    engine: Literal["", "transformers", "vllm"] = ""

    @property
    def prompt_name(self) -> str:
        """The prompt, as it is named."""
        return self.prompt.name if isinstance(self.prompt, LivePrompt) else self.prompt

    @property
    def followed_prompt(self) -> str:
        """The prompt whose new versions go live by rollout, "" where applying them does."""
        by_rollout = isinstance(self.prompt, LivePrompt) and self.prompt.go_live == "by_rollout"
        return self.prompt_name if by_rollout else ""


class Loop(Declared):
    """The whole file."""

    api_version: Annotated[Literal["tidemill.dev/v1"], Field(alias="apiVersion")]
    kind: Literal["Loop"]
    metadata: Metadata
    models: dict[Slug, Model] = Field(default_factory=dict)
    sources: dict[Slug, Source] = Field(default_factory=dict)
    collections: dict[Slug, Collection] = Field(default_factory=dict)
    prompts: dict[Slug, Prompt] = Field(default_factory=dict)
    deployments: dict[Slug, Deployment] = Field(default_factory=dict)
    prices: dict[Slug, Price] = Field(default_factory=dict)
    budgets: dict[Slug, Budget] = Field(default_factory=dict)
    metrics: dict[Slug, Metric] = Field(default_factory=dict)
    reviews: dict[Slug, ReviewQueue] = Field(default_factory=dict)
    datasets: dict[Slug, Dataset] = Field(default_factory=dict)
    training: dict[Slug, Training] = Field(default_factory=dict)
    derived: dict[Slug, Derived] = Field(default_factory=dict)
    suites: dict[Slug, Suite] = Field(default_factory=dict)
    judges: dict[Slug, Judge] = Field(default_factory=dict)
    gates: dict[Slug, Gate] = Field(default_factory=dict)
    rollouts: dict[Slug, Rollout] = Field(default_factory=dict)
    experiments: dict[Slug, Experiment] = Field(default_factory=dict)


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of the file (draft 2020-12)."""
    schema = Loop.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "loop.v1.schema.json", **schema}
