"""Ask a deployment with OpenAI's Python client, as any product that uses the OpenAI API does.

    OPENAI_API_KEY=... python ask_openai.py --base-url http://127.0.0.1:8000/v1 --deployment helpdesk <<< "What is zip?"

`model` is the deployment. The API key, which the client reads from OPENAI_API_KEY, names the project.
"""

import argparse
import json
import sys

from openai import OpenAI


def main() -> None:
    """Stream the answer to the question on standard input, then print {"answer": text}."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("base-url", "deployment"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    client = OpenAI(base_url=arguments.base_url)
    stream = client.chat.completions.create(
        model=arguments.deployment,
        messages=[{"role": "user", "content": sys.stdin.read().strip()}],
        stream=True,
    )
    answer = "".join(choice.delta.content or "" for chunk in stream for choice in chunk.choices)
    print(json.dumps({"answer": answer.strip()}))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
