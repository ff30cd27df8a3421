"""The weights that are trained: loaded before the training, saved whole or not at all after it."""

import importlib.util
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoTokenizer, BitsAndBytesConfig, PreTrainedTokenizerBase

from providers.causal_models import loader_of, loading_bar
from scenarios.files.whole import write_json
from training.job import REPORT, Job, Trained
from training.trainers.adapter_layers import left_out

ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LONG_RUN = 200
"""Optimizer steps from which on the trainer keeps checkpoints of its own, to resume from."""


class CannotTrain(ValueError):
    """A job that cannot be done as it stands. The message says why and what to do."""


def processes() -> int:
    """Processes that train together; torchrun and accelerate tell it to each of them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def load_tokenizer(job: Job) -> PreTrainedTokenizerBase:
    """The base's tokenizer, with which every checkpoint is served as well.

    Raises:
        CannotTrain: It has no chat template.
    """
    tokenizer = AutoTokenizer.from_pretrained(job.base, revision=job.revision)
    if job.chat_template is not None:
        tokenizer.chat_template = job.chat_template.read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise CannotTrain(
            f"{job.base} has no chat template; use the model's instruction-tuned version, "
            "or name one with model_args chat_template=<file.jinja>"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(job: Job) -> tuple[Any, LoraConfig | None]:
    """The model to be trained.

    With ZeRO-3 and FSDP the trainer's configuration must have been made before, so that each process
    loads its part alone.

    Returns:
        A base with the configuration of its fresh adapter; or, with None, an adapter to be continued on its
        base, or a full model.

    Raises:
        CannotTrain: The checkpoint to start from is broken or of another kind; QLoRA without its library.
    """
    check_start(job)
    if job.tuning.tuning == "full":
        return load_full(job, str(job.start or job.base)), None
    base = load_full(job, job.base)
    if job.start is None:
        return base, _adapter(job, base)
    # ZeRO-3 gathers weights of one type alone
    same_type = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3" and job.tuning.tuning == "lora"
    try:
        model = PeftModel.from_pretrained(
            base, job.start, is_trainable=True, autocast_adapter_dtype=not same_type
        )
    except (RuntimeError, TypeError, ValueError) as error:
        raise CannotTrain(f"{job.start}: the adapter does not fit {job.base}: {error}") from error
    return model, None


def load_full(job: Job, source: str) -> Any:
    """All weights in a folder or hub repository, in the type that the job asks for."""
    revision = job.revision if source == job.base else None
    arguments: dict[str, Any] = {"dtype": weights_dtype(job), "revision": revision}
    if job.tuning.attn_implementation is not None:
        arguments["attn_implementation"] = job.tuning.attn_implementation
    if job.tuning.tuning == "qlora":
        arguments |= _quantized()
    config = AutoConfig.from_pretrained(source, revision=revision)
    with loading_bar():
        return loader_of(config, source).from_pretrained(source, **arguments)


def weights_dtype(job: Job) -> torch.dtype:
    """Type in which weights are held.

    Not given: float32 on a CPU, and bfloat16 on a GPU for a base that stays as it is. Weights that are all
    trained are float32, and computed with in bfloat16, because small steps vanish in bfloat16's eight bits.
    """
    tuning = job.tuning
    if tuning.tuning == "full" and tuning.dtype in (None, "float16"):
        return torch.float32
    if tuning.dtype is not None:
        return getattr(torch, tuning.dtype)
    return torch.bfloat16 if torch.cuda.is_available() else torch.float32


def check_start(job: Job) -> None:
    """Look at the checkpoint to start from before anything expensive is loaded.

    Raises:
        CannotTrain: A file is missing or cut off, or it is an adapter where a full model is needed.
    """
    if job.start is None:
        return
    full = job.tuning.tuning == "full"
    other = ADAPTER if full else "config.json"
    needed = "config.json" if full else ADAPTER
    if not (job.start / needed).exists() and (job.start / other).exists():
        kinds = ("a full model", "a LoRA adapter") if full else ("a LoRA adapter", "a full model")
        raise CannotTrain(
            f"{job.start} is {kinds[1]}, and tuning={job.tuning.tuning} goes on from {kinds[0]}"
        )
    weights = sorted(job.start.glob("model*.safetensors")) if full else [job.start / ADAPTER_WEIGHTS]
    try:
        json.loads((job.start / needed).read_text(encoding="utf-8"))
        if not weights:
            raise FileNotFoundError("no model*.safetensors")
        for file in weights:
            with safe_open(file, framework="pt"):
                pass
    except (OSError, ValueError, SafetensorError) as error:
        raise CannotTrain(
            f"{job.start}: the checkpoint to start from is not whole ({error}). Delete this folder and start "
            "the run again: it trains that iteration once more"
        ) from error


def common_arguments(job: Job, *, examples: int | None = None) -> dict[str, Any]:
    """Training arguments that all algorithms share, under transformers' names.

    Args:
        job: What is to be trained.
        examples: Rows, if the trainer goes over them once per pass; tells how long it takes.

    Raises:
        CannotTrain: The batch cannot be divided as asked.
    """
    tuning = job.tuning
    device_batch, accumulation = divided_batch(job)
    gpu = torch.cuda.is_available()
    halved = tuning.dtype if gpu else None
    steps = 0 if examples is None else tuning.passes * examples / tuning.batch_size
    return {
        "output_dir": str(job.scratch / "trainer"),
        "per_device_train_batch_size": device_batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": tuning.passes,
        "learning_rate": tuning.learning_rate,
        "lr_scheduler_type": tuning.schedule,
        "max_grad_norm": tuning.max_grad_norm,
        "gradient_checkpointing": tuning.gradient_checkpointing,
        "bf16": gpu and halved in (None, "bfloat16"),
        "fp16": halved == "float16",
        "use_cpu": not torch.accelerator.is_available(),
        "dataloader_pin_memory": gpu,
        "seed": job.seed,
        "report_to": job.report_to or "none",
        "run_name": job.run_name or None,
        "logging_steps": 1,
        # a loss that is no number is an error here, not something to leave out of a mean
        "logging_nan_inf_filter": False,
        "save_strategy": "steps" if steps > LONG_RUN else "no",
        "save_steps": LONG_RUN // 2,
        "save_total_limit": 2,
    }


def divided_batch(job: Job) -> tuple[int, int]:
    """Examples on each device at once, and how many such batches make an optimizer step.

    Raises:
        CannotTrain: `batch_size` is not a multiple of what the devices take at once.
    """
    size, count = job.tuning.batch_size, processes()
    given = job.tuning.device_batch_size
    at_once = count * (given or 1)
    if size % at_once:
        each = f" with {given} examples each" if given else ""
        raise CannotTrain(
            f"batch_size {size} cannot be divided over {count} processes{each}; "
            f"the nearest that can is {max(at_once, round(size / at_once) * at_once)}"
        )
    device_batch = given or size // count
    return device_batch, size // (count * device_batch)


def save(trainer: Any, tokenizer: PreTrainedTokenizerBase, job: Job, trained: Trained) -> None:
    """Write the checkpoint with its tokenizer and `training.json` under its final name, whole.

    All processes call it; the first one writes. An adapter is saved as plain LoRA, which every server reads.

    Raises:
        CannotTrain: It could not be written, e.g. because the disk is full; nothing is left of it.
    """
    accelerator = trainer.accelerator
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    weights = accelerator.get_state_dict(trainer.model_wrapped) if sharded else None
    if accelerator.is_main_process:
        unfinished = job.out.with_name(f"{job.out.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            write_weights(accelerator.unwrap_model(trainer.model), job, unfinished, weights)
            tokenizer.save_pretrained(unfinished)
            write_json(unfinished / REPORT, trained.model_dump(mode="json"))
            unfinished.rename(job.out)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise CannotTrain(
                f"{job.out}: the checkpoint could not be written: {error}. Nothing is left of it; "
                "make room or mend the disk, and start the run again"
            ) from error
    accelerator.wait_for_everyone()


def write_weights(model: Any, job: Job, folder: Path, weights: dict[str, torch.Tensor] | None) -> None:
    """Write a full model, or its adapter as plain LoRA on the base that the job names.

    Args:
        model: Out of the trainer's wrappers.
        job: What is trained.
        folder: Made if it is not there.
        weights: Gathered from several processes; None if the model holds them itself.
    """
    if not isinstance(model, PeftModel):
        model.save_pretrained(folder, state_dict=weights)
        return
    adapter = model.peft_config["default"]
    adapter.base_model_name_or_path, adapter.revision = job.base, job.revision
    model.save_pretrained(
        str(folder), selected_adapters=["default"], save_embedding_layers=False, state_dict=weights
    )
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card has nothing filled in


def _adapter(job: Job, base: Any) -> LoraConfig:
    tuning = job.tuning
    pattern = isinstance(tuning.lora_targets, str) and tuning.lora_targets != "all-linear"
    return LoraConfig(
        r=tuning.lora_r,
        lora_alpha=tuning.lora_alpha,
        lora_dropout=tuning.lora_dropout,
        use_rslora=tuning.lora_rs,
        target_modules=tuning.lora_targets,
        exclude_modules=None if pattern else left_out(base),  # a pattern says all itself
        task_type="CAUSAL_LM",
    )


def _quantized() -> dict[str, Any]:
    """A base in 4 bits (Dettmers et al. 2023, arXiv:2305.14314): NF4, its constants quantized too."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CannotTrain("tuning=qlora needs bitsandbytes: pip install bitsandbytes; or take tuning=lora")
    if not torch.cuda.is_available():
        raise CannotTrain("tuning=qlora needs a GPU; take tuning=lora")
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}
