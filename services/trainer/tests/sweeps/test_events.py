from pathlib import Path

from google.protobuf.json_format import MessageToDict

from services.trainer.tests.sweeps.fakes import Sweeping
from tidemill_testkit.clocks import NOON
from tidemill_trainer.sweeps.domain.sweep import SweepHasEnded
from tidemill_trainer.sweeps.messages import sweep_event


async def test_the_end_of_a_sweep_is_published_with_what_it_made(tmp_path: Path) -> None:
    sweeping = await Sweeping(folder=tmp_path).ready()
    await sweeping.create(max_trials=1)
    sweep = await sweeping.conclude()

    ce_type, message = sweep_event(sweep, SweepHasEnded(occurred_at=NOON), 1)

    assert ce_type == "tidemill.trainer.sweep.ended.v1"
    assert MessageToDict(message, preserving_proto_field_name=True) == {
        "sweep": "rates",
        "seq": "1",
        "plan": "lora",
        "dataset_version": "sft@1",
        "state": "SWEEP_STATE_SUCCEEDED",
        "trials": 1,
        "run": sweep.run,
        "model_version": "lora@1",
    }
