"""The accelerate configurations, read by accelerate itself."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from typing import Any

import pytest

from tests.support.places import ROOT
from tests.support.processes_together import TOGETHER

pytestmark = pytest.mark.slow

FOLDER = ROOT / "training" / "launch" / "accelerate"
NAMES = ["one_gpu", "ddp", "fsdp2", "zero2", "zero3"]


def launch_arguments(name: str, *more: str) -> Namespace:
    """What `accelerate launch` makes of a configuration."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    given = [
        "--config_file",
        str(FOLDER / f"{name}.yaml"),
        *more,
        "-m",
        "training.trainers.worker",
        "job.json",
    ]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(given))
    return arguments


def environment(name: str, *more: str) -> dict[str, str]:
    """What the trainer's processes find in their environment."""
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    arguments = launch_arguments(name, *more)
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ""
        return prepare_deepspeed_cmd_env(arguments)[1]
    return prepare_multi_gpu_env(arguments)


def test_the_folder_holds_these_and_no_others():
    assert sorted(p.stem for p in FOLDER.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_accelerate_reads_the_file(name):
    from accelerate.commands.config.config_args import load_config_from_file

    config: Any = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert (
        config.distributed_type.value
        == {
            "one_gpu": "NO",
            "ddp": "MULTI_GPU",
            "fsdp2": "FSDP",
            "zero2": "DEEPSPEED",
            "zero3": "DEEPSPEED",
        }[name]
    )
    assert config.mixed_precision == "no"
    assert config.use_cpu is False


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_number_of_processes_has_to_be_given(name):
    with pytest.raises(ValueError, match="--num_processes"):
        launch_arguments(name)
    assert launch_arguments(name, "--num_processes", "4").num_processes == 4


def test_one_gpu_is_one_process():
    assert launch_arguments("one_gpu").num_processes == 1


def test_what_fsdp2_tells_the_trainer():
    found = environment("fsdp2", "--num_processes", "2")
    assert found["ACCELERATE_USE_FSDP"] == "true"
    assert found["FSDP_VERSION"] == "2"
    assert found["FSDP_RESHARD_AFTER_FORWARD"].lower() == "true"
    assert found["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert found["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    assert found["FSDP_ACTIVATION_CHECKPOINTING"].lower() == "false"


@pytest.mark.parametrize(("name", "stage"), [("zero2", "2"), ("zero3", "3")])
def test_what_zero_tells_the_trainer(name, stage):
    found = environment(name, "--num_processes", "2")
    assert found["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert found["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == stage
    assert found["ACCELERATE_DEEPSPEED_ZERO3_INIT"].lower() == str(stage == "3").lower()
    for part in ("OPTIMIZER", "PARAM"):
        assert found[f"ACCELERATE_DEEPSPEED_OFFLOAD_{part}_DEVICE"] == "none"
    # left to the job's batch sizes and gradient clipping
    assert found.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto") == "auto"
    assert found.get("ACCELERATE_GRADIENT_CLIPPING", "auto") == "auto"


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_on_several_nodes_deepspeed_is_started_by_torchrun(name):
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    place = ("--machine_rank", "1", "--main_process_ip", "head", "--main_process_port", "29517")
    arguments = launch_arguments(name, "--num_machines", "2", "--num_processes", "16", *place)
    arguments.deepspeed_fields_from_accelerate_config = ""
    prepare_deepspeed_cmd_env(arguments)
    assert (arguments.nnodes, arguments.nproc_per_node, arguments.node_rank) == ("2", "8", 1)
    assert (arguments.rdzv_backend, arguments.rdzv_endpoint) == ("static", "head:29517")


def test_ddp_starts_as_many_processes_as_asked_for(tmp_path):
    (tmp_path / "together.py").write_text(TOGETHER)
    command = [
        *(sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"),
        *("--config_file", str(FOLDER / "ddp.yaml"), "--num_processes", "2", "--main_process_port", "0"),
        *("-m", "together", "job.json"),
    ]
    told = tmp_path / "told.json"
    variables = os.environ | {"OMP_NUM_THREADS": "1", "TOLD": str(told)}
    subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, check=True, timeout=120)
    assert json.loads(told.read_text()) == {
        "ranks": [0, 1],
        "type": "DistributedType.MULTI_CPU",
        "arguments": ["job.json"],
    }
