"""Judges of answers by passages, ready to be declared: the metrics of RAGAS as rubrics.

Es et al., RAGAS: Automated Evaluation of Retrieval Augmented Generation (2023): faithfulness is the share of the
answer's statements that the context supports, answer relevance how directly and completely the question is addressed.
Context precision and recall are those of the project's library: the share of passages that are of use, the first ones
counting more, and the share of the reference's statements that the context supports. RAGAS has a model list statements
and counts; a judge here counts by itself, and says its share in points: 1 is none, 10 all.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill.evaluator.v1.judge_pb2 import (
    JUDGE_INPUT_PASSAGES,
    JUDGE_INPUT_REFERENCE,
    Judge,
    JudgeCriterion,
    JudgeInput,
)

_SCALE = 10
_SHARE = "Points are that share: 1 for none, 10 for all, and in proportion between, rounded."


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeTemplate:
    """What a judge of this kind judges by, and reads."""

    criterion: str
    rubric: str
    description: str
    """Of the criterion."""
    reads: tuple[JudgeInput.ValueType, ...] = ()

    def judge(self, name: str, deployment: str) -> Judge:
        """Return a judge of this kind."""
        criterion = JudgeCriterion(name=self.criterion, description=self.description, scale=_SCALE)
        return Judge(id=name, deployment=deployment, rubric=self.rubric, criteria=[criterion], reads=self.reads)


TEMPLATES: Mapping[str, JudgeTemplate] = {
    each.criterion: each
    for each in (
        JudgeTemplate(
            criterion="faithfulness",
            rubric=(
                "Judge whether the answer is faithful to its passages. Split the answer into statements, each of "
                "which can be true or false by itself. Count those that can be inferred from the passages alone: "
                "what is true and not in them does not count, nor does what they contradict. Whether the answer is "
                f"of use, complete or well written is not asked. An answer that states nothing has 1. {_SHARE}"
            ),
            description="the share of the answer's statements that the passages support",
            reads=(JUDGE_INPUT_PASSAGES,),
        ),
        JudgeTemplate(
            criterion="answer_relevance",
            rubric=(
                "Judge whether the answer addresses the question, directly and completely. Think of the questions "
                "that this answer would be the answer to: the nearer they are to the one that was asked, the "
                "better. Answers that leave a part of it open, that add what was not asked, or that say that "
                "nothing is known have fewer points. Whether the answer is true is not asked."
            ),
            description="1 is about something else, 10 answers this question, all of it and nothing more",
        ),
        JudgeTemplate(
            criterion="context_precision",
            rubric=(
                "Judge the passages, which a search found, and not the answer. Go through them in their order, "
                "which is that of the search, and say of each whether it is of use to arrive at the reference, or "
                "to answer the question where there is none. At each place that has a passage of use, take the "
                "share of passages of use up to there; the mean of these shares counts. Without any passage of use "
                f"it is none. {_SHARE}"
            ),
            description="the share of passages that are of use, where the first ones count more",
            reads=(JUDGE_INPUT_REFERENCE, JUDGE_INPUT_PASSAGES),
        ),
        JudgeTemplate(
            criterion="context_recall",
            rubric=(
                "Judge the passages, which a search found, and not the answer. Split the reference into statements, "
                "each of which can be true or false by itself. Count those that can be inferred from the passages "
                f"alone. {_SHARE}"
            ),
            description="the share of the reference's statements that the passages support",
            reads=(JUDGE_INPUT_REFERENCE, JUDGE_INPUT_PASSAGES),
        ),
    )
}
"""By the name of their criterion."""
