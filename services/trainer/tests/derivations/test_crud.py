from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.derivations.fakes import INT8, MERGE, Deriving
from services.trainer.tests.registry.fakes import ADA, model_files
from services.trainer.tests.registry.test_shared import BOB, share
from services.trainer.tests.training.fakes import request
from tidemill_core.approvals import ApprovalMissing, ApprovalPolicy
from tidemill_core.errors import InvalidInput
from tidemill_core.models.int8 import INT8 as INT8_CONFIG
from tidemill_core.resources import Write
from tidemill_trainer.derivations.domain import DerivationSource, DerivationState
from tidemill_trainer.derivations.errors import DerivationFinished, NotDerivable
from tidemill_trainer.derivations.methods import DropLayers, Method, PruneMagnitude, PruneWanda, Quantize
from tidemill_trainer.errors import DatasetVersionNotFound, ModelVersionNotFound
from tidemill_trainer.registry.domain.sources import OpenAiSource


@pytest.fixture
async def deriving(tmp_path: Path) -> Deriving:
    return await Deriving(folder=tmp_path).ready()


async def test_a_derivation_names_the_version_its_base_its_data_and_its_authors(deriving: Deriving) -> None:
    made = await deriving.create("helpdesk")

    assert made.source == DerivationSource(
        version="helpdesk@1", base="smollm2@1", dataset_version="tickets@3", authors=("ben", "cleo")
    )
    assert (made.state, made.labels, made.authors) == (DerivationState.QUEUED, {"team": "help"}, ("ben", "cleo"))
    assert [key.id for key in deriving.enqueued] == [made.id]


async def test_a_repeated_request_is_one_derivation_also_when_its_source_is_gone(deriving: Deriving) -> None:
    made = await deriving.create("helpdesk", name="again")
    await deriving.registry.delete("helpdesk")

    assert (await deriving.create("helpdesk", name="again")).id == made.id


async def test_a_check_stores_nothing(deriving: Deriving) -> None:
    checked = await deriving.create("helpdesk", validate_only=True)

    assert checked.state is DerivationState.QUEUED
    assert (deriving.derivations.all(), deriving.enqueued) == ([], [])


@pytest.mark.parametrize(
    ("source", "model", "method", "field"),
    [
        ("helpdesk", "helpdesk", INT8, "derivation.model"),
        ("helpdesk", "No Slug", INT8, "derivation.model"),
        ("smollm2", "small", MERGE, "derivation.merge"),
        ("smollm2", "small", Quantize(bits=3), "derivation.quantize.bits"),
        ("smollm2@x", "small", INT8, "derivation.source_version"),
        ("smollm2", "thin", PruneMagnitude(sparsity=0.04), "derivation.prune_magnitude.sparsity"),
        ("smollm2", "thin", PruneWanda(sparsity=1.0, calibration="tickets"), "derivation.prune_wanda.sparsity"),
        ("smollm2", "thin", PruneWanda(sparsity=0.5, calibration=""), "derivation.prune_wanda.calibration"),
        ("smollm2", "thin", DropLayers(layers=0, calibration="tickets"), "derivation.drop_layers.layers"),
        ("smollm2", "thin", DropLayers(layers=2, calibration=""), "derivation.drop_layers.calibration"),
    ],
)
async def test_what_cannot_be_made_is_refused_by_its_field(
    deriving: Deriving, source: str, model: str, method: Method, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await deriving.create(source, model=model, method=method)

    assert [each.field for each in refused.value.violations] == [field]


@pytest.mark.parametrize(
    "method", [PruneWanda(sparsity=0.5, calibration="tickets"), DropLayers(layers=1, calibration="tickets")]
)
async def test_a_method_that_reads_examples_names_the_version_of_their_dataset(
    deriving: Deriving, method: PruneWanda | DropLayers
) -> None:
    made = await deriving.create("smollm2", method=method)

    assert made.method == replace(method, calibration="tickets@3")
    assert made.made_from.method.endswith(" on tickets@3")
    with pytest.raises(DatasetVersionNotFound):
        await deriving.create("smollm2", method=replace(method, calibration="nothing"))


async def test_a_version_that_does_not_exist_is_refused_with_those_that_do(deriving: Deriving) -> None:
    with pytest.raises(ModelVersionNotFound, match="smollm2@1"):
        await deriving.create("smollm2@7")


async def test_nothing_is_made_of_a_remote_model(deriving: Deriving) -> None:
    await deriving.registry.begin(OpenAiSource(model="gpt", base_url="https://api.openai.com/v1"), model="gpt")

    with pytest.raises(NotDerivable, match="remote model"):
        await deriving.create("gpt")


@pytest.mark.parametrize(
    ("source", "method", "whose"),
    [
        ("acme/smollm2", INT8, "it belongs to project acme"),
        ("acme/helpdesk@1", MERGE, "it belongs to project acme"),
        ("acme/helpdesk@1", INT8, "it belongs to project acme"),
        ("tuned", MERGE, "its base acme/smollm2@1 belongs to project acme"),
        ("globex/tuned@1", INT8, "its base acme/smollm2@1 belongs to project acme"),
    ],
)
async def test_nothing_is_made_of_what_another_project_shares(
    deriving: Deriving, source: str, method: Method, whose: str
) -> None:
    await deriving.add_adapter("tuned", project=BOB.project, base="acme/smollm2@1")
    for name in ("acme/smollm2", "acme/helpdesk"):
        share(deriving.registry, name)

    with pytest.raises(NotDerivable, match=f"{whose}, which shares it for use"):
        await deriving.create(source, method=method, caller=BOB)


async def test_nothing_is_made_of_int8_weights(deriving: Deriving) -> None:
    config = f'{{"model_type": "llama", "quantization_config": {dict(INT8_CONFIG)}}}'.replace("'", '"')
    config = config.replace("True", "true")
    await deriving.registry.register(model_files(config__json=config.encode()), model="tiny")

    with pytest.raises(NotDerivable, match="quantized already"):
        await deriving.create("tiny")


async def test_what_lacks_approvals_is_not_made_into_what_needs_none(deriving: Deriving) -> None:
    await deriving.registry.approvals.update(
        ADA, "smollm2", approval=ApprovalPolicy(count=1), write=Write(request=request())
    )

    for source in ("smollm2", "helpdesk"):
        with pytest.raises(ApprovalMissing, match="smollm2@1"):
            await deriving.create(source)


async def test_what_waits_is_cancelled_and_what_has_ended_is_not(deriving: Deriving) -> None:
    waiting, done = await deriving.create("helpdesk"), await deriving.create("smollm2", model="other")
    await deriving.work(done)

    assert (await deriving.crud.cancel(ADA, waiting.id, request=request())).state is DerivationState.CANCELLED
    assert (await deriving.crud.cancel(ADA, waiting.id, request=request())).reason == "CANCELLED"
    with pytest.raises(DerivationFinished):
        await deriving.crud.cancel(ADA, done.id, request=request())


async def test_what_was_trained_whole_is_made_smaller_and_has_nothing_to_merge(deriving: Deriving) -> None:
    await deriving.add_adapter("whole", base="")

    made = await deriving.create("whole", method=INT8)

    assert (made.source.base, made.source.dataset_version) == ("", "tickets@3")
    with pytest.raises(InvalidInput, match="no adapter: there is nothing to merge"):
        await deriving.create("whole", model="merged", method=MERGE)
