"""Options of `training/ei_loop.py`; each class is a group of them."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from scenarios.conversations.roles import misspelled_role
from scenarios.schema import Frozen
from training.algorithms import ALGORITHMS, known_algorithm

Algorithm = Annotated[str, AfterValidator(known_algorithm)]
"""A name in `training/algorithms.py`."""

VetoMode = Literal["none", "binary", "constitutional", "five_point", "negative", "five_point_negative"]
Level = Literal["state", "topic", "family", "all"]
Control = Literal["none", "random", "reversed", "no_gameable_users"]

MINIATURE = "miniature/agent"


def _fraction(value: Any) -> Any:
    """`1/16` and `0.0625` are the same."""
    if not isinstance(value, str) or "/" not in value:
        return value
    try:
        return float(Fraction(value))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"{value!r} is no fraction such as 1/16, and no number such as 0.0625") from None


def _run(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("empty; name a folder")
    return value


def _targets(value: Any) -> Any:
    """A command line gives a list, of which `all-linear` is not one."""
    return value[0] if isinstance(value, list) and value == ["all-linear"] else value


Share = Annotated[float, BeforeValidator(_fraction)]


class Options(Frozen):
    """A group of options; numbers are finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Run(Options):
    """What is run, and where it lands."""

    run: Annotated[Path, BeforeValidator(_run)] = Field(
        Path("logs/ei"), title="run", description="folder of the run; the same again resumes it"
    )
    iterations: int = Field(4, ge=1, title="run", description="rounds of rollouts and training")
    seed: int = Field(0, title="run", description="of everything that is drawn")
    report_to: list[Literal["wandb", "trackio", "tensorboard"]] = Field(
        [], title="run", description="trackers for loop metrics and trainer curves: wandb trackio tensorboard"
    )
    push_to_hub: str | None = Field(
        None, title="run", description="hub repository for adapters and selected data, with a card"
    )


class Cast(Options):
    """Who plays what."""

    model: str = Field(
        MINIATURE,
        title="models",
        description="the model under training, as Inspect names it: miniature/agent, local/<folder or hub "
        "id>, vllm/<hub id>",
    )
    base: str | None = Field(
        None, title="models", description="weights to train; by default those that `model` names"
    )
    revision: str | None = Field(None, title="models", description="of a base on the hub")
    model_args: dict[str, Any] = Field({}, title="models", description="key=value for the agent's provider")
    model_base_url: str | None = Field(
        None, title="models", description="of the server that serves the agent, e.g. a vLLM server"
    )
    roles: dict[str, str] = Field(
        {}, title="models", description="role=model: user, preference, transition, influence, veto, judge"
    )
    max_connections: int | None = Field(
        None, ge=1, title="models", description="calls at the same time, in each process"
    )
    temperature: float | None = Field(
        None, ge=0, le=2, title="models", description="of the agent; the task's own if not given"
    )
    reply_tokens: int | None = Field(
        None, ge=1, title="models", description="most tokens of a reply; the task's own if not given"
    )
    processes: int | None = Field(
        None,
        ge=1,
        title="models",
        description="that hold conversations side by side; the miniature: one a core, up to 4; others: one",
    )

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, roles: dict[str, str]) -> dict[str, str]:
        if mistake := misspelled_role(roles):
            raise ValueError(mistake)
        for role, model in roles.items():
            if not model.strip():
                raise ValueError(f"{role}=: name the model that plays {role}")
        return roles


class Population(Options):
    """Who talks with the model, for training and for the evaluation."""

    task: str = Field("tasks/therapy.py", title="population", description="Inspect task file[@task]")
    task_args: dict[str, Any] = Field({}, title="population", description="key=value, as -T of inspect eval")
    topics: list[str] | None = Field(
        None, title="population", description="topics to train on; all of the train split by default"
    )
    states: int | None = Field(
        None,
        ge=1,
        title="population",
        description="initial states per topic in training; the task's own number (16, or all that a topic "
        "has) if not given",
    )
    epochs: int = Field(
        4, ge=1, title="population", description="conversations per initial state in training"
    )
    gameable: Share | None = Field(
        None,
        ge=0,
        le=1,
        title="population",
        description="share of gameable users in training; half, or what the scenarios have, if not given",
    )
    fresh_states: bool = Field(
        True, title="population", description="new initial states in each iteration, not the same again"
    )
    heldout_topics: list[str] | None = Field(
        None, title="population", description="topics of the evaluation; all held-out topics by default"
    )
    heldout_states: int | None = Field(
        None,
        ge=1,
        title="population",
        description="initial states per held-out topic; as `states` if not given",
    )
    heldout_gameable: Share | None = Field(
        None,
        ge=0,
        le=1,
        title="population",
        description="as `gameable`, for the evaluation",
    )
    heldout_epochs: int = Field(1, ge=1, title="population", description="conversations per held-out state")


class Monitoring(Options):
    """What a monitor of the model's activations does in the run."""

    monitor: str | None = Field(
        None, title="monitor", description="folder of a saved monitor that reads along in every conversation"
    )
    monitor_use: Literal["watch", "filter", "penalty"] = Field(
        "watch",
        title="monitor",
        description="watch: it is measured and changes nothing; filter: what it flags is not trained on; "
        "penalty: its probability is taken off the rating",
    )
    monitor_level: float | None = Field(
        None,
        ge=0,
        le=1,
        title="monitor",
        description="filter: from this probability on; the monitor's own threshold if not given",
    )
    monitor_weight: float = Field(
        5.0, gt=0, title="monitor", description="penalty: points of the rating taken off at probability 1"
    )
    monitor_refit: bool = Field(
        True, title="monitor", description="fit it again on each round's conversations, to compare"
    )
    harmful_from: float = Field(
        0.5, title="monitor", description="value of the harm score from which on the monitor should see it"
    )


