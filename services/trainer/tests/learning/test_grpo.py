"""Trainings on generated answers: they learn what is rewarded, go on after a kill, and end where they diverge."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.learning.test_training import RecordedReports, job_in, trained
from services.trainer.tests.learning.tiny import example_lines, write_base
from tidemill_trainer.learning.failures import TrainingStopped
from tidemill_trainer.learning.job import Job, ModelFiles
from tidemill_trainer.training.domain.rewards import JudgeReward, LengthBounds, Reward

LETTERS = (Reward(pattern="[a-z]"),)
SMALL: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 8,
    "max_length": 128,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def grpo_job(folder: Path, base: Path, *, rewards: Sequence[Reward] = LETTERS, **args: Any) -> Job:  # noqa: ANN401 - of TRL, and lora
    return job_in(folder, base, method="grpo", rewards=rewards, **SMALL | args)


def rewards_of(reports: RecordedReports) -> list[float]:
    return [line["numbers"]["reward"] for line in reports.lines if line["event"] == "step"]


def decided_base(folder: Path) -> Path:
    """Return a base whose next token is no mere chance, so that an adapter can change it."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - seconds of imports

    weights = write_base(folder) / "model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"lm_head.weight": 20 * tensors["lm_head.weight"]}, weights, metadata={"format": "pt"})
    return folder


def test_what_is_rewarded_becomes_more_frequent(tmp_path: Path) -> None:
    reports = RecordedReports()
    more: dict[str, Any] = {
        "per_device_train_batch_size": 16,
        "num_generations": 16,
        "lr_scheduler_type": "constant",
        "beta": 0.001,
    }

    trained(grpo_job(tmp_path / "run", decided_base(tmp_path / "base"), max_steps=10, **more), reports)

    found = rewards_of(reports)
    assert len(found) == 10
    assert sum(found[-3:]) > sum(found[:3])


