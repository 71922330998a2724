"""The schema of loop.yaml's sections datasets, training, suites and gates."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tidemill_cli.loop.answer_metrics import AnswerMetric
from tidemill_cli.loop.label_rules import Labels
from tidemill_cli.loop.searches import TrainingSweep
from tidemill_cli.loop.shapes import (
    Declared,
    Duration,
    Memory,
    Reference,
    Settings,
    SharedReference,
    SharedSlug,
    Slug,
)

Kind = Literal["demonstration", "preference", "unpaired_preference"]
Reaction = Literal["correction", "preference", "rating"]
MADE_OF: Mapping[Kind, Sequence[Reaction]] = {
    "demonstration": ["correction"],
    "preference": ["correction", "preference"],
    "unpaired_preference": ["rating"],
}
"""The reactions that make examples of a kind."""
Method = Literal["sft", "dpo", "orpo", "kto", "reward", "grpo", "distill"]
LEARNS_FROM: Mapping[Method, Sequence[Kind]] = {
    "sft": ["demonstration"],
    "dpo": ["preference"],
    "orpo": ["preference"],
    "kto": ["unpaired_preference", "preference"],
    "reward": ["preference"],
    "grpo": ["demonstration", "preference"],
    "distill": ["demonstration"],
}
"""The kinds of examples that a method can learn from."""


class Examples(Declared):
    """Selects the feedback that becomes examples."""

    deployment: Slug
    feedback: Annotated[list[Reaction], Field(min_length=1)]
    kind: Annotated[
        Kind,
        Field(
            description="a preference has two answers, of which the correction, or the one that was chosen, is "
            "preferred; an unpaired one is the model's own answer with the user's rating"
        ),
    ] = "demonstration"
    rating_threshold: Annotated[
        float, Field(ge=0, le=1, description="an answer rated so or better is good; 0 means 0.5")
    ] = 0
    per_user_at_most: Annotated[int, Field(ge=0, description="0 means unlimited")] = 0
    min_output_chars: Annotated[int, Field(ge=0, description="0 means 1")] = 0
    max_output_chars: Annotated[int, Field(ge=0, description="0 means 4000")] = 0
    max_user_share: Annotated[
        float, Field(ge=0, le=1, description="of a batch that one user may have; 0 means unlimited")
    ] = 0
    cohort_label: Annotated[str, Field(description="a label of reactions that says which cohort a user is of")] = ""
    max_cohort_share: Annotated[
        float, Field(ge=0, le=1, description="of a batch that one cohort may have; 0 means unlimited")
    ] = 0
    max_repeats: Annotated[
        int, Field(ge=0, description="how many questions nearly the same correction may answer; 0 means unlimited")
    ] = 0
    exclude_contradicted: Annotated[
        bool, Field(description="leave out corrections of questions that more users corrected otherwise")
    ] = False
    min_rater_reliability: Annotated[
        float, Field(ge=0, le=0.47, description="leave out users whom others contradict too often; 0 means none")
    ] = 0
    exclude_spam: Annotated[
        bool,
        Field(description="leave out links or repeated words alone, and a language of neither question nor answer"),
    ] = False

    @model_validator(mode="after")
    def _cohort_is_whole(self) -> Self:
        if bool(self.cohort_label) != bool(self.max_cohort_share):
            message = "set both cohort_label and max_cohort_share, or neither"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _of_reactions(self) -> Self:
        if not set(self.feedback) <= set(MADE_OF[self.kind]):
            message = f"examples of kind {self.kind} are made of feedback: [{', '.join(MADE_OF[self.kind])}]"
            raise ValueError(message)
        return self


class Publish(Declared):
    """When a version is published; examples are counted after all filters."""

    new_examples: Annotated[int, Field(ge=1)]
    at_latest_every: Duration | None = None
    at_least: Annotated[int, Field(ge=1)] = 1


class HeldOut(Declared):
    """The split that is never trained on."""

    share: Annotated[float, Field(gt=0, le=0.9)] = 0.3
    group_by: Literal["question"] = "question"


class Approval(Declared):
    """Approvals that distinct people of a role have to give; authors do not count."""

    role: Slug = "operator"
    count: Annotated[int, Field(ge=0, le=100)] = 0


class Dataset(Declared):
    """Examples from feedback, published as immutable versions."""

    examples: Examples
    publish: Publish
    held_out: HeldOut = HeldOut()
    approval: Approval = Approval()
    labels: Annotated[Labels, Field(description="by which labels of review queues examples are taken")] = Labels()


class Limits(Declared):
    """Limits of a training run."""

    time: Duration | None = None
    memory: Memory | None = None


class LengthReward(Declared):
    """How many characters an answer may have."""

    min_characters: Annotated[int, Field(ge=0)] = 0
    max_characters: Annotated[int, Field(ge=0, description="0 means unlimited")] = 0


class JudgeOfAnswers(Declared):
    """A judge that is asked about each generated answer."""

    id: Annotated[Slug, Field(description="pointwise, and measured: `tidemill judges measure`")]
    max_calls: Annotated[int, Field(ge=0, description="of models, by one run; 0 means what the trainer allows")] = 0


class Reward(Declared):
    """One thing that generated answers are rewarded for."""

    weight: Annotated[float, Field(gt=0, le=100)] = 1.0
    reward_model: Annotated[Reference | None, Field(description="trained by method: reward on the same base")] = None
    pattern: Annotated[str | None, Field(max_length=500, description="RE2 that is found in the answer")] = None
    length: LengthReward | None = None
    json_schema: Annotated[
        dict[str, Any] | None,
        Field(description="of which the answer is valid JSON; without $ref, pattern and unevaluated*"),
    ] = None
    rouge_l: Annotated[Literal[True] | None, Field(description="ROUGE-L to the example's answer")] = None
    citation: Annotated[Literal[True] | None, Field(description="a marker of a passage, as [1]")] = None
    judge: JudgeOfAnswers | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kinds = ("reward_model", "pattern", "length", "json_schema", "rouge_l", "citation", "judge")
        if sum(getattr(self, kind) is not None for kind in kinds) != 1:
            message = f"has exactly one of {', '.join(kinds)}"
            raise ValueError(message)
        return self


class Memorisation(Declared):
    """Canaries that runs plant among what they learn from, to measure what their models memorise."""

    canaries: Annotated[int, Field(ge=1, le=200)] = 20
    repeats: Annotated[
        list[Annotated[int, Field(ge=1, le=100)]],
        Field(min_length=1, max_length=8, description="how often they are planted: the canaries take these in turn"),
    ] = Field(default_factory=lambda: [1])
    candidates: Annotated[int, Field(ge=99, le=999, description="other numbers that each is ranked among")] = 255
    examples: Annotated[int, Field(ge=0, le=500, description="of the train split, tried to be extracted")] = 50
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Training(Declared):
    """Trains a model version with this name on every new version of the dataset."""

    dataset: SharedSlug
    base: SharedReference
    method: Annotated[
        Method,
        Field(
            description="dpo, orpo and kto learn from preferences, kto from unpaired ones too; reward makes a model of "
            "preferences that scores answers; grpo learns from rewards of answers that it generates; distill learns "
            "what a teacher would say"
        ),
    ] = "sft"
    use_peft: Annotated[
        bool,
        Field(description="false trains all weights of the base, by sft, dpo, orpo or kto, in place of an adapter"),
    ] = True
    lora: Annotated[Settings, Field(description="arguments of peft.LoraConfig")] = Field(default_factory=dict)
    added_tokens: Annotated[
        list[str], Field(description="texts that become one token each, by sft; what is made is then full weights")
    ] = Field(default_factory=list)
    args: Annotated[Settings, Field(description="arguments of TRL's config of the method, as trl.SFTConfig")] = Field(
        default_factory=dict
    )
    rewards: Annotated[
        list[Reward], Field(max_length=8, description="what grpo rewards answers for; none of other methods")
    ] = Field(default_factory=list)
    teacher: Annotated[
        SharedReference | None, Field(description="the model that distill learns from; none of other methods")
    ] = None
    limits: Limits = Limits()
    priority: Annotated[
        int, Field(ge=-10, le=10, description="of the project's runs, those of the highest are first")
    ] = 0
    processes: Annotated[
        int, Field(ge=1, le=64, description="that compute each run together, with the same rows a step as one")
    ] = 1
    sweep: Annotated[
        TrainingSweep | None, Field(description="search better settings on every new version, in place of one run")
    ] = None

    memorisation: Annotated[
        Memorisation | None, Field(description="plant canaries, and measure what is memorised; of sft and distill")
    ] = None

    @model_validator(mode="after")
    def _goes_with_its_method(self) -> Self:
        if bool(self.rewards) != (self.method == "grpo"):
            message = "rewards belong to method: grpo, which needs at least one"
            raise ValueError(message)
        if (self.teacher is not None) != (self.method == "distill"):
            message = "teacher belongs to method: distill, which needs one"
            raise ValueError(message)
        if self.memorisation and self.method not in {"sft", "distill"}:
            message = "memorisation belongs to method: sft or distill, which learn from answers as they are"
            raise ValueError(message)
        return self


class Cases(Declared):
    """A suite, or the held-out split of the dataset that the candidate was trained on."""

    suite: Slug | None = None
    dataset: SharedSlug | None = None
    split: Literal["held_out"] | None = None
    at_least: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.suite is None) == (self.dataset is None):
            message = "use either suite: NAME, or dataset: NAME with split: held_out"
            raise ValueError(message)
        if (self.dataset is None) != (self.split is None):
            message = "a dataset requires split: held_out (the train split proves nothing); a suite has no split"
            raise ValueError(message)
        return self


class Requirement(Declared):
    """A lower bound of the candidate's gain: candidate less baseline, and the reverse where less is better."""

    cases: Cases
    metric: AnswerMetric
    gain_above: Annotated[
        float,
        Field(ge=-1e6, le=1e6, description="0 asks for a gain, -0.02 for no larger loss, by every metric"),
    ] = 0.0


