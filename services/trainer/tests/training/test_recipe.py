import pytest

from tidemill_core.errors import InvalidInput
from tidemill_trainer.training.domain.recipe import recipe_of


def refused(**settings: object) -> str:
    with pytest.raises(InvalidInput) as refusal:
        recipe_of(method="sft", lora={}, args=settings)
    return refusal.value.message


def test_what_is_not_given_is_filled_in() -> None:
    recipe = recipe_of(method="sft", lora={"r": 4.0}, args={"learning_rate": 1e-3})

    assert (recipe.lora["r"], recipe.lora["target_modules"]) == (4, "all-linear")
    assert (recipe.args["learning_rate"], recipe.args["seed"], recipe.args["optim"]) == (1e-3, 42, "adamw_torch_fused")


def test_numbers_of_a_struct_become_whole_where_they_have_to_be() -> None:
    batch = recipe_of(method="sft", lora={}, args={"per_device_train_batch_size": 4.0}).args

    assert isinstance(batch["per_device_train_batch_size"], int)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 5.0),
        ("learning_rate", float("nan")),
        ("learning_rate", "1e-3"),
        ("max_steps", 1.5),
        ("max_steps", 0),
        ("max_steps", float("inf")),
        ("seed", -1),
        ("seed", True),
        ("optim", "lion"),
        ("gradient_checkpointing", "yes"),
    ],
)
def test_a_value_out_of_range_is_refused_with_field_value_and_range(name: str, value: object) -> None:
    message = refused(**{name: value})

    assert f"plan.args.{name}: is {value!r}; allowed:" in message


@pytest.mark.parametrize(
    "name", ["output_dir", "push_to_hub", "hub_token", "report_to", "trust_remote_code", "deepspeed"]
)
def test_a_dangerous_setting_is_refused_and_its_value_not_repeated(name: str) -> None:
    message = refused(**{name: "hf_verysecret"})

    assert f"plan.args.{name}: is refused" in message
    assert "verysecret" not in message


def test_an_unknown_setting_is_answered_with_the_nearest_one() -> None:
    assert "did you mean learning_rate?" in refused(learning_rat=1e-3)


def test_all_that_is_wrong_is_reported_at_once() -> None:
    with pytest.raises(InvalidInput) as refusal:
        recipe_of(method="ppo", lora={"r": 0, "modules_to_save": ["lm_head"]}, args={"seed": -1})

    fields = [violation.field for violation in refusal.value.violations]
    assert fields == ["plan.method", "plan.lora.r", "plan.lora.modules_to_save", "plan.args.seed"]


def test_settings_of_dpo_are_those_of_trl_and_are_refused_for_sft() -> None:
    recipe = recipe_of(method="dpo", lora={}, args={"beta": 0.2, "loss_type": ["sigmoid", "sft"], "max_steps": 5})

    assert (recipe.args["beta"], recipe.args["loss_type"], recipe.args["max_steps"]) == (0.2, ("sigmoid", "sft"), 5)
    assert recipe_of(method="dpo", lora={}, args={}).args["loss_type"] == ("sigmoid",)
    assert "plan.args.beta: is not a supported setting" in refused(beta=0.2)