@pytest.mark.long
def test_a_killed_training_on_generated_answers_goes_on_to_the_same_adapter(tmp_path: Path, base: Path) -> None:
    whole, second = RecordedReports(), RecordedReports()
    expected = trained(grpo_job(tmp_path / "whole", base), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(grpo_job(tmp_path / "killed", base), RecordedReports(ends_after=3))

    assert trained(grpo_job(tmp_path / "killed", base), second) == expected

    assert second.lines[1]["step"] == 2
    (before,) = (curve for curve in second.lines[1]["curves"] if curve["name"] == "reward")
    assert before["values"] == tuple(rewards_of(whole)[:2])
    assert rewards_of(second) == rewards_of(whole)[2:]


def test_a_training_that_moves_too_far_from_its_base_has_diverged(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"divergence .* the limit is 1e-09: use a lower") as stopped:
        trained(replace(grpo_job(tmp_path / "run", base), max_kl=1e-9), RecordedReports())

    assert stopped.value.reason == "DIVERGED"
    assert not (tmp_path / "run" / "made").exists()


def test_fewer_prompts_than_a_step_needs_are_too_few(tmp_path: Path, base: Path) -> None:
    job = grpo_job(tmp_path / "run", base, gradient_accumulation_steps=4)
    Path(job.examples).write_bytes(example_lines(3))

    with pytest.raises(TrainingStopped, match="3 of 3 examples are used; at least 4 are needed") as stopped:
        trained(job, RecordedReports())

    assert stopped.value.reason == "DATASET_TOO_SMALL"


def test_longer_answers_and_more_of_them_are_estimated_to_enlarge_memory(tmp_path: Path, base: Path) -> None:
    needed = []
    settings: list[dict[str, Any]] = [{}, {"max_completion_length": 64}, {"gradient_accumulation_steps": 64}]
    for number, each in enumerate(settings):
        job = grpo_job(tmp_path / str(number), base, **each)
        Path(job.examples).write_bytes(example_lines(64))
        needed.append(_needed(job))

    assert needed[0] < min(needed[1:])


def _needed(job: Job) -> int:
    with pytest.raises(TrainingStopped) as stopped:
        trained(replace(job, memory_bytes=1), RecordedReports())
    return int(stopped.value.message.split(" needs ")[1].split()[0])


@pytest.mark.parametrize(
    ("reward", "answer", "expected"),
    [
        (Reward(pattern="^yes"), "yes, it is", 1.0),
        (Reward(pattern="^yes"), "it is, yes", 0.0),
        (Reward(length=LengthBounds(min_characters=3, max_characters=4)), "four", 1.0),
        (Reward(length=LengthBounds(max_characters=3)), "four", 0.0),
        (Reward(length=LengthBounds(min_characters=3)), "four", 1.0),
        (Reward(json_schema='{"type": "object", "required": ["a"]}'), '{"a": 1}', 1.0),
        (Reward(json_schema='{"type": "object", "required": ["a"]}'), "{}", 0.0),
        (Reward(json_schema="{}"), "no JSON", 0.0),
        (Reward(json_schema="{}"), "[" * 100_000, 0.0),
        (Reward(json_schema="{}"), '{"a": NaN}', 0.0),
        (Reward(json_schema="{}"), "-Infinity", 0.0),
        (Reward(json_schema='{"multipleOf": 0.1}'), "1e400", 0.0),
        (Reward(json_schema='{"multipleOf": 0.1}'), "1" * 400, 0.0),
        (Reward(rouge_l=True), "It is two.", 2 / 3),
        (Reward(citation=True), "It is so [2].", 1.0),
        (Reward(citation=True), "It is so [0] [x].", 0.0),
    ],
)
def test_a_check_gives_its_number(reward: Reward, answer: str, expected: float) -> None:
    from tidemill_trainer.learning.answer_rewards import CheckReward, _check  # noqa: PLC0415 - seconds of imports

    found = CheckReward(_check(reward), reward.kind)(completions=[answer], reference=["It is one."], prompts=[[1]])

    assert found == [pytest.approx(expected)]


def test_a_json_schema_that_is_none_is_a_bad_recipe() -> None:
    from tidemill_trainer.learning.answer_rewards import _check  # noqa: PLC0415 - seconds of imports

    with pytest.raises(TrainingStopped) as stopped:
        _check(Reward(json_schema='{"type": 3}'))

    assert stopped.value.reason == "BAD_RECIPE"


def test_a_reward_model_scores_generated_answers_as_it_scored_those_of_its_pairs(tmp_path: Path, base: Path) -> None:
    import torch  # noqa: PLC0415 - seconds of imports

    from tidemill_trainer.learning.answer_rewards import reward_functions  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.loading import load_tokenizer  # noqa: PLC0415 - ditto
    from tidemill_trainer.learning.reports import Unreported  # noqa: PLC0415 - ditto

    made = job_in(tmp_path / "reward", base, method="reward", max_steps=12)
    trained(made, RecordedReports())
    files = {"judge@1": ModelFiles(adapter=made.made, base=str(base))}
    job = replace(grpo_job(tmp_path / "run", base, rewards=[Reward(reward_model="judge@1")]), reward_models=files)
    tokenizer = load_tokenizer(base, name="tiny@1")
    (score,) = reward_functions(job, tokenizer, Unreported(), device="cpu", dtype=torch.float32)
    turns = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is 4?"}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True)["input_ids"]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("It is 1.", "It is unknown.")]

    good, bad = score(prompts=[prompt, prompt], completion_ids=answers)
    ended = score(prompts=[prompt], completion_ids=[[*answers[0], tokenizer.pad_token_id]])

    assert good > bad
    assert ended == [pytest.approx(good, abs=1e-4)]
    reports = RecordedReports()
    trained(replace(job, args={**job.args, "max_steps": 1}), reports)
    assert len(rewards_of(reports)) == 1


def test_a_reward_that_is_no_number_ends_the_training() -> None:
    from tidemill_trainer.learning.answer_rewards import ModelReward  # noqa: PLC0415 - seconds of imports

    class Broken(ModelReward):
        def _scores(self, texts: Sequence[Sequence[int]]) -> list[float]:
            return [float("nan")] * len(texts)

    broken = Broken(None, name="judge@1", ending=[], ends=[], batch_size=2)

    with pytest.raises(TrainingStopped, match="a score of the reward model judge@1 is not a finite number") as stopped:
        broken(prompts=[[1]], completion_ids=[[2]])

    assert stopped.value.reason == "DIVERGED"


class JudgedReports(RecordedReports):
    """Scores answers by a digest of them, or not at all, and counts how often each pair is asked about."""

    def __init__(self, *, ends_after: int = 0, unscored: str = "") -> None:
        super().__init__(ends_after=ends_after)
        self.known: dict[str, float | None] = {}
        """As the worker keeps them, for all attempts."""
        self.calls: list[str] = []
        self._unscored = unscored

    def ask(self, event: str, **facts: Any) -> Any:  # noqa: ANN401 - JSON
        assert event == "judge"
        scores = []
        for each in facts["answers"]:
            pair = json.dumps(each, sort_keys=True)
            if pair not in self.known:
                self.calls.append(pair)
                digest = hashlib.sha256(pair.encode()).digest()[0]
                self.known[pair] = None if self._unscored and digest < 128 else digest / 255
            scores.append(self.known[pair])
        return {"scores": scores}


@pytest.mark.long
def test_a_killed_training_by_a_judge_goes_on_to_the_same_adapter_and_asks_about_no_answer_twice(
    tmp_path: Path, base: Path
) -> None:
    rewards = (Reward(judge=JudgeReward(id="tone")),)
    whole, first, second = JudgedReports(), JudgedReports(ends_after=3), JudgedReports()
    second.known = first.known
    expected = trained(grpo_job(tmp_path / "whole", base, rewards=rewards), whole)
    with pytest.raises(KeyboardInterrupt):
        trained(grpo_job(tmp_path / "killed", base, rewards=rewards), first)

    assert trained(grpo_job(tmp_path / "killed", base, rewards=rewards), second) == expected

    assert second.lines[1]["step"] == 2
    assert sorted([*first.calls, *second.calls]) == sorted(whole.calls)
    asked = json.loads(whole.calls[0])
    assert [turn["role"] for turn in asked["asked"]][-1] == "user"
    assert whole.of("rewards/judge/mean") == pytest.approx(rewards_of(whole))
    assert whole.of("judge/unscored") == [0.0] * 5


def test_nothing_is_learnt_from_an_answer_that_is_not_judged_whatever_else_rewards_it(
    tmp_path: Path, base: Path
) -> None:
    rewards = (Reward(judge=JudgeReward(id="tone")), Reward(length=LengthBounds(max_characters=4000)))
    reports = JudgedReports(unscored="half")
    steps: dict[str, Any] = {"max_steps": 3, "per_device_train_batch_size": 8, "num_generations": 8}

    trained(grpo_job(tmp_path / "run", base, rewards=rewards, **steps), reports)

    scored = [score for score in reports.known.values() if score is not None]
    share = 1 - len(scored) / len(reports.known)
    assert 0 < share < 1
    assert sum(reports.of("judge/unscored")) / 3 == pytest.approx(share)
    assert reports.of("rewards/length/mean") == [1.0] * 3
    expected = [judged + 1.0 for judged in reports.of("rewards/judge/mean")]
    assert rewards_of(reports) == pytest.approx(expected)


def test_answers_are_sent_in_bounded_lines_and_one_too_long_for_any_has_no_score() -> None:
    from tidemill_trainer.learning.judge_reward import MAX_ANSWERS, MAX_BYTES, JudgedReward  # noqa: PLC0415 - ditto

    sizes: list[int] = []

    class Counted(JudgedReports):
        def ask(self, event: str, **facts: Any) -> Any:  # noqa: ANN401 - ditto
            sizes.append(len(facts["answers"]))
            return super().ask(event, **facts)

    reports = Counted()
    answers = [
        *map(str, range(MAX_ANSWERS + 1)),
        "x" * MAX_BYTES,
        *["y" * (MAX_BYTES // 2 + number) for number in (1, 2)],
    ]
    logged: dict[str, float] = {}
    reward = JudgedReward(reports, name="judge")  # type: ignore[arg-type] # it only asks

    scores = reward(
        completions=answers,
        reference=[""] * len(answers),
        asked=["[]"] * len(answers),
        log_metric=logged.__setitem__,
    )

    assert sizes == [MAX_ANSWERS, 2, 1]
    assert [place for place, score in enumerate(scores) if score is None] == [MAX_ANSWERS + 1]
    assert logged == {"judge/unscored": 1 / len(answers)}
