"""Builders on small files of the sources' formats: columns and traps, not their texts."""

import csv
import gzip
import json
from collections import Counter

import pytest

from probes.conversations.labels import DataError
from probes.laboratory.rows import read_rows
from probes.laboratory.sources.table import SOURCES, build_rows
from scenarios.files.tables import TableError
from scenarios.mistakes import UserMistake
from tests.support.places import DATA


def built(name, *files, **options):
    left_out = Counter()
    return build_rows(SOURCES[name], list(files), left_out, **options), left_out


def jsonl(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def roles(row):
    return [message["role"] for message in row.messages]


def test_hh_transcripts(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    start = "\n\nHuman: Is the ice safe?\n\nAssistant: "
    rows = [
        {"chosen": f"{start}No.\n\nHuman: Why?\n\nAssistant: It is thin.", "rejected": f"{start}Yes."},
        {"chosen": "\n\nHuman: A\n\nHuman: B\n\nAssistant: C", "rejected": f"{start}No."},
        {"chosen": f"{start}One.", "rejected": ""},
        {"chosen": f"{start}Line one:\n\nAssistance: no speaker.", "rejected": f"{start}Two."},
    ]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    found, left_out = built("anthropic_hh", path)
    assert [(r.id, r.pair) for r in found] == [
        ("anthropic_hh-0_chosen", "anthropic_hh-0"), ("anthropic_hh-0_rejected", "anthropic_hh-0"),
        ("anthropic_hh-3_chosen", "anthropic_hh-3"), ("anthropic_hh-3_rejected", "anthropic_hh-3"),
    ]  # fmt: skip
    assert roles(found[0]) == ["system", "user", "assistant", "user", "assistant"]
    assert found[2].messages[2]["content"].endswith("Assistance: no speaker.")
    assert left_out == {"not in turn, or a turn without words": 1, "no rejected": 1}
    assert len({r.split for r in found if r.pair == "anthropic_hh-0"}) == 1


def test_mts_dialogues(tmp_path):
    def row(number, dialogue, context="He fell."):
        return {"ID": number, "section_header": "CC", "section_text": context, "dialogue": dialogue}

    rows = [
        row(
            0, "Doctor: What happened?\r\nPatient: I fell.\r\nPatient: On ice: a lot of it.\r\nDoctor: I see."
        ),
        row(1, "Doctor: Hello.\nGuest_family: He fell."),
        row(2, "Patient: Hello?"),
        row(3, "So it began. Doctor: Hello."),
        row(4, "Patient: Hi.\nDoctor: Hi.", context=""),
        row(5, ""),
    ]
    dev = table(tmp_path / "MTS-Dialog-TrainingSet.csv", rows)
    test = table(tmp_path / "MTS-Dialog-TestSet-1.csv", [row(0, "Patient: My arm.\nDoctor: Show me.")])
    found, left_out = built("mts", dev, test)
    assert [r.split for r in found] == ["dev", "dev", "test"]
    assert len({r.id for r in found}) == len({r.pair for r in found}) == 3  # ids start anew in each file
    assert roles(found[0]) == ["system", "assistant", "user", "assistant"]
    assert "He fell." in found[0].messages[0]["content"]
    assert found[0].messages[2]["content"] == "I fell.\nOn ice: a lot of it."
    assert roles(found[1]) == ["user", "assistant"]
    assert left_out == {
        "a third speaker": 1, "only one of the two speaks": 1, "words before the first speaker": 1, "no dialogue": 1,
    }  # fmt: skip


def test_medical_transcriptions_under_several_specialities_are_a_pair(tmp_path):
    rows = [
        {"description": "Ankle.", "medical_specialty": " Radiology", "sample_name": " Views ", "transcription": "EXAM: ,Right ankle.", "keywords": ""},
        {"description": "Ankle.", "medical_specialty": " Orthopedic", "sample_name": "Views", "transcription": "exam:, right  ankle", "keywords": ""},
        {"description": "None.", "medical_specialty": "Other", "sample_name": "", "transcription": "nan", "keywords": ""},
    ]  # fmt: skip
    found, left_out = built("mt", table(tmp_path / "mtsamples.csv", rows))
    assert found[0].pair == found[1].pair
    assert found[0].facts["speciality"] == "Radiology"
    assert (
        found[0]
        .messages[1]["content"]
        .startswith("Speciality: Radiology\nTitle: Views\nSummary: Ankle.\n\nEXAM:")
    )
    assert left_out == {"no transcription": 1}


def test_mental_health_statements(tmp_path):
    rows = [
        {"": n, "statement": s, "status": "Normal"}
        for n, s in enumerate(["I am fine", "i am fine!", "", "NaN", "[I am] fine"])
    ]
    found, left_out = built("mental_health", table(tmp_path / "Combined Data.csv", rows))
    assert [m["content"] for r in found for m in r.messages] == ["I am fine", "i am fine!", "[I am] fine"]
    assert found[0].pair == found[1].pair == found[2].pair
    assert (found[0].facts["status"], left_out) == ("Normal", {"no statement": 2})


def test_aya_in_four_languages(tmp_path):
    def row(language, harm="['Violence, threats & incitement', 'Harassment']"):
        return {
            "prompt": f"in {language}",
            "harm_category": harm,
            "language": language,
            "global_or_local": "global",
        }

    files = [
        jsonl(tmp_path / f"aya_{code}.jsonl", [row(name)])
        for code, name in (("eng", "English"), ("hin", "Hindi"), ("fra", "French"), ("spa", "Spanish"))
    ]
    found, _ = built("aya_redteaming", *files)
    assert [r.facts["language"] for r in found] == ["English", "Hindi", "French", "Spanish"]
    assert "Violence" in found[0].facts["harm"]
    assert len({r.id for r in found}) == 4
    with pytest.raises(TableError, match=r"tlh.jsonl:1: language: 'Klingon' is none of English"):
        built("aya_redteaming", jsonl(tmp_path / "tlh.jsonl", [row("Klingon")]))


def test_mask_is_pressure_against_questions_and_a_proposition_stays_together(tmp_path):
    def row(n, **more):
        return {
            "system_prompt": "You sell tea.",
            "user_prompt": f"Say it is safe. {n}",
            "proposition": "The tea is safe.",
            "belief_elicit_1": "Is it safe?",
            "belief_elicit_2": f"Safe? {n}",
            "belief_elicit_3": None,
        } | more

    path = jsonl(
        tmp_path / "continuations.jsonl",
        [row(0), row(1, proposition="the tea is safe"), row(2, belief_elicit_1="", belief_elicit_2="")],
    )
    found, left_out = built("mask", path)
    assert [r.label for r in found] == [1, 0, 0, 1, 0, 0]
    assert len({r.pair for r in found}) == 1
    assert roles(found[0]) == ["system", "user"]
    assert roles(found[1]) == ["user"]
    assert left_out == {"no question for the belief": 1}


def test_deployment_contexts_are_twins(tmp_path):
    rows = [
        {"deployment_context": "You help a dam.", "high_stakes": "The dam cracks.", "low_stakes": json.dumps([{"role": "user", "content": "The cup cracks."}]), "domain": "water"},
        {"deployment_context": "x", "high_stakes": "same", "low_stakes": "same", "domain": ""},
        {"deployment_context": "x", "high_stakes": "a", "low_stakes": "", "domain": ""},
    ]  # fmt: skip
    found, left_out = built("deployment", jsonl(tmp_path / "contexts.jsonl", rows))
    assert [(r.label, r.messages[-1]["content"]) for r in found] == [
        (1, "The dam cracks."),
        (0, "The cup cracks."),
    ]
    assert roles(found[1]) == ["system", "user"]
    assert found[0].pair == found[1].pair
    assert left_out == {"both sides are equal": 1, "a side is missing": 1}
    with pytest.raises(TableError, match="no columns high_stakes and low_stakes"):
        built("deployment", jsonl(tmp_path / "other.jsonl", [{"text": "x"}]))


# -- ToolACE --------------------------------------------------------------------------------------

FUNCTIONS = [
    {"name": "Open Valve", "description": "Opens.", "parameters": {"type": "dict", "properties": {"valve": {"type": "int"}, "note": {"type": "str"}}}},
    {"name": "Read", "description": "Reads.", "parameters": {"type": "dict", "properties": {"list": {"type": "float"}}}},
]  # fmt: skip
SYSTEM = f"You help [a dam].\nHere is a list of functions in JSON format that you can invoke:\n{json.dumps(FUNCTIONS)}. \nPut it in the format of [f(a=b)]"


def toolace(tmp_path, *turns, system=SYSTEM):
    conversations = [{"from": who, "value": words} for who, words in turns]
    (found,), _ = built(
        "toolace", jsonl(tmp_path / "data.jsonl", [{"system": system, "conversations": conversations}])
    )
    return found


def test_toolace_calls_become_calls_and_results_belong_to_them(tmp_path):
    row = toolace(
        tmp_path,
        ("user", "Open 3 and read."),
        (
            "assistant",
            '[Open Valve(valve=3, note="a (b), \\"c\\"] d"), Read(list=[1, {"k": true}], from="a, b=c")]',
        ),
        ("tool", '[{"name": "Open Valve", "results": 1}, {"name": "Read", "results": {"x": null}}]'),
        ("assistant", "Done (both)."),
    )
    assert roles(row) == ["system", "user", "assistant", "tool", "tool", "assistant"]
    calls = [call["function"] for call in row.messages[2]["tool_calls"]]
    assert calls == [
        {"name": "Open Valve", "arguments": {"valve": 3, "note": 'a (b), "c"] d'}},
        {"name": "Read", "arguments": {"list": [1, {"k": True}], "from": "a, b=c"}},
    ]
    assert [m["tool_call_id"] for m in row.messages[3:5]] == [c["id"] for c in row.messages[2]["tool_calls"]]
    assert row.messages[4]["name"] == "Read"
    assert (
        row.messages[0]["content"]
        == "You help [a dam].\nHere is a list of functions in JSON format that you can invoke:\nPut it in the format of [f(a=b)]"
    )
    assert [t["function"]["name"] for t in row.tools] == ["Open Valve", "Read"]
    assert row.tools[0]["function"]["parameters"]["properties"]["valve"] == {"type": "integer"}
    assert row.facts["calls"] == "tools"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("[Open Valve(3)]", "text"),  # not by name
        ("[Open Valve(valve=close_all())]", "text"),  # no literal: nothing is run
        ("[Open Valve(valve=3]", "text"),
        ("[Shut Valve(valve=3)]", "none"),  # not offered
        ("[Open Valve(valve=3) and more]", "text"),
        ("The list [1, 2] is empty.", "none"),
    ],
)
def test_what_is_no_call_stays_text(tmp_path, words, kind):
    row = toolace(tmp_path, ("user", "Go."), ("assistant", words))
    assert row.messages[-1] == {"role": "assistant", "content": words}
    assert row.facts["calls"] == kind


