"use strict";
// Everything that is shown of the data goes through textContent: no word of a conversation is ever markup.
(() => {
  const PAGE = 25, BINS = 40, STEPS = 6, SVG = "http://www.w3.org/2000/svg";
  const by = (id) => document.getElementById(id);
  const make = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const FIELDS = ["monitor", "threshold", "find", "set", "label", "outcome", "order"];
  let data, lower = [], page = 0, shown = [], facts = {};

  async function unpack() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser cannot unpack the data; any of the last years can");
    const bytes = Uint8Array.from(atob(by("data").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const monitor = () => data.monitors[Number(by("monitor").value)];
  const threshold = () => Number(by("threshold").value);
  const fixed = (value, digits = 2) => (value < 0 ? "−" : "") + Math.abs(value).toFixed(digits);
  const share = (part, whole) => (whole ? (100 * part / whole).toFixed(1) + " %" : "–");
  const sideOf = (row) => { const v = data.label[row]; return v === null || v === 0.5 ? "other" : v > 0.5 ? "yes" : "no"; };

  function outcomeOf(row) {
    const score = monitor().scores[row], side = sideOf(row);
    if (score === null) return "none";
    if (side === "other") return "";
    return score >= threshold() ? (side === "yes" ? "tp" : "fp") : side === "yes" ? "fn" : "tn";
  }

  const textOf = (row) => (lower[row] ??= (data.id[row] + "\n" + data.texts[row].map((m) => (m.length > 1 ? m[1] : "")).join("\n")).toLowerCase());

  // all rows that fit, whatever the monitor makes of them
  function fitting() {
    const find = by("find").value.trim().toLowerCase(), set = by("set").value, label = by("label").value;
    const wanted = Object.entries(facts).map(([name, select]) => [data.facts[name].of, select.value]).filter((one) => one[1] !== "");
    const found = [];
    for (let row = 0; row < data.id.length; row++) {
      if (set !== "" && data.set[row] !== Number(set)) continue;
      if (label && sideOf(row) !== label) continue;
      if (!wanted.every(([of, value]) => of[row] === Number(value))) continue;
      if (find && !textOf(row).includes(find)) continue;
      found.push(row);
    }
    return found;
  }

  function ordered(rows) {
    const scores = monitor().scores, at = threshold(), order = by("order").value;
    const least = (row) => (scores[row] === null ? Infinity : order === "near" ? Math.abs(scores[row] - at) : order === "low" ? scores[row] : -scores[row]);
    if (order === "file") return rows;
    if (order === "long") return rows.slice().sort((a, b) => data.tokens[b] - data.tokens[a]);
    return rows.slice().sort((a, b) => { const x = least(a), y = least(b); return x === y ? a - b : x - y; });
  }

  function confusion(rows) {
    const counts = { tp: 0, fp: 0, fn: 0, tn: 0, none: 0, "": 0 };
    for (const row of rows) counts[outcomeOf(row)]++;
    const table = by("confusion").tBodies[0];
    table.replaceChildren();
    const line = (cells) => {
      const tr = table.insertRow();
      cells.forEach((cell, i) => {
        const td = document.createElement(i ? "td" : "th");
        if (Array.isArray(cell)) {
          const button = make("button", "", String(counts[cell[0]]));
          button.id = "count-" + cell[0];
          button.title = "show these";
          button.onclick = () => { by("outcome").value = by("outcome").value === cell[0] ? "" : cell[0]; changed(); };
          td.append(button);
        } else td.textContent = cell;
        tr.append(td);
      });
    };
    line(["", "label yes", "label no"]);
    line(["flagged", ["tp"], ["fp"]]);
    line(["not flagged", ["fn"], ["tn"]]);
    const measures = by("measures").tBodies[0];
    measures.replaceChildren();
    const { tp, fp, fn, tn } = counts;
    for (const [name, value] of [
      ["recall", share(tp, tp + fn)], ["false alarms", share(fp, fp + tn)], ["precision", share(tp, tp + fp)],
      ["accuracy", share(tp + tn, tp + fp + fn + tn)], ["ambiguous or unlabelled", String(counts[""])], ["no score", String(counts.none)],
    ]) {
      const tr = measures.insertRow();
      tr.append(make("th", "", name));
      const td = make("td", "", value);
      td.id = "measure-" + name.split(" ")[0];
      tr.append(td);
    }
  }

  function ends() {
    const known = monitor().scores.filter((v) => v !== null);
    const low = known.reduce((a, b) => Math.min(a, b), Infinity), high = known.reduce((a, b) => Math.max(a, b), -Infinity);
    const pad = Math.max((high - low) * 0.01, 0.001);
    return known.length ? [low - pad, high + pad] : [-1, 1];
  }

  function histogram(rows) {
    const svg = by("histogram"), [low, high] = ends(), scores = monitor().scores;
    const bins = { yes: new Array(BINS).fill(0), no: new Array(BINS).fill(0) };
    for (const row of rows) {
      const side = sideOf(row);
      if (scores[row] !== null && side !== "other") bins[side][Math.min(BINS - 1, Math.floor(BINS * (scores[row] - low) / (high - low)))]++;
    }
    svg.replaceChildren();
    const most = Math.max(1, ...bins.yes, ...bins.no), width = 300 / BINS;
    const put = (kind, at, height, up) => {
      if (!height) return;
      const bar = document.createElementNS(SVG, "rect"), h = 40 * height / most;
      for (const [key, value] of Object.entries({ x: at * width + 0.4, y: up ? 42 - h : 42, width: width - 0.8, height: h, class: kind })) bar.setAttribute(key, value);
      svg.append(bar);
    };
    for (let i = 0; i < BINS; i++) { put("bar-high", i, bins.yes[i], true); put("bar-low", i, bins.no[i], false); }
    const line = document.createElementNS(SVG, "line"), x = 300 * (threshold() - low) / (high - low);
    for (const [key, value] of Object.entries({ x1: x, x2: x, y1: 0, y2: 84, class: "mark", "vector-effect": "non-scaling-stroke" })) line.setAttribute(key, value);
    svg.append(line);
  }

  function pieces(message, find) {
    const [, text, lengths, steps] = message, out = make("div", "text"), flat = text.toLowerCase();
    const hits = [];
    if (find && flat.length === text.length) for (let at = flat.indexOf(find); at >= 0; at = flat.indexOf(find, at + find.length)) hits.push([at, at + find.length]);
    let start = 0, hit = 0;
    for (let i = 0; i < lengths.length; i++) {
      const end = start + lengths.charCodeAt(i) - 48, step = steps.charCodeAt(i) - 97;
      while (hit < hits.length && hits[hit][1] <= start) hit++;
      const piece = make(hit < hits.length && hits[hit][0] < end ? "mark" : "i", step === STEPS ? "" : "s" + step, text.slice(start, end));
      if (step !== STEPS) piece.title = "shade " + (step > STEPS ? "+" : "−") + Math.abs(step - STEPS) + " of " + STEPS;
      out.append(piece);
      start = end;
    }
    return out;
  }

  function card(row, find) {
    const item = make("article"), head = make("div", "head"), score = monitor().scores[row], outcome = outcomeOf(row);
    head.append(make("code", "", data.id[row]), make("span", "faint", data.sets[data.set[row]]));
    const said = make("span", "", "score ");
    said.append(make("b", "", score === null ? "none" : fixed(score)));
    head.append(said);
    if (score !== null) head.append(make("span", "tag " + (score >= threshold() ? "yes" : "no"), score >= threshold() ? "flagged" : "not flagged"));
    const side = sideOf(row);
    head.append(make("span", "tag " + (side === "other" ? "faint" : side), side === "other" ? "label " + (data.label[row] ?? "none") : "label " + side));
    if (outcome === "fp" || outcome === "fn") head.append(make("span", "tag", outcome === "fp" ? "false alarm" : "missed"));
    const told = Object.keys(data.facts).filter((name) => data.facts[name].of[row] >= 0).map((name) => name + " " + data.facts[name].values[data.facts[name].of[row]]);
    const cut = data.cut[row] ? ", " + data.cut[row] + " were cut off" : "";
    head.append(make("span", "faint", [data.tokens[row] + " tokens" + cut, ...told].join("; ")));
    const body = make("div", "body");
    for (const message of data.texts[row]) {
      if (message.length === 1) { body.append(make("div", "gap", "… " + message[0] + " pieces that are not on this page …")); continue; }
      const box = make("div", "message " + (message[0] || "between"));
      if (message[0]) box.append(make("div", "who", message[0]));
      box.append(pieces(message, find));
      body.append(box);
    }
    item.append(head, body);
    return item;
  }

  function show() {
    const list = by("list"), find = by("find").value.trim().toLowerCase(), last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    page = Math.min(page, last);
    list.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((row) => card(row, find)));
    for (const body of list.querySelectorAll(".body")) {
      if (body.scrollHeight <= body.clientHeight + 4) continue;
      body.classList.add("long");
      const button = make("button", "more", "show all");
      button.onclick = () => { button.textContent = body.classList.toggle("open") ? "show less" : "show all"; };
      body.after(button);
    }
    const partly = data.of > data.id.length ? " (drawn from " + data.of + ")" : "";
    by("count").textContent = shown.length + " of " + data.id.length + " conversations" + partly;
    by("pages").textContent = "page " + (page + 1) + " of " + (last + 1);
    by("back").disabled = page === 0;
    by("next").disabled = page === last;
  }

  function changed(keepPage) {
    const rows = fitting(), outcome = by("outcome").value;
    confusion(rows);
    histogram(rows);
    const [low, high] = ends();
    by("slider").value = String(Math.round(1000 * (threshold() - low) / (high - low)));
    shown = ordered(outcome ? rows.filter((row) => outcomeOf(row) === outcome) : rows);
    if (keepPage !== true) page = 0;
    show();
    remember();
  }

  function remember() {
    const state = new URLSearchParams();
    for (const name of FIELDS) if (by(name).value !== "") state.set(name, by(name).value);
    for (const [name, select] of Object.entries(facts)) if (select.value !== "") state.set("fact." + name, data.facts[name].values[Number(select.value)]);
    if (page) state.set("page", String(page));
    try { history.replaceState(null, "", "#" + state); } catch { /* a browser that lets no file change its address */ }
  }

  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const name of FIELDS) if (state.has(name)) by(name).value = state.get(name);
    if (!by("monitor").value) by("monitor").value = "0";
    for (const [name, select] of Object.entries(facts)) {
      const place = data.facts[name].values.indexOf(state.get("fact." + name));
      if (place >= 0) select.value = String(place);
    }
    if (by("threshold").value === "") saved();
    page = Number(state.get("page")) || 0;
  }

  function saved() {
    const own = monitor().threshold;
    by("threshold").value = String(own === null ? 0 : Number(own.toFixed(3)));
    by("saved").textContent = own === null ? "no saved threshold: 0" : "saved threshold";
  }

  function csv() {
    const cell = (value) => { let text = value === null || value === undefined ? "" : String(value); if (/^[=+@\t\r]|^-[^\d.]/.test(text)) text = "'" + text; return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text; };
    const names = Object.keys(data.facts);
    const lines = [["dataset", "id", "label", "tokens", ...names, ...data.monitors.map((one) => one.name), "outcome"]];
    for (const row of shown) lines.push([data.sets[data.set[row]], data.id[row], data.label[row], data.tokens[row], ...names.map((name) => data.facts[name].values[data.facts[name].of[row]]), ...data.monitors.map((one) => one.scores[row]), outcomeOf(row)]);
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([lines.map((line) => line.map(cell).join(",")).join("\n") + "\n"], { type: "text/csv" }));
    link.download = "conversations.csv";
    link.click();
    URL.revokeObjectURL(link.href);
  }

  function options(select, values, all) {
    if (all) select.append(new Option("all", ""));
    values.forEach((value, place) => select.append(new Option(value, String(place))));
  }

  function start() {
    options(by("monitor"), data.monitors.map((one) => one.name), false);
    options(by("set"), data.sets, true);
    for (const [name, fact] of Object.entries(data.facts)) {
      if (fact.values.length < 2 || fact.values.length > 200) continue;
      const label = make("label", "", name + " "), select = make("select");
      options(select, fact.values, true);
      label.append(select);
      by("facts").append(label);
      facts[name] = select;
      select.onchange = changed;
    }
    by("least").textContent = fixed(data.scale[0]) + " and less";
    by("full").textContent = fixed(data.scale[2]) + " and more";
    by("note").textContent = "without colour: " + fixed(data.scale[1]);
    for (const name of ["set", "label", "outcome", "order"]) by(name).onchange = changed;
    let waiting;
    by("find").oninput = () => { clearTimeout(waiting); waiting = setTimeout(changed, 150); };
    by("threshold").oninput = () => { if (by("threshold").value !== "") changed(); };
    by("slider").oninput = () => { const [low, high] = ends(); by("threshold").value = (low + (high - low) * Number(by("slider").value) / 1000).toFixed(3); changed(); };
    by("monitor").onchange = () => { saved(); changed(); };
    by("saved").onclick = () => { saved(); changed(); };
    by("clear").onclick = () => { for (const name of ["find", "set", "label", "outcome"]) by(name).value = ""; for (const select of Object.values(facts)) select.value = ""; changed(); };
    by("csv").onclick = csv;
    by("back").onclick = () => { page--; show(); remember(); scrollTo(0, 0); };
    by("next").onclick = () => { page++; show(); remember(); scrollTo(0, 0); };
    recall();
    if (by("monitor").value) { const own = monitor().threshold; by("saved").textContent = own === null ? "no saved threshold: 0" : "saved threshold"; }
    by("loading").remove();
    by("main").hidden = false;
    changed(true);
  }

  unpack().then((found) => { data = found; start(); }).catch((error) => { by("loading").textContent = "The page cannot be shown: " + error.message; });
})();
