"""The evaluator service: compares candidates with the live configuration on trusted cases."""
