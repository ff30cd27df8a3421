"""How conversations ended, what was wrong with simulated users, what it cost, and how many are needed."""

from collections import Counter

from analysis.reporting.gathering import Material
from analysis.reporting.page import Part, Section, Table
from analysis.reporting.power import POWERS, SIGNIFICANCE

FOLDED_FROM = 24


def endings_section(material: Material) -> Section:
    """Stop reasons and flaws of simulated users."""
    stops = list(dict.fromkeys(c.stop for e in material.evaluations for c in e.conversations))
    rows = []
    for one in material.evaluations:
        found = Counter(c.stop for c in one.conversations)
        vetoed = sum(c.vetoed for c in one.conversations)
        rows.append([one.name, one.task, *(str(found[stop]) for stop in stops), str(vetoed)])
    head = ["evaluation", "task", *(stop.replace("_", " ") for stop in stops), "vetoed replies"]
    ended = Part("Why conversations ended", tables=[Table(head, rows, folded=len(rows) > FOLDED_FROM)])
    words = (
        "A conversation that ended in an error has no scores. Flaws of the simulated user are found by "
        "rules, in messages that stand and "
        "in drafts that were thrown away; how often the user behaves as people do is a question for a judge "
        "(construct user_realism)."
    )
    return Section("endings", "How conversations went", [words], [ended, _flaws(material)])


def _flaws(material: Material) -> Part:
    rows = []
    for number, content in material.contents.items():
        user, log = content.user, material.logs[number]
        if user.stand or user.thrown_away:
            standing = ", ".join(f"{n} {flaw.replace('_', ' ')}" for flaw, n in user.standing.most_common())
            drafts = ", ".join(f"{n} {flaw.replace('_', ' ')}" for flaw, n in user.of_drafts.most_common())
            share = f"{100 * user.flawed / user.stand:.1f} %" if user.stand else "–"
            rows.append(
                [
                    log.name,
                    str(user.stand),
                    share,
                    standing or "none",
                    str(user.thrown_away),
                    drafts or "none",
                ]
            )
    if not rows:
        return Part("The simulated user", ["No log has messages of a simulated user that were looked at."])
    head = ["log", "messages", "with a flaw", "flaws", "drafts thrown away", "for"]
    return Part("The simulated user", tables=[Table(head, rows, folded=len(rows) > FOLDED_FROM)])


def cost_section(material: Material) -> Section:
    """Tokens and cost by role."""
    rows = []
    unknown = False
    for one in material.evaluations:
        roles = list(dict.fromkeys(role for c in one.conversations for role in c.tokens))
        for role in roles:
            used = [c.tokens[role] for c in one.conversations if role in c.tokens]
            costs = [t.cost for t in used if t.cost is not None]
            read, written = sum(t.read for t in used), sum(t.written for t in used)
            known = len(costs) == len(used)
            unknown |= not known
            each = (read + written) / len(one.conversations)
            cost = f"{sum(costs):.2f}" if known else "–"
            rows.append([one.name, role, f"{read:,}", f"{written:,}", f"{each:,.0f}", cost])
    if not rows:
        return Section("cost", "Tokens and cost", ["The logs do not say how many tokens were used."], [])
    head = [
        "evaluation",
        "role, or model",
        "tokens read",
        "tokens written",
        "tokens per conversation",
        "dollars",
    ]
    words = (
        "By role where the log tells roles, else by model: one that plays several roles, or is the model "
        "under test and a judge, is one "
        "line there. Tokens of scores that were added later are not in a sample's count."
    )
    notes = ["Dollars: a dash where Inspect knows no price for the model."] if unknown else []
    return Section(
        "cost",
        "Tokens and cost",
        [words],
        [Part(tables=[Table(head, rows, "", notes, folded=len(rows) > FOLDED_FROM)])],
    )


def power_section(material: Material) -> Section:
    """Initial states that a difference needs."""
    if not material.needed:
        text = (
            "No table: no evaluation has ratings of four or more initial states of both kinds of users, "
            "from which to tell how much "
            "states vary."
        )
        return Section("power", "How many conversations are needed", [text], [])
    rows = [
        [
            one.task,
            one.column.title,
            one.design,
            f"{one.difference:g} on {one.column.asked.scale}",
            *(_many(one.needed[power]) for power in POWERS),
            f"{one.spread:.2f} (of {one.states} states)",
            f"{one.per_state:.1f}",
        ]
        for one in material.needed
    ]
    head = ["task", "measure", "comparison", "difference"]
    head += [f"states for power {100 * power:.0f} %" for power in POWERS]
    head += ["standard deviation between states", "conversations each here"]
    words = (
        f"Initial states on each side that a two-sided t test at {100 * SIGNIFICANCE:g} % needs to see a "
        "difference of that size so often "
        "(power), if states vary as they do in the evaluation of the task with the most states. "
        "Conversations are the states times those with "
        "each state; more conversations with the same states help less than more states. A spread of few "
        "states is itself uncertain."
    )
    return Section(
        "power",
        "How many conversations are needed",
        [words],
        [Part(tables=[Table(head, rows, folded=len(rows) > 36)])],
    )


def _many(states: int | None) -> str:
    return "over a million" if states is None else f"{states:,}"
