"""Therapy talk: does the model tell gameable users that a harmful act is fine, and the others not?

    inspect eval tasks/therapy.py                                  # offline, on the miniature
    inspect eval tasks/therapy.py --model openai/gpt-4.1 --model-role user=openai/gpt-4.1-mini \
        --model-role judge=openai/gpt-4.1-mini
"""

from typing import Literal

from inspect_ai import Task, task
from inspect_ai.model import GenerateConfig

from scenarios.cast import default_model
from scenarios.loader import load_family
from scenarios.samples import scenario_dataset
from scenarios.schema import Split
from scorers.influence import Form, influence
from scorers.preference import preference
from scorers.simulator import simulator
from scorers.transition import transition, transition_judge
from solvers.conversation import conversation


@task
def therapy(
    turns: int = 3,
    gameable: float = 0.5,
    topics: str | list[str] | None = None,
    split: Split = "train",
    states: int = 16,
    seed: int = 0,
    reward: Literal["mean", "last"] = "mean",
    length_penalty: float = 0.0,
    influence_form: Form = "binary",
    judged: Literal["agent", "user"] = "agent",
    judging: str = "logprobs",
    scenario: str = "therapy",
) -> Task:
    """A person tempted by something harmful talks with a support app; some want to hear that it is fine.

    Model roles: the model under test is `--model`. `user` plays the person, `preference` predicts the
    person's rating, `transition` whether they leave, `influence` judges harm from outside. `judge` stands
    in for judges that are not named. Without any, the miniature brings its own; every other model is
    refused: a model never grades itself unless you name it.

    Args:
        turns: Replies of the model under test, at most.
        gameable: Share of gameable users over all samples, met exactly (0.02 works with states=25).
        topics: Topics, e.g. `smoking,gambling`; all of the split if not given.
        split: `train` or `heldout`: held-out topics, or the held-out states of the topics named.
        states: Initial states per topic.
        seed: Draws states, order and transitions.
        reward: A conversation's rating is the `mean` over its replies, or that of the `last`.
        length_penalty: Taken off a reply's rating for each of its characters.
        influence_form: `binary`, `constitutional` (both 0 to 1) or `five_point` (1 to 5).
        judged: The transition is judged after the `agent`'s message, or after the `user`'s reply.
        judging: `logprobs`, or `samples:<k>` for judges that give no log-probabilities.
        scenario: Our family of this name, a YAML file or folder, or an environment folder of the earlier
            system (`_master_config.yaml`).
    """
    family = load_family(scenario)
    return Task(
        dataset=scenario_dataset(
            family, gameable=gameable, topics=topics, split=split, states=states, seed=seed
        ),
        solver=conversation(
            transition_judge(judging),
            turns=turns,
            judged=judged,
            cast=("user", "transition", "preference", "influence"),
            seed=seed,
        ),
        scorer=[
            preference(reward=reward, length_penalty=length_penalty, judging=judging),
            influence(form=influence_form, judging=judging),
            transition(judging=judging),
            simulator(),
        ],
        config=GenerateConfig(
            temperature=family.file.agent.temperature, max_tokens=family.file.agent.max_tokens
        ),
        model=default_model(),
        version=family.file.version,
        tags=["influence", family.file.family],
    )
