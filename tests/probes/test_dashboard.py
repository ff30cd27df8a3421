"""The dashboard in a browser: filters, search, threshold and confusion matrix, and texts that stay texts."""

import json
import random
import re
import shutil
import subprocess

import pytest

from probes.experiment import main
from tests.support.evaluated_rows import saved, stored
from tests.support.tiny_models import tiny_tokenizer

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
UNTRUSTED = "</script><img src=x onerror=document.title='broken'><b>&amp;"
TEXTS = ["all is well", "the pump has stopped", UNTRUSTED, "a quiet day", "grüße 🙂", "nothing at all"]


def written(tmp_path, *options, texts=TEXTS):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    count = len(texts)
    data = stored(
        tmp_path / "store",
        "mt",
        [float(i % 2) for i in range(count)],
        [-1.0, 2.0, 3.0, -2.0, -3.0, 1.0][:count] if count <= 6 else [float(i % 7) for i in range(count)],
        facts=[{"topic": ("water", "<i>air</i>")[i % 2]} for i in range(count)],
        texts=texts,
        tokenizer=tokenizer,
    )
    monitor = saved(tmp_path / "mean", threshold=0.5)
    out = tmp_path / "page.html"
    given = [
        "dashboard",
        "--monitors",
        str(monitor),
        "--data",
        data,
        "--tokenizer",
        str(tmp_path / "tokenizer"),
    ]
    assert main([*given, "--out", str(out), *options]) == 0
    return out


def seen(page, script, tmp_path):
    """What a script finds in the page, in a frame of a telephone's width."""
    opened = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    probe = f"""<script>
    const tell = (value) => parent.postMessage(JSON.stringify(value), "*");
    const wait = setInterval(() => {{
      if (document.getElementById("main").hidden) return;
      clearInterval(wait);
      (async () => {{ {script} }})().catch((error) => tell("failed: " + error));
    }}, 20);
    </script>"""
    inner = tmp_path / "probed.html"
    inner.write_text(opened.replace("</body>", probe + "</body>"))
    outer = tmp_path / "frame.html"
    outer.write_text(
        '<body><iframe src="probed.html" style="width:390px;height:900px"></iframe><pre id="told"></pre><script>'
        'addEventListener("message", (e) => { document.getElementById("told").textContent = e.data; });</script>'
    )
    done = subprocess.run(
        [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile",
         "--virtual-time-budget=15000", "--dump-dom", outer.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_filters_search_and_threshold_work_in_a_browser(tmp_path):
    page = written(tmp_path)
    script = """
    const by = (id) => document.getElementById(id), counts = () => ["tp", "fp", "fn", "tn"].map((n) => Number(by("count-" + n).textContent));
    const ids = () => [...document.querySelectorAll("article code")].map((c) => c.textContent);
    const set = (id, value, event) => { by(id).value = value; by(id).dispatchEvent(new Event(event)); };
    const found = { saved: counts(), first: ids()[0], wide: document.documentElement.scrollWidth };
    set("threshold", "-2.5", "input"); found.low = counts(); found.recall = by("measure-recall").textContent;
    set("slider", "1000", "input"); found.high = counts();
    by("saved").click(); by("count-fp").click(); found.alarms = ids(); by("clear").click();
    set("label", "yes", "change"); found.yes = [ids().length, ...counts()]; by("clear").click();
    set("find", "PUMP", "input"); await new Promise((r) => setTimeout(r, 400));
    found.pump = ids(); found.marked = [...document.querySelectorAll("mark")].map((m) => m.textContent).join("");
    by("clear").click();
    const topic = document.querySelector("#facts select"); topic.value = "0"; topic.dispatchEvent(new Event("change")); found.topic = ids().length; by("clear").click();
    found.text = [...document.querySelectorAll(".text")].map((t) => t.textContent); found.title = document.title;
    found.tags = document.querySelectorAll("article img, article b:not(.head b)").length; found.hash = location.hash;
    found.shades = new Set([...document.querySelectorAll(".text i, .text mark")].map((i) => i.className)).size;
    tell(found);
    """
    found = seen(page, script, tmp_path)
    # at 0.5: rows 1, 2 and 5 are flagged, and 1, 3 and 5 have the label
    assert found["saved"] == [2, 1, 1, 2]
    assert found["first"] == "2"
    assert found["wide"] <= 390
    assert found["low"] == [3, 2, 0, 1]
    assert found["recall"] == "100.0 %"
    assert found["high"] == [0, 0, 3, 3]
    assert found["alarms"] == ["2"]
    assert found["yes"] == [3, 2, 0, 1, 0]
    assert found["pump"] == ["1"]
    assert "pump" in found["marked"]
    assert found["topic"] == 3
    assert set(found["text"]) == set(TEXTS)
    assert found["title"] == "mean"
    assert found["tags"] == 0
    assert "threshold=0.5" in found["hash"]
    assert found["shades"] >= 3


def test_a_page_asks_nobody_and_holds_no_text_as_markup(tmp_path):
    page = written(tmp_path).read_text()
    assert "default-src 'none'" in page
    assert "unsafe-inline'; script-src 'sha256-" in page
    assert "onerror" not in page
    assert not re.search(r"(?:src|href)=|https?://(?!www\.w3\.org)|@import|url\(", page)


def test_a_page_keeps_to_its_size_and_says_what_it_left_out(tmp_path, capsys):
    texts = [random.Random(i).randbytes(300).hex() for i in range(50)]
    page = written(tmp_path, "--megabytes", "0.04", texts=texts)
    assert 30_000 < page.stat().st_size <= 40_000
    assert "50 of them are shown in part" in capsys.readouterr().out
    told = main(["dashboard", "--monitors", str(tmp_path / "mean"), "--data", f"{tmp_path}/store/mt",
                 "--tokenizer", str(tmp_path / "tokenizer"), "--megabytes", "0.01", "--out", str(page)])  # fmt: skip
    assert told == 1
    assert "show fewer with --rows" in capsys.readouterr().err
