"""A seed's draws on a processor, where a prompt is computed in pieces.

vLLM draws a token after each piece of a prompt, and drops it unless it was the last piece. To a request with a seed it
gives the draw back by the offset of its generator, which those of processors do not have: the first such request ended
the server for all of its tenants. Here a generator gets back its state from before the draw.
"""

import sys
from typing import Any

import torch

RUNNER = "vllm.v1.worker.cpu_model_runner"


class Rewindable:
    """A generator that has drawn, with the state from before; any change of its offset takes the draw back."""

    def __init__(self, generator: torch.Generator, before: torch.Tensor) -> None:
        self.generator = generator
        self._before = before

    def get_offset(self) -> int:
        """Return what vLLM counts from."""
        return 0

    def set_offset(self, _: int) -> None:
        """Take back what was drawn in this step."""
        self.generator.set_state(self._before)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever it is
        """Return what else vLLM asks of a generator."""
        return getattr(self.generator, name)


def register() -> None:
    """Have vLLM's processes do so; not all of them compute, so the runner is extended by the one that is about to."""
    from vllm.v1.worker import worker_base  # noqa: PLC0415 - not while vLLM looks for plugins

    wrapper: Any = getattr(worker_base, "WorkerWrapperBase", None)
    begin = getattr(wrapper, "init_device", None)
    if begin is None:
        return

    def init_device(self: Any) -> Any:  # noqa: ANN401 - vLLM's own
        extend(getattr(sys.modules.get(RUNNER), "CPUModelRunner", None))
        return begin(self)

    wrapper.init_device = init_device


def extend(runner: Any) -> None:  # noqa: ANN401 - vLLM's own
    """Have a class of runners remember states before it draws; one of another make is left as it is."""
    draw, keep = getattr(runner, "_sample", None), getattr(runner, "_bookkeeping_sync", None)
    if draw is None or keep is None:
        return

    def _sample(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - vLLM's own
        self.states_before_draw = {each: each.get_state() for each in _generators(self).values()}
        return draw(self, *arguments, **named)

    def _bookkeeping_sync(self: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - ditto
        generators, states = _generators(self), getattr(self, "states_before_draw", {})
        for row, generator in generators.items():
            if generator in states:
                generators[row] = Rewindable(generator, states[generator])
        try:
            return keep(self, *arguments, **named)
        finally:
            for row, generator in generators.items():
                if isinstance(generator, Rewindable):
                    generators[row] = generator.generator

    runner._sample, runner._bookkeeping_sync = _sample, _bookkeeping_sync  # noqa: SLF001 - ditto


def _generators(runner: Any) -> dict[int, Any]:  # noqa: ANN401 - vLLM's own
    """Return those of the rows whose requests have a seed."""
    found = getattr(getattr(runner, "input_batch", None), "generators", None)
    return found if isinstance(found, dict) else {}
