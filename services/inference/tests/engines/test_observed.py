from collections.abc import AsyncGenerator
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.budgets.domain import metering
from tidemill_inference.engines import observed as observed_engine
from tidemill_inference.engines.observed import ObservedEngine
from tidemill_inference.engines.ports import Capability, Finish, Generated, Piece, Prompt, ProviderIdentity

SAID = ProviderIdentity(provider_model="grey", system_fingerprint="fp_1")


class Parrot:
    """Implements `Engine`: says one word, or fails."""

    fingerprint = "parrot 1"
    context_tokens = None
    capabilities: frozenset[Capability] = frozenset()

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    async def count_tokens(self, prompt: Prompt) -> None:
        pass

    async def generate(self, _prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        if self._fails:
            message = f"no answer within {timeout_s} s"
            raise DependencyUnavailable(message, dependency="parrot")
        yield Piece(text="hello")
        yield Finish(reason="stop", input_tokens=1, output_tokens=1, identity=SAID)


def series(*projects: str) -> set[tuple[str, str]]:
    names = (
        "tidemill_model_calls",
        "tidemill_model_tokens",
        "tidemill_model_running",
        "tidemill_model_first_token_seconds",
    )
    return {
        (sample.labels["project"], sample.labels["model"])
        for metric in REGISTRY.collect()
        if metric.name in names
        for sample in metric.samples
        if sample.labels.get("project") in projects
    }


async def test_models_without_end_make_no_series_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_engine, "_SERIES", observed_engine._Series())  # noqa: SLF001 - a process of its own
    monkeypatch.setattr(observed_engine, "MAX_MODELS", 5)
    slow = ObservedEngine(Parrot(fails=False), project="many", model="slow@1").generate(
        Prompt(messages=()), timeout_s=1
    )
    await anext(slow)

    for number in range(30):
        engine = ObservedEngine(Parrot(fails=number % 2 == 1), project="many", model=f"m@{number}")
        try:
            assert [piece async for piece in engine.generate(Prompt(messages=()), timeout_s=1)]
        except DependencyUnavailable:
            continue

    kept = series("many")
    await slow.aclose()
    assert len(kept) == 5
    assert {("many", "slow@1"), ("many", "m@29"), ("many", "m@28")} <= kept


async def test_a_project_with_many_models_drops_no_series_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed_engine, "_SERIES", observed_engine._Series())  # noqa: SLF001 - a process of its own
    monkeypatch.setattr(observed_engine, "MAX_MODELS", 5)

    for project, model in [("small", "one@1"), *(("large", f"m@{number}") for number in range(30))]:
        engine = ObservedEngine(Parrot(fails=False), project=project, model=model)
        assert [piece async for piece in engine.generate(Prompt(messages=()), timeout_s=1)]

    assert series("small", "large") == {("small", "one@1"), *(("large", f"m@{number}") for number in range(26, 30))}


@pytest.mark.parametrize(("fingerprint", "seconds"), [("openai 2 host", 10), ("transformers 5", 5)])
async def test_only_models_of_this_machine_share_its_time(
    fingerprint: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(metering, "time", SimpleNamespace(monotonic=lambda: now))
    meters, answers = (metering.Meter(), metering.Meter()), []
    for project, meter in zip(("acme", "globex"), meters, strict=True):
        parrot = Parrot(fails=False)
        parrot.fingerprint = fingerprint
        answers.append(
            ObservedEngine(parrot, project=project, model="gpt@1").generate(Prompt(messages=()), timeout_s=1)
        )
        with metering.metering(meter):
            await anext(answers[-1])
    now = 10.0

    for answer in answers:
        assert [piece async for piece in answer]

    assert [used.machine_s for meter in meters for used in meter.used] == [seconds, seconds]


@pytest.mark.parametrize(("fingerprint", "seen"), [("openai host", [("acme", "gpt@1", SAID)]), ("parrot 1", [])])
async def test_what_an_answer_says_of_itself_is_handed_on_of_a_provider_alone(
    fingerprint: str, seen: list[tuple[str, str, ProviderIdentity]]
) -> None:
    parrot, identified = Parrot(fails=False), list[tuple[str, str, ProviderIdentity]]()
    parrot.fingerprint = fingerprint
    engine = ObservedEngine(parrot, project="acme", model="gpt@1", identified=lambda *each: identified.append(each))

    assert len([piece async for piece in engine.generate(Prompt(messages=()), timeout_s=1)]) == 2

    assert identified == seen
