"""What every test of the repository can use."""

pytest_plugins = [
    "tidemill_testkit.stack",
    "tidemill_testkit.distribution",
    "tidemill_testkit.processes",
    "tidemill_testkit.budgets",
    "tidemill_testkit.garbage",
    "tidemill_testkit.log_lines",
    "tidemill_testkit.queries",
]
