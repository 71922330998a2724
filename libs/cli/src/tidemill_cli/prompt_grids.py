"""Variants of a prompt test from the options of a command: each prompt by each model by each temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent
from tidemill.trainer.v1.model_registry_service_pb2 import GetModelVersionRequest
from tidemill_client.connection import Connection
from tidemill_client.declared import Deployments, Prompts
from tidemill_client.prompt_tests import Unsaved, Variant
from tidemill_core.errors import InvalidInput

LIVE = "live"
_FILE = "file:"
_MAX_PATH = 50
"""Characters of a file in a variant's name, which may have 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedGrid:
    """What a command names; what it does not is as the deployment has it live."""

    deployments: Sequence[str] = ()
    prompts: Sequence[str] = ()
    models: Sequence[str] = ()
    temperatures: Sequence[float] = ()
    max_output_tokens: int = 0

    async def variants(self, connection: Connection) -> list[Variant]:
        """Return every combination, in the order in which they are named.

        Raises:
            InvalidInput: there are several deployments and none is named, or a file cannot be read.
            NotFound: something named is not there.

        """
        found = [await self._deployment(connection, name) for name in self.deployments or [""]]
        temperatures: list[float | None] = [*self.temperatures] or [None]
        models = [await _model(connection, name) for name in self.models or [LIVE]]
        return [
            await self._variant(connection, *each)
            for each in product(found, self.prompts or [LIVE], models, temperatures)
        ]

    async def _deployment(self, connection: Connection, name: str) -> Deployment:
        deployments = Deployments(connection)
        if name:
            return await deployments.get(name)
        known = [each async for each in deployments.all()]
        if len(known) != 1:
            names = ", ".join(each.id for each in known) or "none yet"
            raise InvalidInput.at(field="deployment", text=f"is required: the project has {names}")
        return known[0]

    async def _variant(
        self, connection: Connection, deployment: Deployment, prompt: str, model: str, temperature: float | None
    ) -> Variant:
        sampling: dict[str, float] = {} if temperature is None else {"temperature": temperature}
        if self.max_output_tokens:
            sampling["max_output_tokens"] = self.max_output_tokens
        unsaved, named = None, ""
        if prompt.startswith(_FILE):
            unsaved = _unsaved(prompt.removeprefix(_FILE), await _content(connection, deployment.live.prompt))
            await _check(connection, deployment.live.prompt.partition("@")[0], unsaved)
        elif prompt != LIVE:
            named = await _version(connection, prompt)
        return Variant(
            name=self._name(deployment, named or _shown(prompt), model, temperature),
            deployment=deployment.id,
            prompt=named,
            unsaved=unsaved,
            model="" if model == LIVE else model,
            sampling=sampling,
        )

    def _name(self, deployment: Deployment, prompt: str, model: str, temperature: float | None) -> str:
        """Return what a variant differs by."""
        parts = [deployment.id] if len(self.deployments) > 1 else []
        parts += [prompt if prompt != LIVE else deployment.live.prompt] if self.prompts or not self.models else []
        parts += [model if model != LIVE else deployment.live.model] if self.models else []
        parts += [f"t={temperature:g}"] if temperature is not None else []
        return ", ".join(parts)


def _shown(prompt: str) -> str:
    """Return the prompt as a variant's name has it: a long path by its last part."""
    if not prompt.startswith(_FILE) or len(prompt) <= _MAX_PATH:
        return prompt
    return f"{_FILE}{Path(prompt).name}"[:_MAX_PATH]


async def _model(connection: Connection, name: str) -> str:
    """Return `model@version`; a name alone is the newest one that is ready."""
    if name == LIVE or "@" in name:
        return name
    return (await connection.models.GetModelVersion(GetModelVersionRequest(id=name))).version.id


async def _prompt(connection: Connection, reference: str) -> Prompt:
    return await Prompts(connection).get(reference.partition("@")[0])


async def _content(connection: Connection, version: str) -> PromptContent:
    """Return the content of `prompt@version`."""
    found, number = await _prompt(connection, version), version.partition("@")[2]
    return next((each.content for each in found.versions if str(each.number) == number), found.content)


async def _check(connection: Connection, name: str, unsaved: Unsaved) -> None:
    """Have inference check a prompt as it would the next version of the live one; nothing is saved.

    Raises:
        InvalidInput: a template cannot be used, with its line.

    """
    if "/" in name:
        return  # another project's: each question says so
    content = PromptContent(system=unsaved.system, user=unsaved.user, variables_schema=unsaved.variables_schema)
    await Prompts(connection).update(Prompt(id=name, content=content), "content", validate_only=True)


async def _version(connection: Connection, reference: str) -> str:
    """Return `prompt@version` of a name, a name with a number, or a name with a label.

    Raises:
        InvalidInput: the prompt has no such version or label.

    """
    name, _, pin = reference.partition("@")
    found = await _prompt(connection, name)
    number = int(pin) if pin.isdecimal() else found.version_labels.get(pin, 0) if pin else found.latest_version
    if not 1 <= number <= found.latest_version:
        labels = "".join(f", {label}" for label in sorted(found.version_labels))
        text = f"has no {pin!r}: it has versions 1 to {found.latest_version}{labels}"
        raise InvalidInput.at(field=f"prompt {name}", text=text)
    return f"{name}@{number}"


def _unsaved(path: str, live: PromptContent) -> Unsaved:
    """Return the prompt of a file with the user message, or of PATH.user.jinja and PATH.system.jinja.

    A file alone has the system message of the live prompt; both have its variables.

    Raises:
        InvalidInput: a file cannot be read.

    """
    schema = live.variables_schema
    if Path(f"{path}.user.jinja").exists():
        system = Path(f"{path}.system.jinja")
        return Unsaved(
            user=text_of(Path(f"{path}.user.jinja")),
            system=text_of(system) if system.exists() else "",
            variables_schema=schema,
        )
    return Unsaved(user=text_of(Path(path)), system=live.system, variables_schema=schema)


def text_of(path: Path) -> str:
    """Return the text of a file.

    Raises:
        InvalidInput: it cannot be read.

    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput.at(field="prompt", text=f"{path} cannot be read: {why}") from error
