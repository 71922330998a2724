import re
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from tidemill_cli.loop import LoopErrors, read_loop
from tidemill_cli.loop.resources import desired_resources

RIGHT = """\
apiVersion: tidemill.dev/v1
kind: Loop
metadata: {name: helpdesk}
models:
  small: {source: "file:weights"}
sources:
  cms: {events: "https://cms.example/kb", mask: none, retention: 730d}
collections:
  handbook: {sources: [cms], embedding: small}
prompts:
  answer: {user: {file: answer.jinja}}
deployments:
  helpdesk: {model: small, prompt: answer, retrieval: {collection: handbook, top_k: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "answer.jinja").write_text("{{ question }}")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "loop.yaml"
    file.write_text(text)
    return file


POLLED = (
    's3: {endpoint: "https://s3.acme.example", bucket: kb, prefix: p/, access_key: A, secret_key: {secret: KB_S3}, '
    'paths: ["*.md"], interval: 15m, max_deleted_share: 1}'
)


def test_a_source_may_be_polled_from_a_bucket(folder: Path) -> None:
    loop = read_loop(written(folder, RIGHT.replace("retention: 730d", POLLED)))

    (source,) = [each.message for each in desired_resources(loop) if each.kind == "source"]

    assert MessageToDict(source, preserving_proto_field_name=True)["polling"] == {
        "s3": {
            "endpoint": "https://s3.acme.example",
            "bucket": "kb",
            "prefix": "p/",
            "access_key": "A",
            "secret": "KB_S3",
        },
        "paths": ["*.md"],
        "interval_s": 900,
        "max_deleted_share": 1.0,
    }


def test_a_source_may_be_polled_from_a_repository(folder: Path) -> None:
    polled = 'git: {url: "https://git.acme.example/kb.git", ref: v1, username: bot, password: {secret: KB_GIT}}'
    loop = read_loop(written(folder, RIGHT.replace("retention: 730d", polled)))

    (source,) = [each.message for each in desired_resources(loop) if each.kind == "source"]

    assert MessageToDict(source)["polling"] == {
        "git": {"url": "https://git.acme.example/kb.git", "ref": "v1", "username": "bot", "secret": "KB_GIT"}
    }


def test_the_secret_key_of_a_bucket_never_stands_in_the_file(folder: Path) -> None:
    text = RIGHT.replace("retention: 730d", POLLED.replace("{secret: KB_S3}", "hush"))

    ((_, message),) = problems_of(folder, text).values()

    assert "write {secret: NAME}" in message
    assert "hush" not in message


def test_rules_of_quality_are_those_of_the_source(folder: Path) -> None:
    rules = "{languages: [en], min_letters: 0.5, duplicates: link, boilerplate: remove}"
    text = RIGHT.replace("retention: 730d", f"quality: {rules}")
    loop = read_loop(written(folder, text))

    (source,) = [each.message for each in desired_resources(loop) if each.kind == "source"]

    assert MessageToDict(source)["quality"] == {
        "languages": ["en"],
        "minLetters": 0.5,
        "duplicates": "DUPLICATE_POLICY_LINK",
        "boilerplate": "BOILERPLATE_POLICY_REMOVE",
    }


def problems_of(folder: Path, text: str) -> dict[str, tuple[int, str]]:
    with pytest.raises(LoopErrors) as raised:
        read_loop(written(folder, text))
    return {problem.path: (problem.line, problem.message) for problem in raised.value.problems}


def test_a_right_file_is_read_with_its_files_in_place(folder: Path) -> None:
    loop = read_loop(written(folder, RIGHT))

    assert loop.prompts["answer"].user == "{{ question }}"
    assert loop.models["small"].source == f"file:{folder / 'weights'}"
    assert loop.sources["cms"].mask == "none"
    assert loop.deployments["helpdesk"].deadline.total_seconds() == 60


SPENDING = """\
prices:
  small: {input: 0.15, output: "0.60", machine_hour: 2}
  small_2: {model: small@2, output: 1}
budgets:
  per_user: {per: end_user, window: day, requests: 200, tokens: 100000}
  money: {window: month, cost: 200.50, deployment: helpdesk}
