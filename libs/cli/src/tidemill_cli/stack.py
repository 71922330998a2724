"""up, down, status and logs: the local stack, and the health of every service."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Group
from rich.text import Text

from tidemill.status.v1.status_service_pb2 import ServiceStatus
from tidemill_cli.options import options, without_project
from tidemill_cli.output import EXIT_ERROR, plain, run, show, stderr, stdout, table
from tidemill_client import Tidemill
from tidemill_core.errors import PreconditionFailed, TidemillError
from tidemill_local.addresses import Addresses as RunningStack
from tidemill_local.errors import StackError
from tidemill_local.stack import LocalStack, StackStatus

T = TypeVar("T")


class StackFailed(PreconditionFailed):
    """An operation on the local stack failed."""

    reason = "STACK_FAILED"


async def _blocking(work: Callable[[], T]) -> T:
    """Run a blocking method of the stack in a thread, and translate its errors."""
    try:
        return await asyncio.to_thread(work)
    except StackError as error:
        raise StackFailed(str(error)) from error


def start() -> RunningStack:
    """Start the programs that are not running, and wait until all of them are ready."""

    def say(sentence: str) -> None:
        if not options().as_json:
            stdout.print(sentence, highlight=False, markup=False)

    return run(_blocking(lambda: LocalStack().up(say)))


@without_project
def up() -> None:
    """Start the stack and wait until it is ready. Running programs are not restarted."""
    addresses = start()
    http = addresses.services["inference"]["http"]
    data = {"services": addresses.services, "kafka": addresses.kafka, "http": f"http://{http}/v1"}
    show(data, f"Ready. OpenAI-compatible endpoint: http://{http}/v1")


@without_project
def down() -> None:
    """Stop all processes of the stack. Data is kept."""
    stopped = run(_blocking(lambda: LocalStack().down()))
    show({"stopped": stopped}, "Stopped. Data is kept in .tidemill/." if stopped else "Not running.")


@without_project
def status() -> None:
    """Show the health of every service. Exit 1 if any is not ready."""

    async def work() -> tuple[StackStatus, Mapping[str, ServiceStatus | TidemillError]]:
        async with Tidemill("") as tidemill:
            return await _blocking(lambda: LocalStack().status()), await tidemill.status()

    stack, answers = run(work())
    data = {"programs": [_program(program) for program in stack.programs], "services": _services(answers)}
    show(data, _picture(stack, answers))
    if not all(isinstance(answer, ServiceStatus) and answer.ready for answer in answers.values()):
        raise typer.Exit(EXIT_ERROR)


def _program(program: Any) -> dict[str, Any]:  # noqa: ANN401 - tidemill_local has no public name for it
    return {
        "name": program.name,
        "state": program.state,
        "pid": program.pid,
        "uptime_s": round(program.uptime_s, 1),
        "resident_mb": program.resident_bytes // 1_000_000,
        "doors": program.endpoints,
        "message": program.message,
        "log": str(program.log),
    }


def _services(answers: Mapping[str, ServiceStatus | TidemillError]) -> dict[str, Any]:
    return {
        name: plain(answer) if isinstance(answer, ServiceStatus) else {"ready": False, "message": answer.message}
        for name, answer in answers.items()
    }


def _picture(stack: StackStatus, answers: Mapping[str, ServiceStatus | TidemillError]) -> Group:
    programs = [
        (
            program.name,
            program.state.lower(),
            program.pid or "-",
            timedelta(seconds=int(program.uptime_s)),
            f"{program.resident_bytes // 1_000_000} MB",
            "  ".join(f"{endpoint} {address}" for endpoint, address in program.endpoints.items()),
        )
        for program in stack.programs
    ]
    services = [
        (name, "yes" if isinstance(answer, ServiceStatus) and answer.ready else "no", _says(answer))
        for name, answer in answers.items()
    ]
    running = table(("program", "state", "pid", "up", "memory", "endpoints"), programs)
    nothing = f"No stack is running in {stack.folder}: start it with `tidemill up`."
    return Group(running if stack.running else nothing, "", table(("service", "ready", "details"), services))


def _says(answer: ServiceStatus | TidemillError) -> str:
    """Summarise a service's dependencies, consumer lag and outbox in one line."""
    if isinstance(answer, TidemillError):
        return answer.message
    waiting = [f"{d.name}: {d.message}" for d in answer.dependencies if not d.ready]
    consumers = [f"{c.name}: {c.lag} behind, {c.dead_lettered} dead letters" for c in answer.consumers]
    waiting += [f"{c.name} is waiting for {c.waiting_for}" for c in answer.consumers if c.waiting_for]
    controllers = [
        f"{c.name}: {c.queued} queued, {c.running} running, {c.retrying} retrying {c.message}".rstrip()
        for c in answer.controllers
        if c.queued or c.running or c.message
    ]
    outbox = [f"{answer.outbox_length} events to publish"] if answer.outbox_length else []
    return "; ".join([*waiting, *consumers, *controllers, *outbox]) or "ok"


@without_project
def logs(
    program: Annotated[str, typer.Argument(help="Only this program; default: all.")] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Follow the logs.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Number of most recent lines.")] = 100,
) -> None:
    """Print the logs of the stack's programs."""

    def print_lines() -> None:
        for line in LocalStack().logs(program or None, follow=follow, lines=lines):
            data = {"program": line.program, "line": line.text}
            text = line.text if program else f"{line.program}: {line.text}"
            show(data, Text(text))

    try:
        run(_blocking(print_lines))
    except BrokenPipeError:
        stderr.quiet = True