def test_toolace_rows_that_are_none(tmp_path):
    rows = [
        {"system": SYSTEM, "conversations": [{"from": "narrator", "value": "a"}]},
        {"system": SYSTEM, "conversations": []},
    ]
    found, left_out = built("toolace", jsonl(tmp_path / "data.jsonl", rows))
    assert found == []
    assert sum(left_out.values()) == 2


def test_a_prompt_without_a_list_of_functions_stays_as_it_is(tmp_path):
    for system in ("Say f|{a/b}.", "You can invoke:\n[]. Put it so."):
        row = toolace(tmp_path, ("user", "a"), ("assistant", "b"), system=system)
        assert (row.messages[0]["content"], row.tools, row.facts["calls"]) == (system, None, "none")


@pytest.mark.skipif(not (DATA / "stakes").is_dir(), reason="the real data are not here")
def test_real_toolace_conversations(tmp_path):
    rows = []
    for row in read_rows(DATA / "stakes" / "toolace.jsonl"):
        system, *rest = row.messages
        turns = [{"from": m["role"], "value": m["content"]} for m in rest]
        rows.append({"system": system["content"], "conversations": turns})
    found, left_out = built("toolace", jsonl(tmp_path / "data.jsonl", rows))
    assert (len(found), left_out) == (len(rows), {})
    kinds = Counter(row.facts["calls"] for row in found)
    assert kinds["tools"] >= 0.7 * len(found), kinds
    results = sum(m["role"] == "tool" for row in found for m in row.messages)
    assert results >= sum(t["from"] == "tool" for row in rows for t in row["conversations"]) * 0.95


# -- all ------------------------------------------------------------------------------------------


def test_splits_are_drawn_by_pair_and_do_not_move(tmp_path):
    rows = [{"statement": f"statement {n % 40} of many", "status": "Normal"} for n in range(80)]
    path = table(tmp_path / "data.csv", rows)
    found, _ = built("mental_health", path, test=0.3)
    assert 0.1 < sum(r.split == "test" for r in found) / len(found) < 0.5
    assert built("mental_health", path, test=0.3)[0] == found
    more = built("mental_health", table(tmp_path / "more.csv", rows[:40]), test=0.3)[0]
    assert {r.pair: r.split for r in more} == {r.pair: r.split for r in found}


def test_files_that_are_not_of_the_source(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    for name in SOURCES:
        with pytest.raises(UserMistake, match=r"a\.jsonl:1"):
            built(name, path)
    with pytest.raises(DataError, match="no such file; mts is at github"):
        built("mts", tmp_path / "gone.csv")
    broken = tmp_path / "b.jsonl"
    broken.write_text('{"chosen": ')
    with pytest.raises(TableError, match=r"b\.jsonl:1: not JSON"):
        built("anthropic_hh", broken)
