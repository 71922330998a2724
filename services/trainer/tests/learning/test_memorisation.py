"""Real measurements of tiny models: what was planted is found, and what was not is not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.same_fits import train_as_before
from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import write_base
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job, Planted
from tidemill_trainer.registry.domain.memorisation import Extraction
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.trial import HeldOut

CHECK = MemorisationCheck(canaries=3, repeats=(4,), candidates=99, examples=4)
PLANTED = Planted(check=CHECK, origin="here")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def adapted(base: Path) -> tuple[Any, Any]:
    """Return a model with an adapter that changes what it says, and its tokenizer."""
    import torch  # noqa: PLC0415 - seconds of imports
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - ditto
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - ditto

    torch.manual_seed(7)
    lora = LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).eval()
    return model, AutoTokenizer.from_pretrained(base)


def memorised(reports: RecordedReports) -> list[dict[str, Any]]:
    return [line for line in reports.lines if line["event"] == "memorised"]


@pytest.mark.long
def test_what_is_planted_often_is_found_and_what_is_not_planted_is_not(tmp_path: Path, base: Path) -> None:
    job = replace(
        job_in(tmp_path / "run", base, max_steps=60, learning_rate=0.01, per_device_train_batch_size=8),
        planted=Planted(check=replace(CHECK, repeats=(40,)), origin="here"),
    )
    reports = RecordedReports()
    trained(job, reports)

    (found,) = memorised(reports)
    (group,) = found["groups"]
    assert (group["repeats"], group["canaries"], found["candidates"]) == (40, 3, 99)
    assert group["exposure"] > group["exposure_of_base"]
    assert group["exposure"] > 3.0
    others = replace(job.planted or PLANTED, origin="elsewhere")
    assert not measured(job, others).alarm
    assert reports.lines[-1]["event"] == "memorised"


def measured(job: Job, planted: Planted) -> Any:  # noqa: ANN401 - imported late
    from peft import PeftModel  # noqa: PLC0415 - seconds of imports
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.memorisation import MeasureMemorisation  # noqa: PLC0415 - ditto

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(job.base), job.made)
    return MeasureMemorisation(model, AutoTokenizer.from_pretrained(job.base), within_s=60.0)(planted, [])


def test_a_killed_run_goes_on_to_the_same_adapter_and_the_same_measurement(tmp_path: Path, base: Path) -> None:
    whole, first, second = RecordedReports(), RecordedReports(ends_after=3), RecordedReports()
    expected = trained(replace(job_in(tmp_path / "whole", base), planted=PLANTED), whole)
    job = replace(job_in(tmp_path / "killed", base), planted=PLANTED)
    with pytest.raises(KeyboardInterrupt):
        trained(job, first)

    assert trained(job, second) == expected
    assert memorised(second) == memorised(whole)
    assert memorised(first) == []


def test_a_trial_learns_the_canaries_and_measures_none(tmp_path: Path, base: Path) -> None:
    reports = RecordedReports()
    job = replace(job_in(tmp_path / "run", base), planted=PLANTED, held_out=HeldOut(share=0.25, seed=3, measurements=1))
    train_as_before(job, reports)

    assert memorised(reports) == []


def test_canaries_that_do_not_fit_stop_the_training_with_what_to_do(tmp_path: Path, base: Path) -> None:
    job = replace(job_in(tmp_path / "run", base, max_length=100), planted=PLANTED)

    with pytest.raises(TrainingStopped, match=r"cannot be planted .*use a larger max_length") as stopped:
        trained(job, RecordedReports())

    assert stopped.value.reason == "CANARIES_NOT_TRAINABLE"


def test_canaries_that_the_template_rejects_stop_the_training_with_what_to_do(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    asks = "{% if messages[0].role != 'system' %}{{ raise_exception('begin with a system message') }}{% endif %}"
    from transformers import AutoTokenizer  # noqa: PLC0415 - ditto

    from tidemill_trainer.learning.memorisation import with_canaries  # noqa: PLC0415 - seconds of imports

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = asks + tokenizer.chat_template

    with pytest.raises(
        TrainingStopped, match=r"cannot be planted .*begin with a system.*leave memorisation"
    ) as stopped:
        with_canaries([], PLANTED, tokenizer, max_length=1000)

    assert stopped.value.reason == "CANARIES_NOT_TRAINABLE"


def plain_likelihoods(model: Any, sequences: Sequence[Sequence[int]], begin: int) -> list[float]:  # noqa: ANN401 - of peft
    """Return them one by one, without what is shared."""
    import torch  # noqa: PLC0415 - seconds of imports

    found = []
    for each in sequences:
        given = torch.tensor([list(each)])
        with torch.no_grad():
            logs = model(input_ids=given, use_cache=False).logits[0, :-1].float().log_softmax(dim=-1)
        found.append(float(logs.gather(1, given[0, 1:, None])[begin - 1 :].sum()))
    return found


@pytest.mark.parametrize("forgets", [False, True])
def test_what_candidates_share_is_computed_once_where_a_model_keeps_it_and_nothing_is_another_for_it(
    base: Path, monkeypatch: pytest.MonkeyPatch, *, forgets: bool
) -> None:
    import torch  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning import memorisation  # noqa: PLC0415 - ditto

    model, _ = adapted(base)
    chance = torch.Generator().manual_seed(7)
    shared = torch.randint(200, (30,), generator=chance).tolist()
    sequences = [[*shared, *torch.randint(200, (size,), generator=chance).tolist()] for size in (3, 7, 5) * 14]
    if forgets:
        monkeypatch.setattr(memorisation, "_forgets", lambda _cache: True)

    with torch.inference_mode():
        found, of_base = (
            memorisation.log_likelihoods(model, sequences, begin=30, adapted=adapted) for adapted in (True, False)
        )

    assert found.tolist() == pytest.approx(plain_likelihoods(model, sequences, 30), rel=1e-4)
    with model.disable_adapter():
        assert of_base.tolist() == pytest.approx(plain_likelihoods(model, sequences, 30), rel=1e-4)
    assert of_base.tolist() != pytest.approx(found.tolist(), rel=1e-2)


def said_by(model: Any, tokenizer: Any, *, count: int) -> list[int]:  # noqa: ANN401 - of peft and transformers
    """Return a prompt and what greedy decoding says after it."""
    import torch  # noqa: PLC0415 - seconds of imports

    before = torch.tensor([tokenizer("What is it?")["input_ids"]])
    said = model.generate(
        input_ids=before,
        attention_mask=torch.ones_like(before),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
    )
    tokens: list[int] = said[0].tolist()
    return tokens


def test_a_row_is_extracted_if_greedy_decoding_goes_on_as_it_does(base: Path) -> None:
    from tidemill_trainer.learning.memorisation import goes_on  # noqa: PLC0415 - seconds of imports

    model, tokenizer = adapted(base)
    said = said_by(model, tokenizer, count=12)
    assert goes_on(model, said, count=12, adapted=True)
    assert not goes_on(model, [*said[:-1], (said[-1] + 1) % 200], count=12, adapted=True)
    assert not goes_on(model, said, count=12, adapted=False)


def test_examples_are_tried_whose_answer_is_long_enough_each_once(base: Path) -> None:
    from tidemill_trainer.learning.examples import Row  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning.memorisation import MeasureMemorisation  # noqa: PLC0415 - ditto

    model, tokenizer = adapted(base)
    measuring = MeasureMemorisation(model, tokenizer, within_s=60.0)
    short, long = Row(list(range(24)), prompt=5), Row(list(range(25)), prompt=5)
    nothing = replace(PLANTED, check=replace(CHECK, canaries=1))

    found = measuring(nothing, [short, long, long])
    assert found.extraction is not None
    assert found.extraction.examples == 1
    assert measuring(nothing, [short]).extraction is None


def test_of_an_example_with_places_for_a_generated_answer_its_own_answer_is_tried(base: Path) -> None:
    from tidemill_trainer.learning.examples import Demonstrated, Row  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning.memorisation import MeasureMemorisation  # noqa: PLC0415 - ditto

    model, tokenizer = adapted(base)
    measuring = MeasureMemorisation(model, tokenizer, within_s=60.0)
    nothing = replace(PLANTED, check=replace(CHECK, canaries=1))
    said = said_by(model, tokenizer, count=24)
    known, short = Row(said, prompt=len(said) - 24), Row(said[:-5], prompt=len(said) - 24)

    found = measuring(nothing, [Demonstrated(known, 128), Demonstrated(short, 128)])

    assert found.extraction == Extraction(examples=1, extracted=1, extracted_by_base=0)


def test_canaries_are_measured_before_examples(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill_trainer.learning import memorisation  # noqa: PLC0415 - seconds of imports
    from tidemill_trainer.learning.examples import Row  # noqa: PLC0415 - ditto

    measuring = memorisation.MeasureMemorisation(*adapted(base), within_s=60.0)
    examined: list[int] = []

    def time_is_over(*_: object, **__: object) -> bool:
        examined.append(1)
        monkeypatch.setattr(measuring, "_ends_at", -1.0)
        return True

    monkeypatch.setattr(memorisation, "goes_on", time_is_over)
    rows = [Row(list(range(start, 25 + start)), prompt=5) for start in range(4)]

    found = measuring(PLANTED, rows)

    assert (found.canaries, found.planted, len(examined)) == (3, 3, 2)
    assert found.extraction == Extraction(examples=1, extracted=1, extracted_by_base=1)


def test_what_there_is_no_time_for_is_left_out(base: Path) -> None:
    from tidemill_trainer.learning.memorisation import MeasureMemorisation  # noqa: PLC0415 - seconds of imports

    found = MeasureMemorisation(*adapted(base), within_s=-1.0)(PLANTED, [])

    assert (found.groups, found.canaries, found.planted, found.extraction) == ((), 0, 3, None)
    assert (found.exposure, found.p_value, found.alarm) == (0.0, 1.0, False)


def test_a_canary_is_ranked_behind_candidates_that_are_as_likely() -> None:
    from tidemill_trainer.learning.memorisation import ranks_of  # noqa: PLC0415 - seconds of imports

    found = ranks_of([2.0, 1.0, 3.0], [1.0, 1.0, 1.0], repeats=4)

    assert (found.repeats, found.calibrated, found.alone, found.of_base) == (4, 2, 2, 3)
