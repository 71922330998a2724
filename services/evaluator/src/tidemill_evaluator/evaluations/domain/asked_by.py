"""What a question is asked by, in place of what a deployment has."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """A prompt that is saved nowhere: two Jinja templates, and the JSON Schema of its variables."""

    user: str
    system: str = ""
    variables_schema: str = ""

    @property
    def characters(self) -> int:
        """How long it is."""
        return len(self.user) + len(self.system) + len(self.variables_schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSampling:
    """How tokens are chosen; None leaves it to the deployment."""

    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    seed: int | None = None


AS_DEPLOYED = VariantSampling()
