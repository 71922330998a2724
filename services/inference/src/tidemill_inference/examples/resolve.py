"""From examples as declared to one version each of dataset and embedding model."""

from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_inference.engines.ports import Models
from tidemill_inference.examples.domain.declared import LATEST, Examples, Selection
from tidemill_inference.examples.domain.errors import ExamplesNotApproved, TooManyExamples
from tidemill_inference.examples.ports import ChoosingExamples, DatasetVersions, QuestionVectors


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveExamples:
    """Asks ingest for the version, and rag whether the model embeds."""

    versions: DatasetVersions
    models: Models
    vectors: QuestionVectors
    max_examples: int
    """Of a set."""
    choosing: ChoosingExamples | None = None
    """Without it a project may have any number of sets."""

    async def __call__(self, caller: Caller, declared: Examples) -> Examples:
        """Return the examples by version.

        Raises:
            InvalidInput: the dataset, or the model, is not there, or the model cannot embed.
            ExamplesNotApproved: people still have to agree to the version.
            TooManyExamples: it has more than a set may have.
            TooManyExampleSets: the project has as many sets as it may have.
            DependencyUnavailable: an owner does not answer.

        """
        try:
            part = await self.versions.train_part(caller, declared.dataset.removesuffix(f"@{LATEST}"))
        except NotFound as error:
            field = "examples.dataset"
            raise InvalidInput.at(field, f"is {declared.dataset}: {error.message}") from error
        if part.missing_approvals:
            raise ExamplesNotApproved(part.version, missing=part.missing_approvals)
        if part.examples > self.max_examples:
            raise TooManyExamples(part.version, examples=part.examples, limit=self.max_examples)
        embedding = ""
        if declared.by is Selection.SIMILARITY:
            embedding = (await self.models.resolve(caller, declared.embedding, field="examples.embedding")).id
            await self.vectors.check(caller, embedding)
        resolved = replace(declared, dataset=part.version, embedding=embedding)
        if self.choosing:
            await self.choosing.check(caller.project, resolved)
        return resolved
