"""From a deployment as declared to what answers: every reference resolved, or refused by name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, PageRequest
from tidemill_core.errors import InvalidInput
from tidemill_inference.caching.ports import SimilarQuestions
from tidemill_inference.conversations.domain.policy import ConversationPolicy
from tidemill_inference.deployments.domain.configuration import Configuration
from tidemill_inference.deployments.domain.errors import ReferenceNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.engines.ports import Models
from tidemill_inference.examples.ports import CheckingExamples
from tidemill_inference.generation.ports import Retriever
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_inference.rollouts.ports import Candidates

_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveConfiguration:
    """Asks the owners: the trainer for models, rag for the collection and the embedding model of a cache."""

    prompts: ReadPrompts
    models: Models
    retriever: Retriever
    candidates: Candidates
    questions: SimilarQuestions | None = None
    """Without it nothing is asked about the embedding model of a cache."""
    examples: CheckingExamples | None = None

    async def __call__(
        self,
        caller: Caller,
        spec: DeploymentSpec,
        *,
        kept_model: str = "",
        kept_prompt: str = "",
        live: Configuration | None = None,
    ) -> Configuration:
        """Return the configuration that a spec resolves to; `kept_model` and `kept_prompt` replace the spec's.

        What `live` uses already goes on, whatever policies have come since.

        Raises:
            InvalidInput: a reference is not written as one.
            ReferenceNotFound: a reference does not exist; the message lists what does.
            ApprovalMissing: people still have to agree to a version that it would use.
            ModelNotReady: a model was not imported, or not yet.
            ExamplesNotApproved, TooManyExamples: a dataset version cannot be chosen from.
            DependencyUnavailable: an owner does not answer.

        """
        prompt = await self._prompt(caller.project, Reference.of_prompt(kept_prompt or spec.prompt), live)
        Reference.parse("model", spec.model, shared=True)
        model = kept_model or await self._model(caller, "model", spec.model)
        fallback = [await self._model(caller, f"fallback[{at}]", each) for at, each in enumerate(spec.fallback)]
        retrieval = spec.retrieval
        if retrieval and retrieval.rewrite:
            retrieval = replace(retrieval, rewrite=await self._model(caller, "retrieval.rewrite", retrieval.rewrite))
        used = [model, *fallback, retrieval.rewrite if retrieval else ""]
        used += await self._conversation_models(caller, spec.conversation)
        for each in dict.fromkeys(used):
            if each and (live is None or each not in _models_of(live)):
                await self.candidates.check_approved(caller, each)
        if retrieval:
            await self.retriever.check(caller, retrieval)
        if self.questions and spec.cache and spec.cache.semantic:
            await self.questions.check(caller, spec.cache.semantic)
        examples = spec.examples
        if self.examples and examples:
            examples = await self.examples(caller, examples)
        return Configuration.of(
            model=model,
            prompt=prompt,
            retrieval=retrieval,
            sampling=spec.sampling,
            fallback=tuple(fallback),
            examples=examples,
        )

    async def _conversation_models(self, caller: Caller, policy: ConversationPolicy | None) -> list[str]:
        """Return the models that work on conversations, which have to be there; they answer nothing."""
        fields = ("summary_model", "memory_model") if policy else ()
        named = [(f"conversation.{field}", getattr(policy, field)) for field in fields]
        return [await self._model(caller, field, text) for field, text in named if text]

    async def equals(
        self, caller: Caller, spec: DeploymentSpec, live: Configuration, *, known: Collection[str] = ()
    ) -> Mapping[str, int]:
        """Return the models that are equal to the deployment's, with their weights; `known` are used already.

        Raises:
            As above; also InvalidInput where one of them is the deployment's model, or is there twice.

        """
        found: dict[str, int] = {}
        for name, weight in (spec.routing.equal_models if spec.routing else {}).items():
            field = f"routing.equal_models[{name}]"
            model = await self._model(caller, field, name)
            if model in found or model == live.model:
                raise InvalidInput.at(field, f"is {model}, which answers already: leave it out, or set its weight")
            if model not in known:
                await self.candidates.check_approved(caller, model)
            found[model] = weight
        return found

    async def _model(self, caller: Caller, field: str, text: str) -> str:
        Reference.parse(field, text, shared=True)
        return (await self.models.resolve(caller, text, field=field)).id

    async def _prompt(self, project: str, reference: Reference, live: Configuration | None) -> str:
        try:
            prompt = await self.prompts.get(project, reference.name)
        except PromptNotFound as error:
            known = await self.prompts.list(project, page=PageRequest(size=_SHOWN))
            raise ReferenceNotFound(reference.name, field="prompt", known=[each.id for each in known.items]) from error
        version = prompt.resolve(reference.pin)
        resolved = f"{reference.name}@{version.number}"
        if live is None or live.prompt != resolved:
            prompt.check_approved(version, named=reference.name)
        return resolved


def _models_of(live: Configuration) -> tuple[str, ...]:
    """Return the models that a configuration uses."""
    return (live.model, *live.fallback, live.retrieval.rewrite if live.retrieval else "")