@pytest.mark.parametrize(
    ("args", "lora", "message"),
    [
        ({"loss_type": ["sft"]}, {}, "plan.args.loss_type: is ['sft']; allowed: a list of sigmoid"),
        ({"loss_type": ["sigmoid", "sigmoid"]}, {}, "plan.args.loss_type"),
        ({"loss_type": ["bce"]}, {}, "plan.args.loss_type: is ['bce']"),
        ({"loss_type": {"a": 1}}, {}, "plan.args.loss_type"),
        ({"loss_weights": [1.0, -1.0]}, {}, "plan.args.loss_weights: is [1.0, -1.0]; allowed: a number from 0 to 100"),
        ({"loss_weights": [1.0, 0.5]}, {}, "plan.args.loss_weights: has 2 numbers; loss_type has 1"),
        ({"beta": 0}, {}, "plan.args.beta: is 0; allowed: a number from 0.001 to 10"),
        ({}, {"lora_dropout": 0.1}, "plan.lora.lora_dropout: is 0.1; dpo compares with the base without dropout"),
    ],
)
def test_what_dpo_cannot_do_is_refused(args: dict[str, object], lora: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        recipe_of(method="dpo", lora=lora, args=args)

    assert message in refusal.value.message


@pytest.mark.parametrize(
    ("method", "args", "lora", "message"),
    [
        ("kto", {"per_device_train_batch_size": 1}, {}, "per_device_train_batch_size: is below 2, which kto needs"),
        ("kto", {"loss_type": "sigmoid"}, {}, "plan.args.loss_type: is 'sigmoid'; allowed: kto or apo_zero_unpaired"),
        ("kto", {"desirable_wieght": 2}, {}, "did you mean desirable_weight? supported of trl.KTOConfig"),
        ("kto", {}, {"lora_dropout": 0.1}, "kto compares with the base without dropout"),
        ("orpo", {"loss_type": ["sft"]}, {}, "supported of trl.experimental.orpo.ORPOConfig"),
        ("orpo", {"beta": -1}, {}, "plan.args.beta: is -1; allowed: a number from 0.001 to 10"),
        ("reward", {"beta": 0.1}, {}, "plan.args.beta: is not a supported setting"),
        (
            "reward",
            {"center_reward_coefficient": 0.1},
            {},
            "did you mean center_rewards_coefficient? supported of trl.Rew",
        ),
        ("reward", {}, {"task_type": "CAUSAL_LM"}, "plan.lora.task_type: is 'CAUSAL_LM'; allowed: SEQ_CLS"),
        ("sft", {}, {"task_type": "SEQ_CLS"}, "plan.lora.task_type: is 'SEQ_CLS'; allowed: CAUSAL_LM"),
        ("distill", {"lambda": 0.5}, {}, "did you mean lmbda? supported of trl.experimental.gkd.GKDConfig"),
        ("distill", {"beta": 1.5}, {}, "plan.args.beta: is 1.5; allowed: a number from 0 to 1"),
        ("distill", {"lmbda": 0.5, "max_new_tokens": 2000}, {}, "plan.args.max_new_tokens: is 2000; it must be below"),
        ("distill", {}, {}, "plan.teacher: is empty; distill needs the model that is learnt from"),
    ],
)
def test_what_other_methods_cannot_do_is_refused(
    method: str, args: dict[str, object], lora: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        recipe_of(method=method, lora=lora, args=args)

    assert message in refusal.value.message


def test_kto_without_divergence_takes_single_answers_and_orpo_has_dropout() -> None:
    single = {"loss_type": "apo_zero_unpaired", "per_device_train_batch_size": 1}

    assert recipe_of(method="kto", lora={}, args=single).args["per_device_train_batch_size"] == 1
    assert recipe_of(method="orpo", lora={"lora_dropout": 0.1}, args={}).lora["lora_dropout"] == 0.1


@pytest.mark.parametrize("value", [[], ["q_proj", 3], "q_proj", [".*"], {"a": 1}])
def test_target_modules_are_all_linear_or_names(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"plan\.lora\.target_modules"):
        recipe_of(method="sft", lora={"target_modules": value}, args={})


def test_names_of_target_modules_are_taken() -> None:
    recipe = recipe_of(method="sft", lora={"target_modules": ["q_proj", "v_proj"]}, args={})

    assert recipe.lora["target_modules"] == ("q_proj", "v_proj")


def test_full_weights_have_no_adapter_and_the_learning_rate_of_trl() -> None:
    full = recipe_of(method="sft", lora={}, args={}, use_peft=False)

    assert (full.lora, full.args["learning_rate"], full.declared["use_peft"]) == ({}, 2e-5, False)
    assert recipe_of(method="dpo", lora={}, args={}, use_peft=False).args["learning_rate"] == 1e-6
    assert recipe_of(method="sft", lora={}, args={"learning_rate": 1e-3}, use_peft=False).args["learning_rate"] == 1e-3
    adapter = recipe_of(method="sft", lora={}, args={})
    assert (adapter.args["learning_rate"], "use_peft" in adapter.declared) == (2e-4, False)


@pytest.mark.parametrize("method", ["reward", "grpo", "distill"])
def test_a_method_that_trains_adapters_only_refuses_full_weights_with_those_that_do(method: str) -> None:
    with pytest.raises(
        InvalidInput, match=rf"plan.use_peft: is false; {method} trains .* use sft or dpo or orpo or kto"
    ):
        recipe_of(method=method, lora={}, args={}, use_peft=False)


def test_full_weights_with_settings_of_an_adapter_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"plan.lora.r: is set, and use_peft is false"):
        recipe_of(method="sft", lora={"r": 8}, args={}, use_peft=False)
