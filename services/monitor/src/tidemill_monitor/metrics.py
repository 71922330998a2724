"""Metrics of the loops and of the graph; lag and dead letters are the kit's."""

from prometheus_client import Counter, Gauge

LOOP_EVENTS = Counter("tidemill_loop_events", "Events of loops, by type.", ["project", "type"])
ANSWERS = Counter(
    "tidemill_loop_answers", "Answers, by why they were asked, what answered, and outcome.",
    ["project", "purpose", "variant", "outcome"],
)  # fmt: skip
TOKENS = Counter("tidemill_loop_tokens", "Tokens of completed answers.", ["project", "direction"])
REACTIONS = Counter("tidemill_loop_reactions", "Reactions that count, by metric.", ["project", "metric"])
VERDICTS = Counter("tidemill_loop_verdicts", "Evaluations that came to a verdict.", ["project", "verdict"])
NO_VERDICTS = Counter(
    "tidemill_loop_evaluations_failed", "Evaluations that ended without a verdict, by why.", ["project", "reason"]
)
NODES = Gauge("tidemill_lineage_nodes", "Things in the history, by kind.", ["kind"])
FORGOTTEN = Counter("tidemill_lineage_forgotten", "Answers that were forgotten because of their age.")
AUDIT_RECORDS = Counter("tidemill_audit_chained", "Records appended to audit chains, by kind.", ["kind"])
ERASURES_OVERDUE = Gauge("tidemill_erasures_overdue", "Erasures that are not completed in time, and not held.")
