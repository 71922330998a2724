"""Public evaluation harnesses, each run in an environment of its own against a deployment's OpenAI API."""