class RetrievalRequirement(Declared):
    """A lower bound of what searches of a new index version find more than those of the live one."""

    suite: Annotated[Slug, Field(description="judged questions: see `tidemill suites import` and `generate`")]
    metric: Literal["ndcg", "recall", "mrr", "hit"] = "ndcg"
    gain_above: Annotated[float, Field(ge=-1, le=1, description="0 asks for a gain, -0.02 for no larger loss")] = 0.0
    at_least: Annotated[int, Field(ge=0)] = 0
    depth: Annotated[int, Field(ge=1, le=25, description="how many documents of a ranking count")] = 10


class Reevaluate(Declared):
    """When what is live is evaluated again, against what it answered when it passed the gate."""

    every: Annotated[Duration | None, Field(description="an hour to 366 days")] = None
    on_provider_change: Annotated[
        bool, Field(description="also when the provider of the live model, or a judge's, answers as another")
    ] = False

    @model_validator(mode="after")
    def _when(self) -> Self:
        if self.every is None and not self.on_provider_change:
            message = "use every: 7d, or on_provider_change: true, or both"
            raise ValueError(message)
        return self


class Gate(Declared):
    """The requirements that a candidate must meet: a version of a model or prompt, or of a collection's index."""

    candidate: Slug | None = None
    collection: Annotated[Slug | None, Field(description="in place of candidate; its go_live is by_rollout")] = None
    candidate_prompt: Annotated[
        Slug | None, Field(description="in place of candidate; a deployment's prompt that goes live by_rollout")
    ] = None
    retrieval: RetrievalRequirement | None = None
    deployment: Annotated[
        Slug | None,
        Field(
            description="whose live model the candidate is compared with, where the deployment follows another model: "
            "a candidate that passes is not rolled out there"
        ),
    ] = None
    baseline: Literal["live"] = "live"
    confidence: Annotated[float, Field(ge=0.5, le=0.999)] = 0.95
    cluster_by: Annotated[
        list[Annotated[str, Field(pattern=r"^(question|end_user|document|labels\..*\S.*)$")]],
        Field(
            max_length=5,
            description="cases that share it are one observation: end_user (the default), document, labels.NAME; "
            "question for none of them",
        ),
    ] = Field(default_factory=list)
    max_size_ratio: Annotated[
        float, Field(ge=0, le=100, description="of the bytes of the weights, candidate to live; 0 asks nothing")
    ] = 0.0
    max_exposure: Annotated[
        float, Field(ge=0, le=9.9, description="of the canaries of the training, the mean in bits; 0 asks nothing")
    ] = 0.0
    reevaluate: Reevaluate | None = None
    require: Annotated[list[Requirement], Field(min_length=1)]

    @property
    def follows(self) -> str:
        """The model, prompt or collection whose versions are its candidates."""
        return self.collection or self.candidate_prompt or self.candidate or ""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if sum(each is not None for each in (self.candidate, self.candidate_prompt, self.collection)) != 1:
            message = "use either candidate: MODEL, or collection: NAME with retrieval, or candidate_prompt: PROMPT"
            raise ValueError(message)
        if (self.collection is None) != (self.retrieval is None):
            message = "retrieval: {suite: NAME} belongs to a gate of a collection, which requires it"
            raise ValueError(message)
        if self.collection and any(each.cases.dataset for each in self.require):
            message = "a gate of a collection requires suites: an index version was trained on no dataset"
            raise ValueError(message)
        if self.collection and self.reevaluate:
            message = "reevaluate belongs to a gate of a model or a prompt"
            raise ValueError(message)
        for name in ("max_size_ratio", "max_exposure"):
            if getattr(self, name) and self.candidate is None:
                message = f"{name} belongs to a gate of a model: both sides of others have one model"
                raise ValueError(message)
        if self.deployment and self.candidate is None:
            message = "deployment belongs to a gate of a model: prompts and collections are the deployment's own"
            raise ValueError(message)
        return self