"""


def test_budgets_and_prices_become_resources_with_decimals_as_they_are_written(folder: Path) -> None:
    made = {each.name: each for each in desired_resources(read_loop(written(folder, RIGHT + SPENDING)))}

    price, other = MessageToDict(made["small"].message), MessageToDict(made["small_2"].message)
    user, money = MessageToDict(made["per_user"].message), MessageToDict(made["money"].message)
    assert (price["model"], price["rates"]) == ("small", {"input": "0.15", "output": "0.60", "machineHour": "2"})
    assert other["model"] == "small@2"
    assert (user["per"], user["window"], user["tokens"]) == ("BUDGET_PER_END_USER", "BUDGET_WINDOW_DAY", "100000")
    assert (money["cost"], money["deployment"], made["money"].refers_to) == (
        "200.5",
        "helpdesk",
        (("deployment", "helpdesk"),),
    )


def test_a_budget_that_limits_nothing_and_a_price_that_is_no_number_are_problems(folder: Path) -> None:
    wrong = SPENDING.replace("requests: 200, tokens: 100000", "cost: 0").replace("0.15", "cheap")

    problems = problems_of(folder, RIGHT + wrong.replace("deployment: helpdesk", "deployment: nowhere"))

    assert "limits nothing" in problems["budgets.per_user"][1]
    assert "must be a number" in problems["prices.small.input"][1]
    assert "there is no deployment 'nowhere'" in problems["budgets.money.deployment"][1]


REVIEWS = """\
reviews:
  answers:
    instructions: Is it right?
    fields:
      correct: {kind: boolean, required: true}
      tone: {kind: category, choices: [friendly, rude]}
      score: {kind: number, min: 1, max: 5, tolerance: 1}
    sampling: {deployment: helpdesk, strategy: stratified, max_open_per_stratum: 20}
    reviewers: 2
    claim_time: 10m
    gold_share: 0.1
