"""The record of an answer names what the provider's answer said of itself."""

from dataclasses import replace

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, asking, question
from services.inference.tests.generation.test_rewrite import RemoteModels
from tidemill_inference.engines.ports import Finish, Piece, ProviderIdentity

SAID = ProviderIdentity(provider_model="gpt-4o-2024-08-06", system_fingerprint="fp_1")


@pytest.mark.parametrize(("is_remote", "names"), [(True, ("gpt-4o-2024-08-06", "fp_1")), (False, ("", ""))])
async def test_the_record_names_the_model_of_a_provider_alone(is_remote: bool, names: tuple[str, str]) -> None:  # noqa: FBT001 - a parameter
    harness = AnsweringHarness()
    harness.engine.yields = [
        Piece(text="os.walk walks."),
        Finish(reason="stop", input_tokens=1, output_tokens=1, identity=SAID),
    ]
    make = harness.answer.make
    if is_remote:
        make = replace(make, router=replace(harness.router, models=RemoteModels(harness)))

    answer = await replace(harness.answer, make=make).whole(ADA, question(), request=asking("r1"))

    variant = (await harness.stored(answer)).variant
    assert variant is not None
    assert (variant.provider_model, variant.system_fingerprint) == names
