"""Requests whose sampling an experiment compares."""

from dataclasses import replace

from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.rollouts.domain.step_counts import LIVE


def as_its_arm_has_it(
    question: Question, chosen: ChosenConfiguration, deployment: Deployment
) -> tuple[Question, ChosenConfiguration]:
    """Return a question without the sampling that its arm answers with.

    What asks for another one is answered by what is live, and is no part of the experiment.
    """
    if not chosen.experiment or deployment.experiment is None:
        return question, chosen
    sampling = deployment.experiment.asked(question.sampling)
    if sampling is None:
        return question, ChosenConfiguration(variant=LIVE, configuration=deployment.live)
    return replace(question, sampling=sampling), chosen
