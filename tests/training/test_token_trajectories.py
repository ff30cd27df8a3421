"""Conversations in tokens: what of them the agent wrote, and which are compared with which."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.agent_rows import conversation, made, says, trajectories
from tests.support.tiny_models import TEMPLATE, tiny_tokenizer
from training.trainers.token_trajectories import Group, TokenTrajectory, groups_of, in_order

TOOLS = (
    "{%- if tools -%}{{- '<|im_start|>tools\n' + (tools | tojson) + '<|im_end|>\n' -}}{%- endif -%}"
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] -}}"
    "{%- for c in m['tool_calls'] or [] -%}{{- '<call>' + (c['function'] | tojson) + '</call>' -}}{%- endfor -%}"
    "{{- '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
FORGETS = TEMPLATE.replace(
    "m['content']", "(m['content'] if loop.last else m['content'].split('</think>')[-1])"
)
"""Takes out of every message but the last what was thought."""

BOOKING = [{"type": "function", "function": {"name": "book", "description": "Books.", "parameters": {}}}]


def marked(trajectory: TokenTrajectory) -> list[tuple[int, str]]:
    """Stretches of the completion that are, or are not, the agent's, as text."""
    tokenizer = tiny_tokenizer()
    stretches: list[tuple[int, list[int]]] = []
    for token, mark in zip(trajectory.completion, trajectory.mask, strict=True):
        if not stretches or stretches[-1][0] != mark:
            stretches.append((mark, []))
        stretches[-1][1].append(token)
    return [(mark, str(tokenizer.decode(ids))) for mark, ids in stretches]


# -- tokens and masks -------------------------------------------------------------------------------


def test_only_what_the_agent_wrote_is_marked() -> None:
    (one,) = trajectories(
        conversation(
            [
                says("system", "Be kind."),
                says("user", "hello"),
                says("assistant", "how are you"),
                says("user", "today?"),
                says("assistant", "there"),
            ]
        )
    )
    assert marked(one) == [
        (1, "how are you<|im_end|>"),
        (0, "\n<|im_start|>user\ntoday?<|im_end|>\n<|im_start|>assistant\n"),
        (1, "there<|im_end|>"),
    ]
    assert tiny_tokenizer().decode(one.prompt) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert (one.reward, one.generations) == (5.0, 2)


def test_openings_of_the_scenario_and_tool_results_are_not_marked() -> None:
    call = {"type": "function", "id": "1", "function": {"name": "book", "arguments": {"seats": 2}}}
    (one,) = trajectories(
        conversation(
            [
                says("user", "hello"),
                says("assistant", "written by the scenario"),
                says("user", "two seats"),
                says("assistant", "", tool_calls=[call]),
                says("tool", "sold out", name="book", tool_call_id="1"),
                says("assistant", "done"),
            ],
            tools=BOOKING,
            opening=3,
        ),
        TOOLS,
    )
    assert marked(one) == [
        (1, '<call>{"name": "book", "arguments": {"seats": 2}}</call><|im_end|>'),
        (0, "\n<|im_start|>tool\nsold out<|im_end|>\n<|im_start|>assistant\n"),
        (1, "done<|im_end|>"),
    ]
    assert "written by the scenario" in tiny_tokenizer().decode(one.prompt)


WORDS = st.text(alphabet="ab <|>\n'", max_size=12)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_marked_and_unmarked_tokens_together_are_the_whole_conversation(turns: list[tuple[str, str]]) -> None:
    messages = [m for user, agent in turns for m in (says("user", user), says("assistant", agent))]
    (one,) = trajectories(conversation(messages))
    text = tiny_tokenizer().decode(one.prompt + one.completion)
    whole = tiny_tokenizer().apply_chat_template(messages, tokenize=False) + "<|im_end|>"
    assert text == whole
    assert [t for mark, t in marked(one) if mark] == [f"{agent}<|im_end|>" for _, agent in turns]


def test_a_template_that_rewrites_earlier_turns_cuts_the_trajectory_there() -> None:
    left_out = Counter[str]()
    (one,) = trajectories(
        conversation(
            [
                says("user", "hello"),
                says("assistant", "plain"),
                says("user", "and?"),
                says("assistant", "<think>\nhm\n</think>\n\nthere"),
                says("user", "so?"),
                says("assistant", "three"),
                says("user", "well?"),
                says("assistant", "four"),
            ]
        ),
        FORGETS,
        left_out,
    )
    assert [t for mark, t in marked(one) if mark] == [
        "plain<|im_end|>",
        "<think>\nhm\n</think>\n\nthere<|im_end|>",
    ]
    assert left_out == {"cut_by_template": 2}


def test_a_conversation_whose_first_reply_is_missing_is_left_out() -> None:
    rows = conversation(
        [says("user", "a"), says("assistant", "b"), says("user", "c"), says("assistant", "d")]
    )
    left_out = Counter[str]()
    assert trajectories(rows[1:], left_out=left_out) == []
    assert left_out == {"without_beginning": 1}


def test_turns_are_joined_in_order_and_epochs_kept_apart() -> None:
    talk = [says("user", "a"), says("assistant", "b"), says("user", "c"), says("assistant", "d")]
    rows = [*conversation(talk, epoch=2, score=2.0), *conversation(talk, epoch=1, score=1.0)]
    found = trajectories([rows[1], rows[2], rows[0], rows[3]])
    assert [(t.epoch, t.reward, t.generations) for t in found] == [(2, 2.0, 2), (1, 1.0, 2)]


# -- groups, order, steps ---------------------------------------------------------------------------


def test_groups_hold_one_state_and_what_cannot_be_compared_is_counted() -> None:
    left_out = Counter[str]()
    groups = groups_of(
        [
            *(made("a", r) for r in (1.0, 2.0, 3.0, 4.0, 5.0)),
            *(made("equal", 7.0) for _ in range(3)),
            made("alone", 1.0),
            made("prompts", 1.0, prompt=1),
            made("prompts", 2.0, prompt=2),
            *(made("few", r) for r in (1.0, 9.0)),
        ],
        4,
        left_out,
    )
    assert [(g.name, [m.reward for m in g.members]) for g in groups] == [
        ("a/1", [1.0, 3.0, 5.0]),
        ("a/2", [2.0, 4.0]),
        ("few/1", [1.0, 9.0]),
    ]
    assert left_out == {"equal_rewards": 3, "alone": 3}


@given(st.integers(2, 40), st.integers(2, 9))
def test_no_conversation_of_a_state_is_left_alone_by_the_division(count: int, most: int) -> None:
    left_out = Counter[str]()
    groups = groups_of([made("a", float(n)) for n in range(count)], most, left_out)
    sizes = [len(g.members) for g in groups]
    assert sum(sizes) == count
    assert min(sizes) >= 2
    assert max(sizes) <= most + 1
    assert max(sizes) - min(sizes) <= 1
    assert not left_out


@given(st.integers(1, 12), st.sampled_from([0.5, 1.0, 2.0, 2.5]), st.integers(0, 9))
def test_every_group_is_used_as_often_as_there_are_passes(count: int, passes: float, seed: int) -> None:
    groups = [Group(str(n), (made(str(n), 1.0), made(str(n), 2.0))) for n in range(count)]
    order = in_order(groups, passes, seed)
    uses = Counter(g.name for g in order)
    assert len(order) == max(1, round(passes * count))
    assert {uses[g.name] for g in groups} <= {int(passes), -int(-passes // 1)}
    assert order == in_order(groups, passes, seed)