"""


def test_review_queues_become_resources(folder: Path) -> None:
    made = {each.name: each for each in desired_resources(read_loop(written(folder, RIGHT + REVIEWS)))}

    queue = MessageToDict(made["answers"].message)
    assert [(each["name"], each["kind"]) for each in queue["fields"]] == [
        ("correct", "LABEL_KIND_BOOLEAN"),
        ("tone", "LABEL_KIND_CATEGORY"),
        ("score", "LABEL_KIND_NUMBER"),
    ]
    assert (queue["fields"][1]["choices"], queue["fields"][2]["max"]) == (["friendly", "rude"], 5.0)
    assert queue["sampling"] == {
        "deployment": "helpdesk",
        "strategy": "SAMPLING_STRATEGY_STRATIFIED",
        "maxOpenPerStratum": 20,
    }
    assert (queue["reviewers"], queue["claimTime"], queue["goldShare"]) == (2, "600s", 0.1)


@pytest.mark.parametrize(
    ("right", "wrong", "reported"),
    [
        ("choices: [friendly, rude]", "choices: []", "a category has choices"),
        ("{kind: boolean, required: true}", "{kind: boolean, min: 1}", "of numbers only"),
        ("deployment: helpdesk, strategy: str", "deployment: nowhere, strategy: str", "no deployment 'nowhere'"),
    ],
)
def test_what_is_no_review_queue_is_a_problem_at_its_line(folder: Path, right: str, wrong: str, reported: str) -> None:
    problems = problems_of(folder, RIGHT + REVIEWS.replace(right, wrong))

    assert any(reported in problem[1] for problem in problems.values()), problems


def test_all_problems_are_reported_at_once_each_with_its_line(folder: Path) -> None:
    wrong = (
        RIGHT.replace("sources: [cms]", "sources: [cmss]")
        .replace("top_k: 2", "top_k: 0")
        .replace("retention: 730d", "retenton: 730d")
        .replace("file: answer.jinja", "file: missing.jinja")
    )

    problems = problems_of(folder, wrong)

    assert problems["collections.handbook.sources[0]"] == (
        9,
        "there is no source 'cmss' in this file: did you mean cms? (there are: cms)",
    )
    assert problems["sources.cms.retenton"][0] == 7
    assert "did you mean retention?" in problems["sources.cms.retenton"][1]
    assert problems["deployments.helpdesk.retrieval.top_k"][0] == 13
    assert problems["prompts.answer.user.file"][0] == 11
    assert len(problems) == 4


def test_a_key_in_the_file_is_refused_and_never_repeated(folder: Path) -> None:
    secret = "sk-live-4711"  # noqa: S105 - what must not come back
    text = RIGHT.replace(
        'small: {source: "file:weights"}',
        f'small: {{source: "openai:gpt", base_url: "https://api.example/v1", api_key: {secret}}}',
    )

    with pytest.raises(LoopErrors) as raised:
        read_loop(written(folder, text))

    assert "models.small.api_key" in str(raised.value)
    assert secret not in str(raised.value)


def test_a_section_that_there_is_not_is_refused_with_the_nearest_one(folder: Path) -> None:
    assert "did you mean gates?" in problems_of(folder, RIGHT + "gate: {}\n")["gate"][1]


def test_what_two_versions_of_yaml_read_differently_is_refused(folder: Path) -> None:
    text = RIGHT.replace("prompt: answer,", "prompt: answer, sampling: {temperature: 1e-3},")

    assert problems_of(folder, text)["(yaml)"] == (
        13,
        "YAML 1.1 reads 1e-3 as text: write a decimal point, such as 1.0e-3",
    )


def test_a_word_that_is_a_truth_value_in_one_version_of_yaml_is_refused(folder: Path) -> None:
    text = RIGHT.replace("name: helpdesk}", "name: helpdesk, labels: {on: wednesday}}")

    assert problems_of(folder, text)["metadata.labels.on"] == (3, "YAML 1.1 reads this key as True: quote it")


def test_broken_yaml_is_reported_with_its_line(folder: Path) -> None:
    assert problems_of(folder, "kind: Loop\nmetadata: {name: x\n")["(yaml)"][0] >= 2


def test_a_prompt_outside_the_folder_is_refused(folder: Path) -> None:
    text = RIGHT.replace("file: answer.jinja", "file: ../../etc/hostname")

    assert "prompts.answer.user.file" in problems_of(folder, text)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(LoopErrors, match="there is no such file"):
        read_loop(tmp_path / "loop.yaml")


def test_what_another_project_shares_is_named_with_its_project_and_not_declared(folder: Path) -> None:
    text = RIGHT.replace(
        "{model: small, prompt: answer, retrieval: {collection: handbook, top_k: 2}}",
        "{model: acme/base@2, fallback: [acme/small], prompt: acme/tone@live, retrieval: {collection: acme/handbook}}",
    )

    deployment = read_loop(written(folder, text)).deployments["helpdesk"]

    assert (deployment.model, deployment.fallback, deployment.prompt) == (
        "acme/base@2",
        ["acme/small"],
        "acme/tone@live",
    )
    assert deployment.retrieval is not None
    assert deployment.retrieval.collection == "acme/handbook"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("embedding: small", "embedding: acme/small"),
        ("model: small", "model: acme/a/b"),
        ("sources: [cms]", "sources: [acme/cms]"),
    ],
)
def test_what_cannot_be_shared_is_not_named_so(folder: Path, right: str, wrong: str) -> None:
    assert problems_of(folder, RIGHT.replace(right, wrong))


def test_the_file_owns_the_approval_policy_of_a_prompt(folder: Path) -> None:
    text = RIGHT.replace("{user: {file: answer.jinja}}", "{user: hi, approval: {role: reviewer, count: 2}}")
    policies = {
        declared: MessageToDict(prompt.message)["approval"]
        for declared in (RIGHT, text)
        for prompt in desired_resources(read_loop(written(folder, declared)))
        if prompt.kind == "prompt" and "approval" in prompt.fields
    }
    assert policies == {RIGHT: {"role": "operator"}, text: {"role": "reviewer", "count": 2}}


def test_a_cache_of_a_deployment_is_declared_and_owned_by_the_file(folder: Path) -> None:
    text = RIGHT.replace("deployments:\n  helpdesk: {", "deployments:\n  helpdesk: {cache: {ttl: 1h}, ")
    similar = text.replace("ttl: 1h", "ttl: 1h, semantic: {embedding: small}")
    semantic = {"embedding": "small", "threshold": 0.99}

    for declared, cache in (
        (text, {"ttl": "3600s"}),
        (similar, {"ttl": "3600s", "semantic": semantic}),
        (RIGHT, None),
    ):
        resources = desired_resources(read_loop(written(folder, declared)))
        (deployment,) = (each for each in resources if each.kind == "deployment")
        assert MessageToDict(deployment.message).get("cache") == cache
        assert "cache" in deployment.fields


def test_a_misspelt_model_of_a_cache_is_found_before_a_service_is_asked(folder: Path) -> None:
    semantic = "helpdesk: {cache: {ttl: 1h, semantic: {embedding: smal}}, "

    with pytest.raises(LoopErrors, match="smal"):
        read_loop(written(folder, RIGHT.replace("deployments:\n  helpdesk: {", f"deployments:\n  {semantic}")))


ROUTED = RIGHT.replace("deployments:\n  helpdesk: {", "deployments:\n  helpdesk: {routing: ROUTING, ").replace(
    '"file:weights"}', '"file:weights"}\n  other: {source: "file:weights"}'
)


def test_routing_of_a_deployment_is_declared_and_owned_by_the_file(folder: Path) -> None:
    routing = "{retries: 0, hedge_after: 500ms, token_timeout: 5s, equal_models: {other: 2}, balance: least_busy}"

    resources = desired_resources(read_loop(written(folder, ROUTED.replace("ROUTING", routing))))

    (deployment,) = (each for each in resources if each.kind == "deployment")
    assert MessageToDict(deployment.message)["routing"] == {
        "retries": 0,
        "hedgeAfter": "0.500s",
        "tokenTimeout": "5s",
        "equalModels": {"other": 2},
        "weight": 1,
        "balance": "BALANCE_LEAST_BUSY",
    }
    assert ("model", "other") in deployment.refers_to
    (plain,) = (each for each in desired_resources(read_loop(written(folder, RIGHT))) if each.kind == "deployment")
    assert "routing" in plain.fields
    assert not plain.message.HasField("routing")


@pytest.mark.parametrize(
    ("routing", "path", "message"),
    [
        ("{equal_models: {othr: 1}}", "deployments.helpdesk.routing.equal_models.othr", "there is no model 'othr'"),
        ("{equal_models: {other: 0}}", "deployments.helpdesk.routing.equal_models.other", "greater than or equal to 1"),
        ("{hedge_after: 5}", "deployments.helpdesk.routing.hedge_after", "90s"),
        ("{balance: fastest}", "deployments.helpdesk.routing.balance", "least_busy"),
    ],
)
def test_routing_that_cannot_be_is_refused_with_its_place(folder: Path, routing: str, path: str, message: str) -> None:
    found = problems_of(folder, ROUTED.replace("ROUTING", routing))

    assert path in found, found
    assert message in found[path][1]


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ("conversation: {summary_model: smal}", "conversation.summary_model"),
        ("conversation: {memory_model: smal}", "conversation.memory_model"),
        ("retrieval: {collection: handbook, rewrite: smal}", "retrieval.rewrite"),
    ],
)
def test_a_model_that_works_for_a_deployment_is_one_of_the_file(folder: Path, part: str, path: str) -> None:
    text = re.sub(r"retrieval: \{[^}]*\}", part, RIGHT)

    _, message = problems_of(folder, text)[f"deployments.helpdesk.{path}"]

    assert message.startswith("there is no model 'smal' in this file")
    for known in ("small", "small@2", "shared/smal"):
        read_loop(written(folder, text.replace("smal}", f"{known}}}")))


def test_a_source_names_a_version_of_the_model_that_finds_names(folder: Path) -> None:
    text = RIGHT.replace("mask: none", "mask: [email, person], names: small@1")
    [source] = [each for each in desired_resources(read_loop(written(folder, text))) if each.kind == "source"]

    assert MessageToDict(source.message)["masking"] == {"kinds": ["email", "person"], "model": "small@1"}
    assert source.refers_to == (("model", "small"),)
    assert "sources.cms.names" in problems_of(folder, text.replace("small@1", "small"))
