"""Reads runs, by id or as the trial of a sweep, with the evaluations of what came of them."""

from collections.abc import Mapping, Sequence

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation
from tidemill.trainer.v1.sweep_pb2 import Sweep
from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_cli.run_history.records import RunRecord, record_of
from tidemill_client.connection import Connection, NoAddress
from tidemill_client.evaluations import Evaluations
from tidemill_client.sweeps import Sweeps
from tidemill_client.training import Training
from tidemill_core.errors import DeadlineExceeded, DependencyUnavailable, InvalidInput

MAX_EVALUATIONS = 10
"""Of one model version, the newest that are no re-evaluations."""


async def read_runs(connection: Connection, names: Sequence[str]) -> list[TrainingRun]:
    """Return the runs with their curves; `sweep/3` names the run of a sweep's third trial.

    Raises:
        InvalidInput: a run is named twice, or a sweep has no such trial.

    """
    named = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    sweeps = {sweep: await Sweeps(connection).get(sweep) for sweep in named}
    found = [await Training(connection).run(_id_of(name, sweeps)) for name in names]
    ids = [run.id for run in found]
    if twice := next((each for place, each in enumerate(ids) if each in ids[:place]), ""):
        message = f"{twice} is named twice: name each run once"
        raise InvalidInput(message)
    return found


async def read_records(connection: Connection, names: Sequence[str]) -> tuple[list[RunRecord], str]:
    """Return the records of runs, and what could not be read of their evaluations; raises as `read_runs`."""
    records, notice = list[RunRecord](), ""
    for run in await read_runs(connection, names):
        evaluations: Sequence[Evaluation] = ()
        if run.model_version and not notice:
            try:
                evaluations = await _evaluations(connection, run.model_version)
            except (DependencyUnavailable, DeadlineExceeded, NoAddress) as error:
                notice = f"evaluations are not shown: {error.message}"
        records.append(record_of(run, evaluations=evaluations))
    return records, notice


def _id_of(name: str, sweeps: Mapping[str, Sweep]) -> str:
    sweep, slash, number = name.partition("/")
    if not slash:
        return name
    trials = {str(trial.number): trial.run for trial in sweeps[sweep].trials}
    if number not in trials:
        message = f"sweep {sweep} has no trial {number[:20]!r}; it has 1 to {len(trials)}"
        raise InvalidInput(message)
    return trials[number]


async def _evaluations(connection: Connection, version: str) -> Sequence[Evaluation]:
    """Return the newest evaluations of a model version, oldest first, with their comparisons.

    Re-evaluations, which compare it with itself, are left out: they say nothing of the run.
    """
    reader = Evaluations(connection)
    listed = [each async for each in reader.all(candidate=version) if not each.reevaluates]
    return [await reader.get(each.id) for each in listed[-MAX_EVALUATIONS:]]
