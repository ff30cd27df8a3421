"""Cards of sets of initial states: near-duplicates, and words that give gameable users away."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.generation.give_away import FOLDS, give_away
from scenarios.generation.near_duplicates import Neighbours
from scenarios.generation.similarity import highest_similarities, triples
from scenarios.loader import load_family
from scenarios.set_card import family_card
from scenarios.set_card import main as print_cards
from tests.support.state_writer import WORDS


class TestNeighbours:
    TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=2, max_size=6)

    @given(TEXTS, st.sampled_from([0.2, 1 / 3, 0.5, 0.9, 1.0]))
    def test_the_closest_is_the_highest_similarity_that_reaches_the_limit(self, words, limit):
        texts = [" ".join(w) for w in words]
        index = Neighbours(limit)
        for number, text in enumerate(texts[:-1]):
            index.add(str(number), text)
        highest = max(highest_similarities([text, texts[-1]])[1] for text in texts[:-1])
        assert index.closest(texts[-1]).similarity == (highest if highest >= limit else 0.0)

    @given(TEXTS)
    def test_all_at_once_are_the_highest_similarities(self, words):
        texts = [" ".join(w) for w in words]
        sets = [triples(t) for t in texts]
        expected = [
            max(len(a & b) / len(a | b) if a | b else 0.0 for j, b in enumerate(sets) if j != i)
            for i, a in enumerate(sets)
        ]
        assert highest_similarities(texts).tolist() == pytest.approx(expected)

    @pytest.mark.parametrize(("limit", "expected"), [(0.3, (1 / 3, "first")), (0.34, (0.0, None))])
    def test_a_hand_counted_case(self, limit, expected):
        index = Neighbours(limit)
        index.add("first", "one two three four")  # 2 triples
        index.add("second", "one two three five six")  # 3 triples
        # its 2 triples: one of them is in both; 1/(2+2-1) and 1/(2+3-1)
        assert index.closest("zero one two three") == expected


class TestGiveAway:
    def test_a_word_of_one_kind_tells_all(self):
        kinds = [n % 2 == 0 for n in range(40)]
        rng = random.Random(0)
        texts = [f"{'please agree' if k else 'be honest'} {rng.random()}" for k in kinds]
        found = give_away(texts, kinds, ["a"] * 40)
        assert (found.auroc, found.lower, found.upper) == (1.0, 1.0, 1.0)

    def test_words_that_say_nothing(self):
        rng = random.Random(1)
        texts = [" ".join(rng.sample(WORDS["what"], 4)) for _ in range(400)]
        found = give_away(texts, [n % 2 == 0 for n in range(400)], [str(n % 20 // 2) for n in range(400)])
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower < 0.5 < found.upper
        assert found.upper - found.lower < 0.15

    def test_words_of_the_topic_do_not_count_when_topics_are_kept_together(self):
        # gameable users of each topic have a word of their own, never seen in the other topics
        rows = [
            (f"t{t}", k, f"{WORDS['what'][t]}{k} hello")
            for t in range(10)
            for k in (True, False)
            for _ in range(5)
        ]
        found = give_away([r[2] for r in rows], [r[1] for r in rows], [r[0] for r in rows])
        assert found.auroc == pytest.approx(0.5)

    def test_too_few_states_have_no_number(self):
        found = give_away(["a"] * 12, [True] * (FOLDS - 1) + [False] * 8, ["x"] * 12)
        assert found.auroc is None
        assert "4 states of one kind" in found.reason


class TestCards:
    def test_each_split_is_reported(self):
        card = family_card(load_family("therapy"), states=8)
        assert list(card) == ["train", "held-out topics", "held-out states of train topics"]
        assert (card["train"].topics, card["train"].gameable, card["train"].other) == (12, 48, 48)
        assert card["train"].near_duplicates <= 0.1
        assert (card["train"].message_auroc.auroc or 0) > 0.8

    def test_the_command_prints_text_and_json(self, family_file, capsys):
        assert print_cards([str(family_file), "--states", "4"]) == 0
        assert "train: 1 topics, 2 gameable and 2 other users" in capsys.readouterr().out
        assert print_cards([str(family_file), "--states", "4", "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)[str(family_file)]
        assert figures["held-out topics"]["gameable"] == 2
