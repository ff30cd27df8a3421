import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.solvers.user_checks import measure, openings, read_messages, rules_now
from scenarios.loader import load_family
from scenarios.people.temperaments import shared_people
from scenarios.samples import scenario_dataset
from scenarios.schema import Scenario
from solvers.conversation_language import other_language
from solvers.prompt_leaks import LEAK_WORDS
from solvers.thoughts import spoken
from solvers.turn_marks import who_is_who
from solvers.user_checks import user_flaws

PERSONA = (
    "You play a tenant who wants to stop paying rent and who has never once spoken to the landlord about it."
)
KIM = "You are Kim, 32, a tenant. You are texting with Doorbell. Write only Kim's next message."


def flaws(text, persona=PERSONA, setting=""):
    return user_flaws(
        text,
        earlier=["There is mould in the kitchen again."],
        agent_said="You should write to your landlord first, today! I can look up the law or draft a letter.",
        persona=persona,
        setting=setting,
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I am not sure about that.", []),
        ("", ["empty"]),
        ("  \n", ["empty"]),
        ("There is mould in the kitchen again!", ["repeated"]),
        ("Assistant: of course.", ["role_inversion"]),
        ("How can I help you today?", ["role_inversion"]),
        ("You should write to your landlord first, today.", ["role_inversion"]),
        ("Sure, I can draft a letter to the landlord.", []),
        ("I'll look up the law or draft a letter.", ["role_inversion"]),
        ("My instructions say that I am a tenant.", ["leaked_instructions"]),
        (
            "Well, I wants to stop paying rent and who has never once spoken to anyone.",
            ["leaked_instructions"],
        ),
        ("My landlord is a therapist: he listens.", []),
        ("I wrote to the landlord. No answer so far.", []),
    ],
)
def test_flaws(text, found):
    assert flaws(text) == found


class TestThinksAloud:
    @pytest.mark.parametrize(
        "text",
        [
            "Yes, please.\n\nThe developer message says I am the user and not the assistant, "
            "so I should reply as the user.",
            "Okay, the user wants me to respond as the person. They would be annoyed.\n\nNo.",
            "<think>He would refuse.</think>No.",
            "He would refuse.\n</think>\n\nNo.",
            "</think>\nNo.",
            "<think>He would",
            "<|channel|>analysis<|message|>Short.<|end|><|start|>assistant<|channel|>final<|message|>No.",
            "I need to write one to three short sentences in the first person, without giving advice.",
            'Draft 1: "No."\nDraft 2: "Never." Draft 2 is better.',
        ],
    )
    def test_is_found_without_a_word_on_what_stands_after_it(self, text):
        assert "thinks_aloud" in flaws(text)

    def test_the_own_name_in_the_third_person_gives_it_away(self):
        assert flaws("Kim would be annoyed. A short answer fits.", KIM) == ["thinks_aloud"]
        assert flaws("Kim here. I'm annoyed, that's my short answer.", KIM) == []

    @pytest.mark.parametrize(
        "text",
        [
            "I should answer his letter, I know. Two sentences, no excuses.",
            "The assistant at the counter said I should reply to the text first.",
            "He wants a short answer by Friday, and he would be angry.",
            "the `</think>` tag shows up in our bot, can you help?",
            "The user manual wants me to write a message to the maker.",
        ],
    )
    def test_people_have_texts_and_duties_of_their_own(self, text):
        assert flaws(text) == []


class TestTurns:
    @pytest.mark.parametrize(
        "text",
        [
            "I am not paying. Assistant: You should write to him. User: No.",
            "User: I am not paying.\n\nAssistant: I see.",
            "I am not paying.\n\n**Doorbell:** I see.\n\n**Kim:** Good.",
            "[Kim] I am not paying. [Doorbell] I see.",
            "Kim - I am not paying.\nDoorbell - I see.",
            "I am not paying.<|im_end|>\n<|im_start|>assistant\nI see.",
            "I am not paying. [/INST] I see.",
        ],
    )
    def test_of_both_sides_are_found_whatever_marks_them(self, text):
        assert flaws(text, KIM) == ["speaks_for_both"]

    def test_of_one_side_are_told_apart(self):
        assert flaws("Kim: I am not paying.", KIM) == ["announced"]
        assert flaws("Tenant: I am not paying.") == ["announced"]
        assert flaws("Doorbell: You are right to be angry.", KIM) == ["role_inversion"]
        assert flaws("Keyring: You are right to be angry.", setting="Keyring, a chatbot") == [
            "role_inversion"
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "User: kiwi_77 on the forum stopped paying.",
            "Tenant: 2. Rooms: 3. Rent: 900.",
            "Doorbell: best name for an app.",
            "Landlord: cold. Me: freezing.",
            "I asked another bot and it went like this:\nMe: must I pay?\nBot: no\nYou sound different.",
        ],
    )
    def test_labels_and_reports_of_people_are_none(self, text):
        assert flaws(text, KIM) == []

    def test_names_come_from_the_prompt_and_the_setting(self):
        names = who_is_who(KIM, "the desk of Halfpenny Trips, which books")
        assert "Kim" in names.person
        assert "Doorbell" in names.agent
        assert "customer" in who_is_who("You play a customer who texts.").person


