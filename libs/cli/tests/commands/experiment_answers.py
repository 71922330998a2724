"""What stub services answer about experiments."""

from collections.abc import Callable
from typing import Any

from tidemill.inference.v1 import experiment_pb2 as pb
from tidemill.inference.v1 import experiment_service_pb2 as rpc
from tidemill.inference.v1.rollout_pb2 import DifferenceBounds

TONE = pb.Experiment(
    id="tone",
    deployment="helpdesk",
    alpha=0.05,
    weighting=pb.EXPERIMENT_WEIGHTING_ADAPTIVE,
    run=pb.ExperimentRun(
        id="tone@2",
        state=pb.EXPERIMENT_STATE_RUNNING,
        arms=[
            pb.ArmResult(
                name="now",
                weight=30,
                users=40,
                answers=52,
                failures=1,
                goal=pb.ArmScore(measure="rating", mean=0.5, number=40),
            ),
            pb.ArmResult(
                name="lora",
                weight=70,
                users=41,
                answers=60,
                stop_reason="GUARDRAIL",
                stop_message="too slow",
                goal=pb.ArmScore(measure="rating", mean=0.9, number=41, difference=DifferenceBounds(low=0.1, high=0.6)),
            ),
        ],
        cohorts=[
            pb.CohortResult(
                label="plan",
                value="pro",
                arms=[
                    pb.CohortArmResult(arm="now", users=12, goal=pb.ArmScore(measure="rating", mean=0.4, number=12)),
                    pb.CohortArmResult(
                        arm="lora",
                        users=14,
                        goal=pb.ArmScore(measure="rating", mean=0.9, number=14),
                        enough=True,
                        adjusted_p_value=0.021,
                    ),
                ],
            ),
            pb.CohortResult(
                label="plan", arms=[pb.CohortArmResult(arm="now"), pb.CohortArmResult(arm="lora", users=3)]
            ),
            pb.CohortResult(
                label="plan", other=True, arms=[pb.CohortArmResult(arm="now", users=9), pb.CohortArmResult(arm="lora")]
            ),
        ],
    ),
)
EXPERIMENTS: dict[str, Callable[[Any], Any]] = {
    "inference.v1.experiment_service:ListExperiments": lambda _: rpc.ListExperimentsResponse(experiments=[TONE]),
    "inference.v1.experiment_service:GetExperiment": lambda _: rpc.GetExperimentResponse(experiment=TONE),
    "inference.v1.experiment_service:StopExperiment": lambda _: rpc.StopExperimentResponse(experiment=TONE),
    "inference.v1.experiment_service:DeleteExperiment": lambda _: rpc.DeleteExperimentResponse(experiment=TONE),
}
