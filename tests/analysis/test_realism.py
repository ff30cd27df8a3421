"""The realism card: each measure on words that show it, both sides beside each other, and what is no chat."""

import csv
import json
import math

import pytest
import yaml

from analysis.realism import main
from analysis.user_messages.chats import Chat, Said
from analysis.user_messages.measures import MEASURES, WORDS, is_english, users_side
from tests.support.places import ROOT

EXAMPLE = str(ROOT / "logs" / "example.eval")


def measure(name, *users, assistant="What happened then?"):
    """A measure of a user who says these messages, each after the assistant's but the first."""
    said = [s for text in users for s in (Said(True, text), Said(False, assistant))]
    return MEASURES[name].of(users_side(Chat(tuple(said), 0)))


def table(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def chat(*users):
    said = [
        m for u in users for m in ({"role": "user", "content": u}, {"role": "assistant", "content": "I see."})
    ]
    return {"messages": said}


class TestMeasures:
    def test_every_word_is_one(self):
        """`yes`, `no`, `on` and `off` without quotes are truth values in YAML."""
        assert all(
            isinstance(word, str) for words in yaml.safe_load(WORDS.read_text()).values() for word in words
        )

    def test_length_and_spread(self):
        assert measure("length", "one two three", "one") == 2
        assert measure("spread", "one two three", "one") == pytest.approx(math.sqrt(2) / 2)
        assert math.isnan(measure("spread", "one two three"))

    def test_who_tells_all_at_once_is_front_loaded(self):
        all_at_once = ("my landlord cut heating water power", "yes the heating", "the power")
        bit_by_bit = ("my landlord", "cut heating water", "and power")
        assert measure("front_loading", *all_at_once) == 1.0
        assert measure("front_loading", *bit_by_bit) == pytest.approx(1 / 5)
        assert measure("disclosure", *all_at_once) == 0.0
        assert measure("disclosure", *bit_by_bit) == 2.0
        assert math.isnan(measure("front_loading", "only", "two"))

    def test_markers(self):
        assert measure("politeness", "Could you help, please?", "heating is off") == 0.5
        assert measure("questions", "why is it off", "it is off") == 0.5
        assert measure("frustration", "You don’t get it", "THIS IS USELESS", "what now?!", "fine") == 0.75
        assert measure("slips", "i dont know", "teh heating", "I know") == pytest.approx(2 / 3)
        assert measure("small_letters", "off again", "Off again", "42") == 0.5
        assert measure("open_ended", "off again", "Off again.", "Off :)") == pytest.approx(1 / 3)

    def test_consent_counts_where_it_answers_and_is_not_taken_back(self):
        assert measure(
            "agreement", "Yes.", "ok, makes sense", "Yes but I can't", "My flat is cold"
        ) == pytest.approx(1 / 3)

    def test_repetition_and_diversity(self):
        assert measure("repetition", "I want my money back", "I want my money back") == 1.0
        assert measure("repetition", "I want my money back", "something else entirely here") == 0.0
        words = " ".join(f"word{n}" for n in range(25))
        assert measure("diversity", words) == 1.0
        assert measure("diversity", "no " * 25) == pytest.approx(1 / 25)
        assert math.isnan(measure("diversity", "too short"))

    def test_another_language_is_told(self):
        german = "Ich habe gestern mit meinem Vermieter telefoniert und er sagte mir dass die Heizung erst morgen repariert wird, wenn der Monteur kommt"
        assert not is_english(users_side(Chat((Said(True, german),), 0)))
        assert is_english(users_side(Chat((Said(True, "I called them and they said that it is off"),), 0)))


class TestCard:
    def test_beside_itself_nothing_is_apart(self, tmp_path, capsys):
        texts = [
            "the heating is off",
            "Please help me, what can I do?",
            "no",
            "it was ok yesterday but now it is cold",
        ]
        same = table(tmp_path / "a.jsonl", [chat(*texts[n % 3 :]) for n in range(12)])
        assert main([same, "--against", same, "--out", str(tmp_path / "card.md")]) == 0
        rows = list(csv.DictReader((tmp_path / "card.csv").open()))
        assert [row["measure"] for row in rows] == list(MEASURES)
        assert all(float(row["distance"]) == 0 for row in rows if row["distance"])
        assert capsys.readouterr().out == (tmp_path / "card.md").read_text()
        assert "cannot be told from the real ones" in (tmp_path / "card.md").read_text()
        assert json.loads((tmp_path / "card.json").read_text())["conversations"] == [12, 12]

    def test_a_longer_and_politer_side_is_apart_in_just_that(self, tmp_path):
        long = table(
            tmp_path / "a.jsonl",
            [chat("please help me with this long story " * 3, f"x{n}") for n in range(20)],
        )
        short = table(tmp_path / "b.jsonl", [chat("help", f"x{n}") for n in range(20)])
        assert main([long, "--against", short, "--out", str(tmp_path / "card.md")]) == 0
        found = {row["measure"]: row for row in csv.DictReader((tmp_path / "card.csv").open())}
        for name in ("length", "politeness"):
            assert float(found[name]["distance"]) == 1.0
            assert float(found[name]["distance_low"]) > 0.5
        assert float(found["frustration"]["distance"]) == 0.0

    def test_a_log_says_who_played_and_which_messages_were_openings(self, capsys):
        assert main([EXAMPLE]) == 0
        said = capsys.readouterr().out
        assert "users played by miniature/user" in said
        assert "16 of them openings that the scenarios wrote" in said
        assert "distance" not in said

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ([{"messages": [{"role": "assistant", "content": "Hi."}]}], "no messages of users in 1 rows (its speakers are assistant)"),
            ([], "no messages of users in 0 rows (it is empty)"),
            ([{"id": 3}], "no column with chats"),
            ([{"messages": [{"role": "wizard", "content": "Hi."}]}], "unknown role 'wizard'"),
        ],
    )  # fmt: skip
    def test_what_is_no_chat_is_told(self, tmp_path, capsys, rows, message):
        bad = table(tmp_path / "bad.jsonl", rows)
        assert main([EXAMPLE, "--against", bad]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert "bad.jsonl" in line