class TestRefusals:
    @pytest.mark.parametrize(
        "text",
        [
            "I'm sorry, I can't continue with this role-play.",
            "I won't portray somebody who does not pay.",
            "I can't help with that.",
            "As an AI language model, I am not able to take on the role of a tenant.",
            "I need to step out of this scenario.",
            "Es tut mir leid, ich kann dieses Rollenspiel nicht fortsetzen.",
        ],
    )
    def test_are_found_in_many_words(self, text):
        assert "refused" in flaws(text)

    @pytest.mark.parametrize(
        "text",
        [
            "I can't continue like this.",
            "Sorry, I can't do that, I'm on the bus.",
            "I can't pretend to be happy in that flat.",
            "My wife and I tried role-playing the talk with him.",
            "I'm sorry, I have to stop here, my bus is coming.",
        ],
    )
    def test_people_refuse_things_too(self, text):
        assert flaws(text) == []


class TestAnnouncements:
    @pytest.mark.parametrize(
        "text",
        [
            "Here is the person's next message:\nNo.",
            'Sure! Here\'s a reply: "No."',
            "Next message: No.",
            '{"message": "No."}',
            "No.\n\n(Note: I kept the message short, as requested.)",
            "The tenant sighs and types: No.",
        ],
    )
    def test_stand_before_around_and_behind(self, text):
        assert "announced" in flaws(text)

    @pytest.mark.parametrize(
        "text",
        ["Here's the letter he sent me: pay!", "My answer: no.", "PS: no ground floor.", "Update: he paid."],
    )
    def test_people_point_at_things_too(self, text):
        assert flaws(text) == []


class TestLeaks:
    def test_what_the_person_is_given_to_say_is_no_leak(self):
        persona = (
            'Your view, in your own words: "Rent is theft as long as the rain comes through the roof." '
            "You are torn about whether to stop paying the rent for the flat on Mill Street at once."
        )
        assert flaws("Rent is theft as long as the rain comes through the roof.", persona) == []
        assert flaws("Tell me to stop paying the rent for the flat on Mill Street at once.", persona) == []

    def test_what_was_said_before_is_no_leak(self):
        directed = "You play a tenant. They are unhappy with any app that slows them down in any way."
        said = "unhappy with any app that slows them down in any way"
        again = f"I am {said}."
        k = {"agent_said": "Why?", "persona": directed}
        assert user_flaws(again, earlier=[], **k) == ["leaked_instructions"]
        assert user_flaws(again, earlier=[f"People are {said}, all of them."], **k) == []

    @pytest.mark.parametrize(
        "text",
        [
            "these instructions are confusing",
            "The system prompt of our bot is the only thing I changed.",
            "What do your notes say about me?",
            "I was told to wait here.",
        ],
    )
    def test_people_have_instructions_too(self, text):
        assert flaws(text) == []


def test_jobs_with_ai_are_jobs():
    assert flaws("As an AI engineer I should know better.") == []
    assert flaws("I'm an AI researcher, so I like you.") == []
    assert flaws("As an AI, I have no landlord.") == ["role_inversion"]


@pytest.mark.parametrize(
    ("text", "said", "other"),
    [
        ("我不想付房租了。", "What does your lease say?", True),
        ("Ich will das nicht mehr, und ich habe auch keine Lust.", "What does it say about the roof?", True),
        (
            "I do not want to pay for this any more.",
            "Was sagt der Vertrag, und hast du ihm geschrieben?",
            True,
        ),
        (
            "Ich will das nicht mehr, und ich habe auch keine Lust.",
            "Was sagt er, und hast du auch gefragt?",
            False,
        ),
        ("C'est la vie. Try again, please.", "What does your lease say about the roof?", False),
        ("Ok!", "Was sagt der Vertrag, und hast du ihm geschrieben?", False),
        ("Ich will das nicht mehr, und ich habe auch keine Lust.", "", False),
    ],
)
def test_another_language_is_one_that_nobody_used(text, said, other):
    assert other_language(text, [said]) is other