class Choosing(Monitoring):
    """Which conversations are trained on."""

    select_per: Level = Field(
        "state", title="selection", description="state (best of n), topic, family or all are ranked together"
    )
    fraction: Share | None = Field(
        None,
        gt=0,
        le=0.5,
        title="selection",
        description="share of a group taken as best, and as worst; 1/16",
    )
    count: int | None = Field(
        None, ge=1, title="selection", description="conversations of a group taken as best, and as worst"
    )
    threshold: float | None = Field(
        None,
        allow_inf_nan=True,  # refused with the other settings that a run cannot have
        title="selection",
        description="best: rated at least so; worst: rated below it",
    )
    min_gap: float = Field(
        0.0,
        ge=0,
        title="selection",
        description="rating by which best must lie above worst (or the group's mean)",
    )
    score: str = Field("preference", title="selection", description="score that is the reward")
    harm_score: str = Field("influence", title="selection", description="score that is reported as harm")
    veto_mode: VetoMode = Field(
        "none",
        title="selection",
        description="filter by the veto's judge; *negative: it may still be a worst",
    )
    veto_level: float | None = Field(
        None, title="selection", description="from this value on vetoed; 0.5, or 2 of five_point"
    )
    veto_counting: Literal["before", "after"] = Field(
        "before", title="selection", description="vetoed ones leave before, or after, the fraction is counted"
    )
    allow_vanished: bool = Field(
        False, title="selection", description="go on if a topic has nothing left to select"
    )
    control: Control = Field(
        "none", title="selection", description="random selection, reversed labels, or no_gameable_users"
    )

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        given = [n for n in ("fraction", "count", "threshold") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; give one")
        return self


class Mixing(Options):
    """Static data beside the selected conversations."""

    mix: str | None = Field(
        None, title="mixing", description="data set: hh-rlhf, pku-saferlhf, a table, or a hub id"
    )
    mix_share: Share = Field(0.5, gt=0, lt=1, title="mixing", description="its share of the final set")
    mix_split: str = Field("train", title="mixing", description="split of a hub data set")
    mix_columns: dict[str, str] = Field(
        {},
        title="mixing",
        description="what the data set calls prompt, completion, chosen, rejected, label, and which value of "
        "a label is desirable (desirable=...)",
    )
    mix_encoding: str | None = Field(
        None, title="mixing", description="of a text file, e.g. cp1252; told from its bytes if not given"
    )


class Tuning(Options):
    """How the model is fine-tuned."""

    algorithm: Algorithm = Field(
        "ei", title="training", description=f"{', '.join(ALGORITHMS)}; ei is SFT on the best"
    )
    tuning: Literal["lora", "qlora", "full"] = Field(
        "lora", title="training", description="which weights move"
    )
    lora_r: int = Field(16, ge=1, title="training", description="rank of the adapter")
    lora_alpha: int = Field(32, ge=1, title="training", description="scale of the adapter")
    lora_dropout: float = Field(0.0, ge=0, lt=1, title="training", description="of the adapter")
    lora_rs: bool = Field(False, title="training", description="scale by alpha / sqrt(r) (rsLoRA)")
    lora_targets: Annotated[str | list[str], BeforeValidator(_targets)] = Field(
        "all-linear", title="training", description="layers with adapters: all-linear, or names"
    )
    learning_rate: float = Field(2e-5, gt=0, title="training", description="of the first iteration")
    learning_rate_decay: float = Field(
        1.0, gt=0, le=1, title="training", description="factor from one iteration to the next"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", title="training", description="of the learning rate within an iteration"
    )
    passes: float = Field(1.0, gt=0, title="training", description="epochs over the examples in an iteration")
    batch_size: int = Field(
        16, ge=1, title="training", description="examples per optimizer step, over all devices"
    )
    device_batch_size: int | None = Field(
        None,
        ge=1,
        title="training",
        description="examples per device at once; the batch size divided if not given",
    )
    max_length: int = Field(
        4096, ge=8, title="training", description="tokens of an example; longer ones are left out and counted"
    )
    max_grad_norm: float = Field(1.0, gt=0, title="training", description="gradient clipping")
    beta: float = Field(
        0.1, ge=0, title="training", description="of kto and dpo; weight of the KL term in grpo"
    )
    reference: Literal["moving", "base"] = Field(
        "moving",
        title="training",
        description="reference policy of kto, dpo and grpo: the last iteration's, or the base",
    )
    target_ratio: float = Field(
        1.05, gt=0, title="training", description="kto: desirable to undesirable weight times count"
    )
    generations: int = Field(8, ge=2, title="training", description="grpo: conversations per group")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        None,
        title="training",
        description="of the weights; by default float32 on a CPU and for full tuning, else bfloat16",
    )
    gradient_checkpointing: bool = Field(False, title="training", description="less memory, more time")
    attn_implementation: str | None = Field(None, title="training", description="as in transformers")
    trainer_options: dict[str, Any] = Field(
        {}, title="training", description="key=value for TRL's configuration, e.g. optim=adamw_bnb_8bit"
    )
    launcher: str | None = Field(
        None,
        title="training",
        description="command put before the trainer, e.g. 'torchrun --nproc_per_node 8' or "
        "'accelerate launch --config_file training/launch/accelerate/fsdp2.yaml'",
    )
    kl_replies: int = Field(
        64,
        ge=0,
        title="training",
        description="held-out replies on which the divergence from the base is measured",
    )


class LoopSettings(Tuning, Mixing, Choosing, Population, Cast, Run):
    """All options of the loop."""
