"""The audit trail of RPCs: an intent before the handler runs, its outcome after it, relayed to monitor."""