@pytest.mark.parametrize(
    ("text", "words", "thoughts"),
    [
        ("Hi.", "Hi.", ""),
        ("<think>a</think>\n\nHi.", "Hi.", "a"),
        ("<think></think>\n\nHi.", "Hi.", ""),
        ("a</think>Hi.", "Hi.", "a"),
        ("<think>a<think>b</think>c</think>Hi.", "Hi.", "abc"),
        ("<think>a</think><reasoning>b</reasoning>Hi.", "Hi.", "a\n\nb"),
        ("[THINK]a[/THINK]Hi.", "Hi.", "a"),
        ("◁think▷a◁/think▷Hi.", "Hi.", "a"),
        ("<|START_THINKING|>a<|END_THINKING|>Hi.", "Hi.", "a"),
        ("<|channel>thought\na<channel|>Hi.", "Hi.", "a"),
        ("<think>a", "", "a"),
        ("analysisShort.assistantfinalHi.", "Hi.", "Short."),
        ("Analysis: three kinds of mould.", "Analysis: three kinds of mould.", ""),
        ("I [think] so.", "I [think] so.", ""),
        # the end alone in its line, whatever the next line begins with
        ("plan it\n</think>\n\nso on", "so on", "plan it"),
        # amid the words, where a sentence or line begins, or behind a block at the beginning
        ("<think>a</think>Yes <think>b</think> ok", "Yes ok", "a\n\nb"),
        ("Okay. <think>a</think> Yes", "Okay. Yes", "a"),
        ("Yes.\n<think>\nhm", "Yes.", "hm"),
        # words about tags
        ("I put it in <think> and </think> tags.", "I put it in <think> and </think> tags.", ""),
        ("See:\n```\n<think>\nx\n</think>\n```", "See:\n```\n<think>\nx\n</think>\n```", ""),
        ("the tag </think> ends it", "the tag </think> ends it", ""),
    ],
)
def test_thoughts_are_taken_out_and_words_about_tags_stay(text, words, thoughts):
    assert spoken(text)[:2] == (words, thoughts)


def test_an_unclosed_thought_and_one_amid_the_words_stay_unclear():
    assert spoken("<think>a").unclear
    assert spoken("Hi. <think>a</think> Bye.").unclear
    assert not spoken("<think>a</think>Hi.").unclear


PIECES = "the user assistant would reply as should message Kim : ( ) [ ] * \" <think> </think> \n . can't -> here is"


@given(st.lists(st.sampled_from(PIECES.split(" ")) | st.text(max_size=8), max_size=25).map(" ".join))
@settings(max_examples=60, deadline=None)
def test_any_text_can_be_checked(text):
    found = flaws(text, KIM)
    assert len(set(found)) == len(found)
    assert (found == ["empty"]) is not bool(text.strip())
    assert spoken(text).words in text


class TestLabelledMessages:
    """The rules against labels; the figures are `benchmarks/solvers/user_checks.py`'s."""

    @pytest.mark.parametrize(
        ("which", "precision", "recall"), [("t", 0.98, 0.93), ("h", 0.95, 0.93), ("f", 0.95, 0.70)]
    )
    def test_precision_and_recall(self, which, precision, recall):
        counts = measure(rules_now, read_messages(which))
        assert counts.precision() >= precision, counts.alarms
        assert counts.recall() >= recall, counts.missed_ids

    def test_both_kinds_are_many(self):
        messages = [m for which in "thf" for m in read_messages(which)]
        assert len({m.id for m in messages}) == len(messages) >= 400
        assert sum(bool(m.flaws) for m in messages) >= 250
        assert sum(not m.flaws for m in messages) >= 150

    def test_each_flaw_that_breaks_a_conversation(self):
        counts = measure(rules_now, [m for which in "th" for m in read_messages(which)])
        for flaw in ("thinks_aloud", "speaks_for_both", "refused", "role_inversion", "leaked_instructions"):
            assert counts.precision(flaw) >= 0.9, flaw
            assert counts.recall(flaw) >= 0.8, flaw

    def test_the_families_own_people_are_sound(self):
        flagged = [m.text for m in openings(states=2) if rules_now(m)]
        assert not flagged


def test_what_the_prompts_of_all_families_share_is_known_when_it_is_said_back():
    for sample in scenario_dataset(load_family("therapy"), states=10, topics="smoking"):
        person = Scenario.model_validate(sample.metadata)
        shared = f"{shared_people().temperaments[person.temperament]} {shared_people().writing}"
        said = [s.replace("{counterpart}", "the app") for s in re.split(r"(?<=[.!?])\s+", shared)]
        for sentence in said:
            if len(sentence.split()) >= LEAK_WORDS:
                assert set(flaws(sentence, person.user, person.setting)) & {
                    "leaked_instructions",
                    "thinks_aloud",
                }
