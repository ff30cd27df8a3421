// The conversation browser of a report. Lists and conversations lie in scripts beside the page, which are
// loaded when they are needed. What models wrote is only ever put in as text.
"use strict";

(() => {
  const data = document.getElementById("browser-data").dataset;
  const logs = JSON.parse(data.logs);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const place = document.getElementById("conversation");
  const there = new Map();
  const waiting = new Map();
  const PER_PAGE = 50;
  const PART = 50;
  let shown = [];
  let start = 0;

  window.loaded = (key, value) => {
    there.set(key, value);
    (waiting.get(key) || []).forEach((done) => done(value));
    waiting.delete(key);
  };

  function load(key) {
    if (there.has(key)) return Promise.resolve(there.get(key));
    return new Promise((resolve, reject) => {
      if (waiting.has(key)) { waiting.get(key).push(resolve); return; }
      waiting.set(key, [resolve]);
      const script = document.createElement("script");
      script.src = `conversations/${key}.js`;
      script.onerror = () => { waiting.delete(key); reject(new Error(`conversations/${key}.js is missing: keep the folder together`)); };
      document.head.append(script);
    });
  }

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "onclick") element.addEventListener("click", value); else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => child instanceof Node ? child : String(child)));
    return element;
  }

  const number = (value) => value === null || value === undefined ? "–" : String(Math.round(value * 1000) / 1000);

  async function search() {
    const asked = Object.fromEntries(new FormData(form));
    const found = document.getElementById("found");
    const wanted = asked.log === "" ? logs : logs.filter((log) => String(log.number) === asked.log);
    found.textContent = "loading …";
    try {
      const rows = [];
      for (const log of wanted) {
        const told = await load(`${log.number}-list`);
        const at = told.names.indexOf(asked.score);
        for (const row of told.rows) rows.push({ log, row, value: at < 0 ? null : row[7][at] });
      }
      const low = asked.from === "" ? -Infinity : Number(asked.from);
      const high = asked.to === "" ? Infinity : Number(asked.to);
      shown = rows.filter(({ row, value }) =>
        (asked.topic === "" || row[2] === asked.topic) && (asked.kind === "" || row[3] === asked.kind) &&
        (asked.stop === "" || row[4] === asked.stop) &&
        (asked.unscored !== "only" || value === null) && (asked.unscored !== "no" || value !== null) &&
        (value === null ? low === -Infinity && high === Infinity : value >= low && value <= high));
      if (asked.order) {
        const sign = asked.order === "up" ? 1 : -1;
        shown.sort((a, b) => (a.value === null) - (b.value === null) || sign * (a.value - b.value));
      }
      start = 0;
      found.textContent = `${shown.length} of ${rows.length} conversations`;
      draw(asked.score);
    } catch (error) {
      found.textContent = error.message;
    }
  }

  function draw(score) {
    const head = ["conversation", "topic", "user", "ended by", "turns", "vetoed", score, "log"];
    const rows = shown.slice(start, start + PER_PAGE).map(({ log, row, value }) => make("tr", {},
      make("td", {}, make("button", { type: "button", onclick: () => open(log, row) }, row[1] > 1 ? `${row[0]}, epoch ${row[1]}` : row[0])),
      make("td", {}, row[2]), make("td", { class: row[3] }, row[3] || "–"), make("td", {}, row[4]), make("td", {}, row[5]),
      make("td", {}, row[6]), make("td", {}, number(value)), make("td", {}, log.name)));
    list.replaceChildren(make("tr", {}, ...head.map((name) => make("th", {}, name))), ...rows);
    document.getElementById("earlier").disabled = start === 0;
    document.getElementById("later").disabled = start + PER_PAGE >= shown.length;
  }

  async function open(log, row) {
    place.replaceChildren(make("p", { class: "faint" }, "loading …"));
    try {
      const told = await load(`${log.number}-list`);
      const at = row[8];
      const words = (await load(`${log.number}-${Math.floor(at / PART)}`))[at % PART];
      place.replaceChildren(conversation(log, row, told.names, words));
      history.replaceState(null, "", `#conversation-${log.number}-${at}`);
      place.scrollIntoView({ block: "start" });
    } catch (error) {
      place.replaceChildren(make("p", {}, error.message));
    }
  }

  function inView(log, row) {
    // the viewer's router takes no address with a line break in it, however it is encoded (inspect_ai 0.3.285)
    if (/[\n\r\u2028\u2029]/.test(log.path + row[0])) {
      return make("p", { class: "faint" }, "Inspect's viewer opens no sample with a line break in its id or path by a link; find it in the list of ", make("code", {}, data.command));
    }
    const path = log.path.split("/").map(encodeURIComponent).join("/");
    const link = `${data.view}#/logs/${path}/samples/sample/${encodeURIComponent(row[0])}/${row[1]}`;
    return make("p", {}, make("a", { href: link }, "open in inspect view"), " after ", make("code", {}, data.command));
  }

  function conversation(log, row, names, words) {
    const scores = names.map((name, at) => `${name} ${row[7][at] === null ? "unscored" : number(row[7][at])}`).join(", ");
    const box = make("div", { class: "conversation" },
      make("h3", {}, `${row[0]}, epoch ${row[1]}`),
      make("p", { class: "faint" }, make("span", { class: `tag ${row[3]}` }, row[3] ? `${row[3]} user` : "user"), `${row[2]}; ended by ${row[4]}. ${scores}`),
      words.person ? make("p", { class: "faint" }, `What judges of the rating are told of the person: ${words.person}`) : null,
      inView(log, row));
    const vetoed = words.vetoed || [];
    const drawn = new Set();
    for (const message of words.messages) {
      if (message.turn) for (const one of vetoed.filter((v) => v[0] === message.turn)) { box.append(reply(one)); drawn.add(one); }
      box.append(said(message));
      if (message.turn && words.turns[message.turn]) box.append(...judged(words.turns[message.turn]));
    }
    for (const one of vetoed.filter((v) => !drawn.has(v))) box.append(reply(one));
    const told = words.messages.some((message) => message.turn);
    if (!told) for (const turn of Object.values(words.turns)) box.append(...judged(turn));
    if (words.error) box.append(make("p", {}, `It ended in an error: ${words.error}`));
    return box;
  }

  function said(message) {
    if (message.who === "system prompt") {
      return make("details", {}, make("summary", {}, "system prompt"), make("div", { class: "text" }, message.text));
    }
    const side = message.who.startsWith("model") ? "model" : "";
    return make("div", { class: `message ${side}` }, make("div", { class: "who" }, message.who),
      make("div", { class: "text" }, message.text), ...(message.calls || []).map((call) => make("div", { class: "call" }, `calls ${call}`)),
      message.cut ? make("div", { class: "faint" }, `${message.cut} characters more in the log`) : null);
  }

  function reply([turn, text, value, calls]) {
    return make("div", { class: "message vetoed" }, make("div", { class: "who" }, `model, turn ${turn}: vetoed (${number(value)}), the user never saw it`),
      make("div", { class: "text" }, text), ...(calls || []).map((call) => make("div", { class: "call" }, `called ${call}, undone`)));
  }

  function judged(turn) {
    const lines = turn.scores.map(([name, value, scale, judge, problem]) =>
      `${name} ${value === null ? `unscored${problem ? ` (${problem})` : ""}` : number(value)}${scale ? ` on ${scale}` : ""}${judge ? `, ${judge}` : ""}`);
    if (turn.decided) lines.push(`transition taken: ${turn.decided}`);
    if (turn.note) lines.push(`note to the user: ${turn.note}`);
    if (turn.flaws) lines.push(`flaws of the user's answer: ${turn.flaws.join(", ")}`);
    if (turn.drafts) lines.push(`${turn.drafts} drafts of the user thrown away`);
    return lines.length ? [make("div", { class: "judged" }, lines.join("; "))] : [];
  }

  form.addEventListener("change", search);
  form.addEventListener("submit", (event) => { event.preventDefault(); search(); });
  for (const [id, step] of [["earlier", -PER_PAGE], ["later", PER_PAGE]]) {
    document.getElementById(id).addEventListener("click", () => { start += step; draw(new FormData(form).get("score")); });
  }
  const many = logs.length > 8;
  if (many) form.elements.log.value = String(logs[0].number);
  const asked = /^#conversation-(\d+)-(\d+)$/.exec(location.hash);
  const wanted = asked && logs.find((log) => String(log.number) === asked[1]);
  if (wanted) form.elements.log.value = asked[1];
  search().then(async () => {
    if (!wanted) return;
    const row = (await load(`${wanted.number}-list`)).rows.find((one) => String(one[8]) === asked[2]);
    if (row) open(wanted, row);
  });
})();
