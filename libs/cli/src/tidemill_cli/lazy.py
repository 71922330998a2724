"""Lazy loading of commands, so that each command imports only its own module."""

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from tidemill_cli.options import Commands

COMMANDS: Mapping[str, str] = {
    "up": "stack:up",
    "down": "stack:down",
    "status": "stack:status",
    "logs": "stack:logs",
    "init": "loops:init",
    "apply": "loops:apply",
    "diff": "loops:diff",
    "loop": "turns:loop",
    "ask": "asking:ask",
    "search": "asking:search",
    "documents": "documents:documents",
    "sources": "sources:sources",
    "feedback": "feedback:feedback",
    "metrics": "metrics:metrics",
    "reviews": "reviews:reviews",
    "datasets": "datasets:datasets",
    "training": "training:training",
    "runs": "runs:runs",
    "sweeps": "sweeps:sweeps",
    "models": "resources:models",
    "derivations": "derivations:derivations",
    "collections": "retrieval:collections",
    "suites": "suites:suites",
    "judges": "judges:judges",
    "gates": "gates:gates",
    "evaluations": "evaluations:evaluations",
    "evaluate": "evaluations:evaluate",
    "rollouts": "rollouts:rollouts",
    "experiments": "experiments:experiments",
    "lineage": "lineage:lineage",
    "explain": "explaining:explain",
    "prompts": "resources:prompts",
    "deployments": "resources:deployments",
    "inferences": "resources:inferences",
    "conversations": "conversations:conversations",
    "memories": "conversations:memories",
    "batches": "batches:batches",
    "files": "stored_files:files",
    "budgets": "budgets:budgets",
    "prices": "budgets:prices",
    "projects": "access:projects",
    "members": "access:members",
    "roles": "access:roles",
    "service-accounts": "access:service_accounts",
    "keys": "keys:keys",
    "secrets": "secrets:secrets",
    "grants": "grants:grants",
    "catalogue": "grants:catalogue",
    "whoami": "access:whoami",
    "audit": "audit:audit",
    "erasures": "erasures:erasures",
    "holds": "holds:holds",
    "retention": "holds:retention",
    "login": "login:login",
    "logout": "login:logout",
    "events": "events:events",
    "dead-letters": "events:dead_letters",
    "kafka": "kafka:kafka",
}
"""`module:name` of each command, in the order of the help."""
PLUGINS = "tidemill.commands"
"""The group of entry points by which other packages add commands."""


class LazyGroup(TyperGroup):
    """The top level of the command line."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401 - typer keeps its Context to itself
        """Return the names of all commands."""
        del ctx
        return [*COMMANDS, *sorted(entry_points(group=PLUGINS).names - COMMANDS.keys())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 - typer keeps its Command to itself
        """Load one command."""
        del ctx
        return self.commands.get(cmd_name) or _command(cmd_name)


@cache
def _command(name: str) -> Any:  # noqa: ANN401 - ditto
    found = _found(name)
    return None if found is None else _as_command(name, found)


def _found(name: str) -> Any:  # noqa: ANN401 - a function, or a group of them
    if name not in COMMANDS:
        return next((plugin.load() for plugin in entry_points(group=PLUGINS, name=name)), None)
    module, _, attribute = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"tidemill_cli.{module}"), attribute)


def _as_command(name: str, found: Any) -> Any:  # noqa: ANN401 - ditto
    if isinstance(found, typer.Typer):
        command: Any = typer.main.get_group(found)
    else:
        alone = Commands(add_completion=False)
        alone.command(name)(found)
        command = typer.main.get_command(alone)
    command.name = name
    return command
