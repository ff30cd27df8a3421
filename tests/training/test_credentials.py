"""Keys are known by their shape and by whole words, wherever they stand; what only sounds like one is let pass."""

from pathlib import Path

import pytest
import yaml

from training.ei_loop import main
from training.errors import RunError
from training.loop.preflight import refuse_credentials
from training.reporting.credentials import Found, credentials_in, means_credential, without_secrets
from training.settings import LoopSettings

RANDOM = "a8f9K2lLq0vPz7Wm3XcN5tYb"

KEYS = [
    {"model_args": {"authorization": "Bearer sk-abcd"}},
    {"model_args": {"headers": "Authorization: Bearer abcdefgh"}},
    {"model_args": {"headers": {"X-Api-Key": "abc"}}},
    {"model_args": {"default_headers": '{"Authorization": "Bearer abc.def-123"}'}},
    {"model_args": {"bearer": "x1"}},
    {"model_args": {"passwd": "x"}},
    {"model_args": {"pwd": "12345"}},
    {"model_args": {"auth": "me:x"}},
    {"model_args": {"Password": "x"}},
    {"model_args": {"token": "abc"}},
    {"model_args": {"api-key": "abc"}},
    {"model_args": {"clientSecret": "3"}},
    {"model_args": {"aws_access_key_id": "x"}},
    {"model_args": {"db_password": "x"}},
    {"model_args": {"service_token": RANDOM}},
    {"model_args": {"anything": "ghp_abcdefghij0123"}},
    {"model_args": {"anything": "github_pat_11ABCDE"}},
    {"model_args": {"anything": "AKIAIOSFODNN7EXAMPLE"}},
    {"model_args": {"anything": "xoxb-123456-abc"}},
    {"model_args": {"anything": "glpat-abcdefgh"}},
    {"model_args": {"anything": "AIzaSyA-abcdefghijklmnopq"}},
    {"model_args": {"anything": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"}},
    {"model_args": {"anything": "-----BEGIN RSA PRIVATE KEY-----"}},
    {"model_args": {"anything": "Basic dXNlcjpwYXNz"}},
    {"model_args": {"deep": [{"er": ["hf_abcdefgh"]}]}},
    {"roles": {"judge": "sk-abc123"}},
    {"roles": {"judge": "openai/sk-proj-abcdefghijklmnopqrstuvwx"}},
    {"base": "hf_abcdefgh"},
    {"launcher": "run --token hf_abcdef"},
    {"launcher": "run --token abcdef torchrun"},
    {"launcher": "env WANDB_API_KEY=seven torchrun"},
    {"launcher": "WANDB_API_KEY='se ven' torchrun"},
    {"launcher": "sh -c 'curl -H \"Authorization: Bearer abcdefg\"'"},
    {"model_base_url": "https://user:pass@host/v1"},
    {"model_base_url": "http://:secret@host"},
    {"model_base_url": f"https://host/{RANDOM}/v1"},
    {"model_base_url": "https://host/sk-abc123/v1"},
    {"model_base_url": "https://host/v1?sig=abc"},
    {"mix": "https://host/rows.jsonl?a=1&token=abc"},
    {"mix": "https://host/rows.jsonl?X-Amz-Signature=abc"},
    {"trainer_options": {"hub_token": "abc"}},
    {"trainer_options": {"push_to_hub_token": "abc"}},
    {"task_args": {"key": "sk-abcd"}},
    {"push_to_hub": "hf_abcdefgh"},
]

HARMLESS = [
    {"trainer_options": {"eos_token": "</s>", "pad_token": "<pad>", "max_token": "5", "max_tokens": "300"}},
    {
        "trainer_options": {
            "hub_token": "none",
            "use_auth_token": "true",
            "include_num_input_tokens_seen": "all",
        }
    },
    {
        "task_args": {
            "max_token": "5",
            "monkey": "blue",
            "token_limit": "5",
            "topics": "basic needs,bearer bonds",
        }
    },
    {"model": "local/donkey:adapter"},
    {"model": "local//home/me/models/sk-learn-model"},
    {"model": "vllm/meta-llama/Llama-3.1-8B-Instruct"},
    {"model": "openai/ft:gpt-4o-mini-2024-07-18:org::AbCdEf12"},
    {"roles": {"secretary": "openai/gpt-4.1"}},
    {"model_args": {"num_key_value_heads": "8", "tokenizer": "x", "tokenizer_path": "y", "key_dim": "3"}},
    {"model_args": {"api_key_env": "MY_KEY", "hf_token_path": "/run/token", "api_key": "$OPENAI_API_KEY"}},
    {"model_args": {"password": None, "token": True, "secret": ""}},
    {"run": "token=1"},
    {"run": "logs/token=1/x"},
    {"run": "logs/sk-2"},
    {"threshold": float("nan")},
    {"model_base_url": "http://localhost:8000/v1"},
    {"model_base_url": "http://127.0.0.1:8000"},
    {"model_base_url": "http://node17.cluster.local:20412/v1"},
    {"model_base_url": "http://10.0.0.1:8000/v1/models/llama-3.1-8b-instruct-2024-07-18"},
    {"launcher": "torchrun --nproc_per_node 8"},
    {"launcher": "accelerate launch --config_file training/launch/accelerate/fsdp2.yaml"},
    {"launcher": "srun --ntasks-per-node=1 --kill-on-bad-exit=1 bash training/launch/slurm/node.sh"},
    {"revision": "0123456789abcdef0123456789abcdef01234567"},
    {"base": "https://huggingface.co/o/n/resolve/0123456789abcdef0123456789abcdef01234567/x"},
    {"mix_columns": {"prompt": "question", "label": "key"}},
]


@pytest.mark.parametrize("settings", KEYS, ids=str)
def test_keys_are_found_and_masked(settings):
    (option,) = settings
    (found,) = credentials_in(settings)
    assert found.option.partition(".")[0] == option
    assert "***" in str(without_secrets(settings))
    assert not credentials_in(without_secrets(settings))


@pytest.mark.parametrize("settings", HARMLESS, ids=str)
def test_what_only_sounds_like_a_key_is_let_pass(settings):
    assert credentials_in(settings) == []
    assert str(without_secrets(settings)) == str(settings)


def test_only_the_key_itself_is_masked():
    told = without_secrets(
        {
            "launcher": "env HF_TOKEN=abc OMP_NUM_THREADS=1 torchrun --nproc_per_node 8",
            "mix": "https://me:six@host/a/b?rows=3&sig=xyz#top",
            "roles": {"user": "openai/gpt-4.1", "judge": "sk-abcdef"},
        }
    )
    assert told == {
        "launcher": "env HF_TOKEN=*** OMP_NUM_THREADS=1 torchrun --nproc_per_node 8",
        "mix": "https://***@host/a/b?rows=3&sig=***#top",
        "roles": {"user": "openai/gpt-4.1", "judge": "***"},
    }


def test_names_are_read_by_whole_words():
    for name in (
        "api_key",
        "apiKey",
        "X-API-Key",
        "HF_TOKEN",
        "token",
        "openai_api_key_2",
        "my.secret",
        "PWD",
    ):
        assert means_credential(name), name
    for name in (
        "monkey",
        "keyboard",
        "tokens",
        "tokenizer",
        "eos_token",
        "secretary",
        "key",
        "author",
        "bypass",
    ):
        assert not means_credential(name), name


def test_where_it_belongs_is_known():
    settings = {
        "model_args": {"a": "sk-ant-abcdef"},
        "base": "hf_abcdefgh",
        "launcher": "env MY_API_KEY=x torchrun",
    }
    assert credentials_in(settings) == [
        Found("model_args.a", "ANTHROPIC_API_KEY"),
        Found("base", "HF_TOKEN"),
        Found("launcher", "MY_API_KEY"),
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"model_args": {"password": "hunter2"}, "model": "vllm/org/base"},
            ["model_args.password", "VLLM_API_KEY"],
        ),
        ({"roles": {"judge": "sk-hunter2"}}, ["roles.judge", "OPENAI_API_KEY"]),
        (
            {"model_base_url": "http://me:hunter2@h/v1", "model": "vllm/o/b"},
            ["model_base_url", "VLLM_BASE_URL"],
        ),
        ({"trainer_options": {"hub_token": "hunter2"}}, ["trainer_options.hub_token", "HF_TOKEN"]),
        ({"launcher": "run --password hunter2"}, ["launcher", "has the loop's environment"]),
    ],
)
def test_a_refusal_names_option_and_variable_and_never_the_key(tmp_path: Path, given, told):
    with pytest.raises(RunError) as error:
        refuse_credentials(LoopSettings(run=tmp_path / "run", **given))
    for word in told:
        assert word in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_run_with_a_key_is_refused_before_it_has_a_folder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    assert main(["--run", str(run), "--model-args", "authorization=Bearer sk-hunter2"]) == 1
    told = capfd.readouterr()
    assert "model_args.authorization: OPENAI_API_KEY" in told.err
    assert "hunter2" not in told.err + told.out
    assert not run.exists()


def test_harmless_settings_are_no_reason_to_refuse(tmp_path: Path):
    refuse_credentials(
        LoopSettings(
            run=tmp_path / "token=1",
            threshold=float("nan"),
            task_args={"monkey": "blue", "max_token": "5"},
            trainer_options={"eos_token": "</s>", "pad_token": "<pad>"},
            roles={"secretary": "openai/gpt-4.1"},
            model="local/donkey:adapter",
            model_base_url="http://localhost:8000/v1",
        )
    )


def test_the_hub_gets_no_arguments_of_the_provider_but_harmless_ones():
    from training.reporting.publishing import _shared_settings

    settings = LoopSettings(
        model="vllm/org/base",
        model_args={"headers": "x-gateway: abc", "dtype": "bfloat16", "api_key": "k", "anything": "else"},
        task_args={"password": "p", "turns": "3"},
    )
    told = yaml.safe_dump(_shared_settings(settings))
    assert yaml.safe_load(told)["model_args"] == {"dtype": "bfloat16"}
    assert yaml.safe_load(told)["task_args"] == {"password": "***", "turns": "3"}
