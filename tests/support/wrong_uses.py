"""Commands used wrongly, as a table, and what becomes of each: a line, several, or a traceback.

`tests/test_wrong_uses.py` holds every row to one line; `benchmarks/scenarios/wrong_uses.py` counts them by command.
"""

import contextlib
import importlib
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.places import ROOT
from tests.support.tiny_models import tiny_model

EXAMPLE = ROOT / "logs" / "example.eval"
NOWHERE = "/proc/nowhere"
"""Where nobody may write, root neither."""


class WrongUse(NamedTuple):
    """A command line with one mistake in it."""

    command: str
    """File of the command, relative to the repository."""

    arguments: str
    """Shell words; `{at}` is the folder that `material` fills."""

    status: int
    """1: what is named cannot be used; 2: an option or a setting is wrong."""

    says: str
    """Part of the line: what is wrong, where, or the remedy."""


class Outcome(NamedTuple):
    """What a command did."""

    status: int | None
    """None: it ended in a traceback."""

    lines: list[str]
    """On stderr, without empty ones."""

    @property
    def in_one_line(self) -> bool:
        """Whether the mistake was told as it should be."""
        return self.status in (1, 2) and len(self.lines) == 1 and "Traceback" not in self.lines[0]


def material(folder: Path) -> Path:
    """Fill a folder with what commands are wrongly given; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "empty.eval").touch()
    (folder / "empty.jsonl").touch()
    (folder / "words.txt").write_text("only words\n")
    (folder / "binary.jsonl").write_bytes(bytes(range(256)))
    (folder / "log.eval").write_bytes(EXAMPLE.read_bytes())
    (folder / "cut.eval").write_bytes(EXAMPLE.read_bytes()[: EXAMPLE.stat().st_size // 2])
    (folder / "junk.eval").write_bytes(b"PK\x03\x04" + bytes(200))
    (folder / "list.yaml").write_text("- a\n- b\n")
    (folder / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    (folder / "typo.yaml").write_text("sed: 1\n")
    (folder / "cut.yaml").write_text("model: {a: [\n")
    (folder / "nul.yaml").write_bytes(b"seed: \x00\n")
    (folder / "rows.jsonl").write_text('{"id": "a", "inputs": "Hello.", "labels": "yes"}\nno json\n')
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("iterations: many\n")
    tiny_model(folder / "model")
    (folder / "store").mkdir()
    (folder / "store" / "0123456789abcdef").mkdir()
    (folder / "store" / "0123456789abcdef" / "spec.json").write_text("{}")
    return folder


def tried(use: WrongUse, folder: Path) -> Outcome:
    """Run a command in this process. Nothing of what it says reaches the terminal."""
    module = importlib.import_module(use.command.removesuffix(".py").replace("/", "."))
    arguments = shlex.split(use.arguments.format(at=folder))
    said, before, place = io.StringIO(), dict(os.environ), Path.cwd()
    status: int | None
    try:
        os.chdir(ROOT)
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = module.main(arguments)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException as error:
        status = None
        print(f"{type(error).__name__}: {error}", file=said)
    finally:
        os.chdir(place)
        os.environ.clear()
        os.environ.update(before)
    return Outcome(status, [line for line in said.getvalue().splitlines() if line.strip()])


def _of(command: str, *uses: tuple[str, int, str]) -> list[WrongUse]:
    return [WrongUse(command, *use) for use in uses]


USES: Sequence[WrongUse] = [
    *_of(
        "tasks/run_set.py",
        ("", 2, "a file comes first"),
        ("--log-dir {at}/set", 2, "a file comes first"),
        ("tasks/sets/families.yaml", 2, "--log-dir is missing"),
        ("tasks/sets/families.yaml --log-dir {at}/set --model a/b", 2, "stand in tasks/sets/families.yaml"),
        ("{at}/nothing.yaml --log-dir {at}/set", 1, "{at}/nothing.yaml"),
        ("{at}/cut.yaml --log-dir {at}/set", 1, "{at}/cut.yaml"),
    ),
    *_of(
        "analysis/table.py",
        ("", 2, "logs"),
        ("{at}/log.eval --lst", 2, "did you mean '--last'?"),
        ("{at}/log.eval --by topics", 2, "did you mean 'topic'?"),
        ("{at}/log.eval --by", 2, "--by: expected"),
        ("{at}/log.eval --by topic --by topic", 2, "--by is given twice"),
        ("{at}/nothing.eval", 1, "{at}/nothing.eval"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/empty.eval", 1, "{at}/empty.eval"),
        ("{at}/junk.eval", 1, "{at}/junk.eval"),
        ("{at}/cut.eval", 1, "{at}/cut.eval"),
        ("{at}/words.txt", 1, "{at}/words.txt"),
    ),
    *_of(
        "analysis/report.py",
        ("{at}/log.eval", 2, "--out"),
        ("{at}/log.eval --uot {at}/report", 2, "did you mean '--out'?"),
        ("{at}/log.eval --out {at}/report --processes 0", 2, "--processes 0"),
        ("{at}/log.eval --out {at}/report --view here", 2, "--view here"),
        ("{at}/log.eval --out {at}", 1, "--out {at}: holds other files"),
        ("{at}/log.eval --out {at}/words.txt", 1, "--out {at}/words.txt"),
        ("{at}/nothing.eval --out {at}/report", 1, "{at}/nothing.eval"),
        ("{at}/folder --out {at}/report", 1, "there are no logs"),
        ("{at}/cut.eval --out {at}/report", 1, "{at}/cut.eval"),
    ),
    *_of(
        "analysis/sessions.py",
        ("", 2, "logs"),
        ("{at}/log.eval --outt x.csv", 2, "did you mean '--out'?"),
        ("{at}/log.eval --out x.txt", 2, "ends in .csv or .json"),
        ("{at}/log.eval", 1, "a log of task 'therapy', in which nobody comes back"),
        ("{at}/nothing.eval", 1, "{at}/nothing.eval"),
        ("{at}/cut.eval", 1, "{at}/cut.eval"),
    ),
    *_of(
        "analysis/realism.py",
        ("", 2, "logs"),
        ("{at}/log.eval --aganst x", 2, "did you mean '--against'?"),
        ("{at}/log.eval --out card.txt", 2, "ends in .md"),
        ("{at}/rows.jsonl {at}/log.eval", 2, "name it alone"),
        ("{at}/log.eval --against {at}/nothing.jsonl", 1, "{at}/nothing.jsonl"),
        ("{at}/log.eval --against {at}/empty.jsonl", 1, "it is empty"),
        ("{at}/log.eval --against {at}/rows.jsonl", 1, "{at}/rows.jsonl:2"),
        ("{at}/log.eval --against {at}/words.txt", 1, "no table"),
        ("{at}/cut.eval", 1, "{at}/cut.eval"),
        ("{at}/log.eval --out " + NOWHERE + "/card.md", 1, NOWHERE),
    ),
    *_of(
        "scorers/agreement.py",
        ("", 2, "logs"),
        ("{at}/log.eval --rater a,b", 2, "did you mean '--raters'?"),
        ("{at}/log.eval --level nominl", 2, "did you mean 'nominal'?"),
        ("{at}/nothing.eval", 1, "{at}/nothing.eval"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/empty.eval", 1, "{at}/empty.eval"),
        ("{at}/junk.eval", 1, "{at}/junk.eval"),
        ("{at}/words.txt", 1, "{at}/words.txt"),
        ("{at}/log.eval --raters nobody,influence", 1, "nobody"),
        (
            "{at}/log.eval --raters preference,influence --level ordinal --json " + NOWHERE + "/x.json",
            1,
            NOWHERE,
        ),
    ),
    *_of(
        "scorers/human.py",
        ("", 2, "command"),
        ("tmplate {at}/log.eval", 2, "did you mean 'template'?"),
        ("template {at}/log.eval --scale 1-5", 2, "--construct"),
        ("template {at}/log.eval --scale 1-6 --construct harm", 2, "'1-6' is none of"),
        ("template {at}/log.eval --scale 1-5 --constrct harm", 2, "did you mean '--construct'?"),
        ("template {at}/log.eval --scale 1-5 --construct harm --n many", 2, "--n: invalid int value: 'many'"),
        ("template {at}/log.eval --scale 1-5 --construct harm --n 0", 1, "--n must be 1 or more"),
        ("template {at}/log.eval --scale 1-5 --construct harm --n -3", 1, "--n must be 1 or more"),
        ("template {at}/log.eval --scale 1-5 --construct harm --scale 0-1", 2, "--scale is given twice"),
        ("template {at}/log.eval --scale 1-5 --construct harm --out " + NOWHERE + "/a.csv", 1, NOWHERE),
        ("template {at}/log.eval --scale 1-5 --construct harm --out {at}/folder", 1, "{at}/folder"),
        ("template {at}/log.eval --scale 1-5 --construct decepton", 1, "deception"),
        ("template {at}/nothing.eval --scale 1-5 --construct harm", 1, "{at}/nothing.eval"),
        ("template {at}/folder --scale 1-5 --construct harm", 1, "{at}/folder"),
        ("template {at}/junk.eval --scale 1-5 --construct harm", 1, "{at}/junk.eval"),
        ("import {at}/log.eval {at}/empty --rater anna", 1, "{at}/empty"),
        ("import {at}/log.eval {at}/words.txt --rater anna", 1, "{at}/words.txt"),
        ("import {at}/log.eval {at}/binary.jsonl --rater anna", 1, "{at}/binary.jsonl"),
        ("import {at}/log.eval {at}/words.txt", 2, "--rater"),
        ("import {at}/log.eval {at}/words.txt --rater ''", 1, "'' cannot be part"),
        ("import {at}/log.eval {at}/words.txt --rater a --out x --in-place", 2, "not allowed with"),
    ),
    *_of(
        "scenarios/set_card.py",
        ("terapy", 1, "did you mean 'therapy'?"),
        ("{at}/nothing.yaml", 1, "{at}/nothing.yaml"),
        ("{at}/list.yaml", 1, "{at}/list.yaml"),
        ("{at}/cut.yaml", 1, "{at}/cut.yaml"),
        ("{at}/nul.yaml", 1, "{at}/nul.yaml"),
        ("{at}/folder", 1, "{at}/folder"),
        ("therapy --state 3", 2, "did you mean '--states'?"),
        ("therapy --states x", 2, "--states: invalid int value: 'x'"),
        ("therapy --states 0", 1, "--states must be 2 or more"),
        ("therapy --seed nan", 2, "--seed: invalid int value: 'nan'"),
    ),
    *_of(
        "scenarios/import_runs.py",
        ("", 2, "runs"),
        ("{at}/nothing.jsonl", 1, "{at}/nothing.jsonl"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/empty.jsonl", 1, "{at}/empty.jsonl"),
        ("{at}/binary.jsonl", 1, "{at}/binary.jsonl"),
        ("{at}/rows.jsonl", 1, "{at}/rows.jsonl"),
        ("{at}/rows.jsonl --influence-scale 1-6", 1, "1-6"),
        ("{at}/rows.jsonl --label harm", 1, "harm"),
        ("{at}/rows.jsonl --lable harm=1-10", 2, "did you mean '--label'?"),
        ("{at}/rows.jsonl --out a --out b", 2, "--out is given twice"),
    ),
    *_of(
        "scenarios/generate.py",
        ("", 2, "family"),
        ("--family terapy --topic smoking --n 2 --out {at}/s.yaml", 1, "did you mean 'therapy'?"),
        ("--family therapy --topic smokin --n 2 --out {at}/s.yaml", 1, "smoking"),
        ("--family therapy --topc smoking", 2, "did you mean '--topic'?"),
        ("--family therapy --topic smoking --n none --out {at}/s.yaml", 2, "--n none"),
        ("--family therapy --topic smoking --n 0 --out {at}/s.yaml", 2, "--n 0"),
        ("--family therapy --topic smoking --n 1 --n 2 --out {at}/s.yaml", 2, "--n is given twice"),
        ("--config {at}/typo.yaml", 2, "did you mean 'seed'?"),
        ("--config {at}/twice.yaml", 2, "{at}/twice.yaml"),
        ("--config {at}/cut.yaml", 2, "{at}/cut.yaml"),
        ("--config {at}/nul.yaml", 2, "{at}/nul.yaml"),
        ("--config {at}/nothing.yaml", 2, "{at}/nothing.yaml"),
        ("--config {at}/folder", 2, "{at}/folder"),
        ("--config {at}/binary.jsonl", 2, "{at}/binary.jsonl"),
    ),
    *_of(
        "training/ei_loop.py",
        ("--itertions 3 --run {at}/new", 2, "did you mean '--iterations'?"),
        ("--iterations 0 --run {at}/new", 2, "--iterations 0"),
        ("--iterations many --run {at}/new", 2, "--iterations many"),
        ("--iterations 1 --iterations 2 --run {at}/new", 2, "--iterations is given twice"),
        ("--learning-rate nan --run {at}/new", 2, "--learning-rate nan"),
        ("--learning-rate inf --run {at}/new", 2, "--learning-rate inf"),
        ("--fraction 1/0 --run {at}/new", 2, "1/0"),
        ("--algorithm dop --run {at}/new", 2, "dpo"),
        ("--roles usr=miniature/user --run {at}/new", 2, "did you mean 'user'?"),
        ("--roles user --run {at}/new", 2, "takes key=value"),
        ("--config {at}/typo.yaml --run {at}/new", 2, "did you mean 'seed'?"),
        ("--config {at}/nothing.yaml --run {at}/new", 2, "{at}/nothing.yaml"),
        ("--config {at}/nul.yaml --run {at}/new", 2, "{at}/nul.yaml"),
        ("--run ''", 2, "name a folder"),
        ("--run {at}/words.txt", 1, "{at}/words.txt"),
        ("--run " + NOWHERE + "/run", 1, NOWHERE),
        ("--run {at}/run", 1, "{at}/run/config.yaml"),
        ("--task tasks/terapy.py --run {at}/new", 1, "tasks/therapy.py"),
        ("--topics smokin --run {at}/new", 1, "smoking"),
        ("--monitor {at}/nowhere --run {at}/new", 1, "{at}/nowhere is no monitor"),
        ("--monitor-use filter --run {at}/new", 1, "say --monitor <folder>"),
        ("--task-args turn=2 --run {at}/new", 1, "did you mean 'turns'?"),
        (
            "--model local/{at}/nowhere --roles judge=miniature/judge user=miniature/user --run {at}/new",
            1,
            "{at}/nowhere",
        ),
        ("stray --run {at}/new", 2, "'stray'"),
    ),
    *_of(
        "training/generalise.py",
        ("", 2, "run"),
        ("{at}/nowhere", 1, "{at}/nowhere"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/words.txt", 1, "{at}/words.txt"),
        ("{at}/run", 1, "{at}/run/config.yaml"),
        ("{at}/run --benchmarks gsm9k", 2, "is none of"),
        ("{at}/run --famlies all", 2, "did you mean '--families'?"),
        ("{at}/run --states x", 2, "--states: invalid int value"),
        ("{at}/run --samples 1 --samples 2", 2, "--samples is given twice"),
    ),
    *_of(
        "training/report.py",
        ("", 2, "run"),
        ("{at}/nowhere", 1, "{at}/nowhere"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/run", 1, "{at}/run/config.yaml"),
        ("{at}/run --out x", 2, "unknown option --out"),
    ),
    *_of(
        "training/curves.py",
        ("", 2, "runs"),
        ("{at}/nowhere", 1, "{at}/nowhere"),
        ("{at}/folder", 1, "{at}/folder"),
        ("{at}/words.txt", 1, "{at}/words.txt"),
        ("{at}/run --ot x.png", 2, "did you mean '--out'?"),
    ),
    *_of(
        "training/publish.py",
        ("{at}/run", 2, "--repo"),
        ("{at}/nowhere --repo me/organism --dry-run", 1, "{at}/nowhere"),
        ("{at}/run --repo me/organism --dry-run", 1, "{at}/run/config.yaml"),
        ("{at}/run --repo 'me/or ganism' --dry-run", 1, "me/or ganism"),
        ("{at}/run --repo me/organism --dryrun", 2, "did you mean '--dry-run'?"),
        ("{at}/run --repo me/organism --dry-run true", 2, "'true'"),
    ),
    *_of(
        "training/export.py",
        ("", 2, "examples"),
        ("{at}/nothing.jsonl --out {at}/o.jsonl --format openai_sft", 1, "{at}/nothing.jsonl"),
        ("{at}/folder --out {at}/o.jsonl --format openai_sft", 1, "{at}/folder"),
        ("{at}/empty.jsonl --out {at}/o.jsonl --format openai_sft", 1, "{at}/empty.jsonl"),
        ("{at}/binary.jsonl --out {at}/o.jsonl --format openai_sft", 1, "{at}/binary.jsonl"),
        ("{at}/rows.jsonl --out {at}/o.jsonl --format openai_sft", 1, "{at}/rows.jsonl"),
        ("{at}/rows.jsonl --out {at}/o.jsonl --format openai-sft", 2, "openai_sft"),
        ("{at}/rows.jsonl --ot {at}/o.jsonl", 2, "did you mean '--out'?"),
    ),
    *_of(
        "probes/capture.py",
        ("", 2, "model"),
        ("--model x --data {at}/rows.jsonl --layers 1 --layrs 2", 2, "did you mean '--layers'?"),
        ("--model x --data {at}/rows.jsonl --layers one", 2, "--layers one"),
        ("--model {at}/folder --data {at}/rows.jsonl --layers 1 --out {at}/a", 1, "{at}/folder"),
        ("--model {at}/model --data {at}/rows.jsonl --layers 7 --out {at}/a", 1, "7"),
        ("--model {at}/model --data {at}/nothing.jsonl --layers 1 --out {at}/a", 1, "{at}/nothing.jsonl"),
        ("--model {at}/model --data {at}/empty.jsonl --layers 1 --out {at}/a", 1, "{at}/empty.jsonl"),
        ("--model {at}/model --data {at}/binary.jsonl --layers 1 --out {at}/a", 1, "{at}/binary.jsonl"),
        ("--model {at}/model --data {at}/rows.jsonl --layers 1 --out {at}/a", 1, "{at}/rows.jsonl"),
        ("--model {at}/model --data {at}/junk.eval --layers 1 --out {at}/a", 1, "{at}/junk.eval"),
        ("--model {at}/model --data {at}/folder --layers 1 --out {at}/a", 1, "{at}/folder"),
    ),
    *_of(
        "probes/fit.py",
        ("", 2, "data"),
        ("--data {at}/store/nothing --layers 1 --haeds mean", 2, "did you mean '--heads'?"),
        ("--data {at}/store/nothing --layers 1 --heads meen --out {at}/m", 1, "did you mean 'mean'?"),
        ("--data {at}/store/nothing --layers 1 --heads mean --out {at}/m", 1, "{at}/store"),
        ("--data {at}/nowhere/x --layers 1 --heads mean --out {at}/m", 1, "{at}/nowhere"),
        ("--data {at}/store/a --layers 1 --layers 2 --out {at}/m", 2, "--layers is given twice"),
    ),
    *_of(
        "probes/evaluate.py",
        ("", 2, "monitors"),
        ("--monitors {at}/nowhere --data {at}/store/x --out {at}/r", 1, "{at}/nowhere"),
        ("--monitors {at}/folder --data {at}/store/x --out {at}/r", 1, "{at}/folder"),
        ("--monitors {at}/folder --dta {at}/store/x", 2, "did you mean '--data'?"),
    ),
    *_of(
        "probes/cascade.py",
        ("", 2, "calibration"),
        ("--calibration a --judge {at}/x --out {at}/c", 2, "monitor is missing"),
        (
            "--monitor {at}/nowhere --calibration {at}/store/a --judge {at}/log.eval --out {at}/c",
            1,
            "nowhere",
        ),
        (
            "--scores {at}/rows.jsonl --monitor m --calibration a --judge {at}/x --out {at}/c",
            1,
            "{at}/rows.jsonl",
        ),
        ("--monitor m --calibration a --judge {at}/x --out {at}/c --budget 0", 2, "above 0 and at most 1"),
        *(
            (f"--monitor m --calibration a --judge {{at}}/x --out {{at}}/c {idle}", 2, told)
            for idle, told in (
                ("--weight 0.5", "weight is of merge weighted-logits, and merge is likelihood-ratio"),
                ("--merge mean --weight 0.5", "weight is of merge weighted-logits, and merge is mean"),
                ("--test b --calibration-share 0.3", "calibration_share has no effect with test"),
                ("--third-share 0.3", "third_share has no effect without third"),
                ("--scores s.jsonl --device cuda", "device has no effect with scores"),
                ("--low 0.2 --high 0.7 --strategy value", "strategy has no effect with low and high"),
                ("--low 0.2 --high 0.7 --budget 0.3", "budget has no effect with low and high"),
            )
        ),
        (
            "--monitor m --calibration a --judge {at}/x --out {at}/c --low 0.7 --high 0.2",
            2,
            "thresholds cross",
        ),
        ("--monitor m --calibration a --judge {at}/x --out {at}/c --strategy risk", 2, "--strategy risk"),
        (
            "--monitor m --calibration a --judge {at}/x --out {at}/c --compare-with {at}/folder",
            1,
            "{at}/folder",
        ),
        ("--monitor m --calibrations a", 2, "did you mean '--calibration'?"),
    ),
    *_of(
        "probes/calibrate.py",
        ("", 2, "first threshold or validate"),
        ("thresholds", 2, "first threshold or validate"),
        ("threshold --out {at}/c", 2, "benign"),
        ("threshold --benign {at}/nowhere --out {at}/c", 1, "{at}/nowhere"),
        ("threshold --benign {at}/junk.eval --out {at}/c", 1, "{at}/junk.eval"),
        ("threshold --benign {at}/log.eval --out {at}/c", 1, "no conversation has a score 'stakes'"),
        ("threshold --benign {at}/log.eval --fpr 2 --out {at}/c", 2, "--fpr 2"),
        ("threshold --monitor {at}/folder --benign {at}/store/a --per turn --out {at}/c", 2, "logs alone"),
        ("validate --logs {at}/log.eval --out {at}/c", 2, "give one of them"),
        ("validate --logs {at}/log.eval --cases {at}/empty --out {at}/c", 1, "cases are in .csv"),
        ("validate --logs {at}/log.eval --cases {at}/cut.yaml --out {at}/c", 1, "{at}/cut.yaml"),
        ("validate --logs {at}/log.eval --label influence --out {at}/c", 1, "no conversation has a score"),
        ("validate --log {at}/log.eval", 2, "did you mean '--logs'?"),
    ),
    *_of(
        "probes/early_warning.py",
        ("--run {at}/nowhere --layers 1", 1, "{at}/nowhere"),
        ("--run {at}/folder --layrs 1", 2, "did you mean '--layers'?"),
    ),
    *_of(
        "probes/token_page.py",
        ("", 2, "monitor"),
        ("--monitor {at}/nowhere --data {at}/store/x --out {at}/p.html", 1, "{at}/nowhere"),
        ("--monitr {at}/nowhere", 2, "did you mean '--monitor'?"),
    ),
    *_of(
        "probes/experiment.py",
        ("", 2, "an experiment comes first"),
        ("compare_head --out {at}/e", 2, "did you mean 'compare_heads'?"),
        ("list --out {at}/e", 2, "list takes no options"),
        ("roc --trian {at}/store/x", 2, "did you mean '--train'?"),
        ("roc --out {at}/e", 1, "--train is missing"),
        ("roc --train {at}/store/x --tests {at}/store/y --out {at}/e", 1, "{at}/store"),
        ("roc --config {at}/typo.yaml", 2, "{at}/typo.yaml:1: sed: unknown key; did you mean 'seed'?"),
        ("roc --config {at}/cut.yaml", 2, "{at}/cut.yaml:2: not valid YAML"),
        ("roc --train {at}/store/x --tests {at}/store/y --folds many", 2, "--folds many"),
        ("adaptation --train x --tests y --ways olny", 2, "'only'"),
        ("data_efficiency --train x --tests y --sizes 8,4", 2, "8, 4"),
        ("data_efficiency --train x --tests y --finetuned lora", 2, "finetuned needs model"),
        ("roc --out {at}/folder --plot-only", 1, "{at}/folder/roc/experiment.json: no such file"),
        ("dashboard --data {at}/store/x", 2, "--monitors is missing"),
        ("dashboard --monitors {at}/nowhere --data {at}/store/x --out {at}/d.html", 1, "{at}/nowhere"),
    ),
    *_of(
        "probes/store.py",
        ("", 2, "command"),
        ("lst {at}/store", 2, "did you mean 'list'?"),
        ("list {at}/nowhere", 1, "{at}/nowhere"),
        ("list {at}/words.txt", 1, "{at}/words.txt"),
        ("list file://{at}/nowhere", 1, "{at}/nowhere: no such folder"),
        ("list s3://bucket/folder", 1, "pull it into one first"),
        ("list {at}/store", 1, "spec.json"),
        ("verify {at}/store", 1, "spec.json"),
        ("delete {at}/store nothing", 1, "0123456789abcdef"),
        ("delete {at}/store ../folder", 1, "0123456789abcdef"),
        ("delete {at}/store 0123456789abcdef --layers x", 2, "--layers: invalid int value"),
        ("delete {at}/store 0123456789abcdef --damged", 2, "did you mean '--damaged'?"),
        ("push {at}/store nonsense://x", 1, "nonsense"),
        ("push {at}/store", 2, "URL"),
        ("pull {at}/new file://{at}/folder", 1, "holds no store"),
        ("pull {at}/new file://{at}/nowhere", 1, "holds no store"),
    ),
    *_of(
        "probes/corpus.py",
        ("", 2, "--out"),
        ("--out {at}/o.jsonl", 1, "no rows"),
        ("{at}/log.eval --out {at}/o.jsonl", 1, "no rows"),
        ("{at}/nothing.eval --out {at}/o.jsonl", 1, "{at}/nothing.eval"),
        ("{at}/junk.eval --out {at}/o.jsonl", 1, "{at}/junk.eval"),
        ("{at}/cut.eval --out {at}/o.jsonl", 1, "{at}/cut.eval"),
        ("{at}/folder --out {at}/o.jsonl", 1, "{at}/folder"),
        ("--rows {at}/rows.jsonl --out {at}/o.jsonl", 1, "{at}/rows.jsonl:1: labels: 'yes' is no label"),
        ("--rows {at}/nothing.jsonl --out {at}/o.jsonl", 1, "{at}/nothing.jsonl: no such file"),
        ("--rows {at}/words.txt --out {at}/o.jsonl", 1, "{at}/words.txt"),
        ("--rows {at}/binary.jsonl --out {at}/o.jsonl", 1, "{at}/binary.jsonl"),
        ("--rows {at}/empty.jsonl --out {at}/o.jsonl", 1, "no rows"),
        ("{at}/log.eval --grammar --out {at}/o.jsonl", 1, "it adds nothing; leave it out"),
        (
            "--grammar --consensus all --out {at}/o.jsonl",
            2,
            "--consensus is for ratings, and there are none",
        ),
        ("--grammr --out {at}/o.jsonl", 2, "did you mean '--grammar'?"),
        ("--grammar --low 9 --out {at}/o.jsonl", 1, "low below high"),
        ("--grammar --high many --out {at}/o.jsonl", 2, "--high"),
        ("--grammar --near 2 --out {at}/o.jsonl", 2, "--near 2"),
        ("--grammar --consensus al --out {at}/o.jsonl", 2, "did you mean 'all'?"),
        ("--grammar --judges nobody --out {at}/o.jsonl", 2, "--judges is for ratings, and there are none"),
        ("--grammar --out " + NOWHERE + "/o.jsonl", 1, NOWHERE),
    ),
    *_of(
        "probes/evaluation_sets.py",
        ("", 2, "command"),
        ("bild mts {at}/a.csv --out {at}/o.jsonl", 2, "did you mean 'build'?"),
        ("build tolace {at}/a.csv --out {at}/o.jsonl", 2, "did you mean 'toolace'?"),
        ("build mts {at}/a.csv", 2, "--out"),
        ("build mts {at}/a.csv --out {at}/o.jsonl", 1, "{at}/a.csv: no such file"),
        ("build mts {at}/rows.jsonl --out {at}/o.jsonl", 1, "no column 'dialogue'"),
        ("build mts {at}/empty.jsonl --out {at}/o.jsonl", 1, "no row makes a conversation"),
        ("build mts {at}/binary.jsonl --out {at}/o.jsonl", 1, "{at}/binary.jsonl"),
        ("build mts {at}/a.csv --out {at}/o.jsonl --test 2", 2, "--test 2"),
        ("build mts {at}/a.csv --out {at}/o.jsonl --overlp drop", 2, "did you mean '--overlap'?"),
        ("forms {at}/nothing.jsonl --out {at}/forms", 1, "{at}/nothing.jsonl: no such file"),
        ("forms {at}/rows.jsonl --out {at}/forms", 1, "{at}/rows.jsonl:1: labels"),
        ("forms {at}/empty.jsonl --out {at}/forms", 1, "no row has a label"),
        ("download", 2, "--out"),
        ("download --out {at}/published --files x.jsonl", 2, "'x.jsonl' is none of"),
    ),
    *_of(
        "probes/baselines.py",
        ("", 2, "first fit or score"),
        ("fti --data {at}/rows.jsonl", 2, "first fit or score"),
        ("fit --dta {at}/rows.jsonl", 2, "unknown option --dta"),
        ("score", 2, "is missing"),
    ),
    *_of(
        "probes/restyle.py",
        ("", 2, "is missing"),
        ("--nonsense 1", 2, "unknown option --nonsense"),
    ),
    *_of(
        "providers/fit_judge.py",
        ("", 2, "logs"),
        ("{at}/log.eval --labels preference", 2, "--out"),
        ("{at}/log.eval --labls preference --out {at}/judge", 2, "did you mean '--labels'?"),
        ("{at}/log.eval --labels preference --out {at}/judge --scale 1-5", 2, "--scale"),
        ("{at}/log.eval --labels preference --out {at}/judge --rows 0", 2, "--rows 0: at least 2"),
        ("{at}/log.eval --labels preference --out {at}/judge --seed -1", 2, "--seed -1: at least 0"),
        ("{at}/log.eval --labels a b --out {at}/judge", 2, "several --labels need --wishes"),
        ("{at}/log.eval --labels a b --out {at}/judge --wishes x", 2, "2 labels and 1 --wishes"),
        ("{at}/log.eval --labels a --out {at}/judge --wishes ''", 2, "a wish of --wishes is empty"),
        ("{at}/log.eval --labels a --out {at}/judge --encoder {at}/none", 1, "no encoder {at}/none"),
        ("{at}/nothing.eval --labels a --out {at}/judge --encoder {at}/model", 1, "{at}/nothing.eval"),
        ("{at}/junk.eval --labels a --out {at}/judge --encoder {at}/model", 1, "{at}/junk.eval"),
        ("{at}/log.eval --labels preferense --out {at}/judge --encoder {at}/model", 1, "preferense"),
        ("{at}/log.eval --labels influence --out {at}/judge --encoder {at}/model", 1, "labels are on 1-10"),
        (
            "{at}/log.eval --labels preference --out {at}/judge --encoder {at}/folder",
            1,
            "{at}/folder holds no encoder",
        ),
        (
            "{at}/log.eval --labels preference --out {at}/judge --encoder {at}/model",
            1,
            "layers; the state behind layer 4",
        ),
    ),
    *_of(
        "providers/small_model.py",
        ("--fil x", 2, "did you mean '--file'?"),
        ("--file {at}/nothing.gguf", 1, "{at}/nothing.gguf: No such file"),
        ("--file {at}/folder", 1, "{at}/folder"),
        ("--file {at}/words.txt", 1, "is no GGUF file"),
    ),
]
