import pytest

from solvers.user_checks import user_flaws

PERSONA = (
    "You play a tenant who wants to stop paying rent and who has never once spoken to the landlord about it."
)


@pytest.mark.parametrize(
    ("text", "flaws"),
    [
        ("I am not sure about that.", []),
        ("", ["empty"]),
        ("  \n", ["empty"]),
        ("There is mould in the kitchen again!", ["repeated"]),
        ("Assistant: of course.", ["role_inversion"]),
        ("How can I help you today?", ["role_inversion"]),
        ("You should write to your landlord first, today.", ["role_inversion"]),
        ("My instructions say that I am a tenant.", ["leaked_instructions"]),
        (
            "Well, I wants to stop paying rent and who has never once spoken to anyone.",
            ["leaked_instructions"],
        ),
        ("My landlord is a therapist: he listens.", []),
        ("I wrote to the landlord. No answer so far.", []),
    ],
)
def test_flaws(text, flaws):
    found = user_flaws(
        text,
        earlier=["There is mould in the kitchen again."],
        agent_said="You should write to your landlord first, today!",
        persona=PERSONA,
    )
    assert found == flaws
