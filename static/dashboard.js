"use strict";
// Reads /metrics of its own listener every two seconds and draws the last five minutes. An operator's token stays in the memory of the page.

const EVERY_MS = 2000;
const POINTS_MAX = 150;
/** A server that answers later than this counts as one that does not answer. */
const ANSWER_WITHIN_MS = 5000;
/** The highest bound of the histograms; what took longer is drawn there. */
const SLOWEST_MS = 10000;
const SVG = "http://www.w3.org/2000/svg";

/** The page at /metrics as {name: [{labels, value}]}. */
function parse(text) {
  const metrics = {};
  for (const line of text.split("\n")) {
    const found = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!found) continue;
    const labels = {};
    for (const label of (found[2] ?? "").matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) labels[label[1]] = label[2];
    (metrics[found[1]] ??= []).push({ labels, value: Number(found[3]) });
  }
  return metrics;
}

const rows = (metrics, name, wanted = {}) =>
  (metrics[name] ?? []).filter((row) => Object.entries(wanted).every(([label, value]) => row.labels[label] === value));
const sum = (metrics, name, wanted) => rows(metrics, name, wanted).reduce((total, row) => total + row.value, 0);

/** What came in a second between two looks; `undefined` where there is none before: for the first, and after a gap or a restart. */
function rate(look, name, wanted) {
  if (!look.before) return undefined;
  const more = sum(look.metrics, name, wanted) - sum(look.before.metrics, name, wanted);
  return (more * 1000) / (look.at - look.before.at);
}

/** The upper bound of the bucket that holds this share of what came between two looks, in milliseconds. */
function quantile(look, name, share, wanted) {
  if (!look.before) return undefined;
  const more = new Map();
  for (const [metrics, sign] of [[look.metrics, 1], [look.before.metrics, -1]]) {
    for (const { labels, value } of rows(metrics, `${name}_bucket`, wanted)) more.set(labels.le, (more.get(labels.le) ?? 0) + sign * value);
  }
  const buckets = [...more].map(([bound, count]) => [bound === "+Inf" ? Infinity : Number(bound), count]).sort((a, b) => a[0] - b[0]);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return undefined;
  return buckets.find(([, count]) => count >= share * all)[0] * 1000;
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const plain = (value) => (value < 10 && value % 1 !== 0 ? value.toFixed(1) : short.format(value));
const within = (value) => (value === Infinity ? `> ${short.format(SLOWEST_MS)}` : `≤ ${value < 1 ? value.toFixed(2) : short.format(value)}`);
const mebibytes = (value) => short.format(value / 1048576);

/** The tiles: title, unit, what one look says, how it is written. */
const TILES = [
  ["Accepted writes", "/s", (look) => rate(look, "sosik_journal_records_total")],
  ["Accepted within, 99 of 100", "ms", (look) => quantile(look, "sosik_accept_seconds", 0.99), within],
  ["Applied writes", "/s", (look) => rate(look, "sosik_job_rows_total", { job: "batch" })],
  ["A batch takes, 99 of 100", "ms", (look) => quantile(look, "sosik_job_seconds", 0.99, { job: "batch" }), within],
  ["Waiting to be applied", "", (look) => sum(look.metrics, "sosik_journal_waiting_entries")],
  ["Waiting to be applied", "MiB", (look) => sum(look.metrics, "sosik_journal_waiting_bytes"), mebibytes],
  ["Disk: a sync takes, 99 of 100", "ms", (look) => quantile(look, "sosik_journal_sync_seconds", 0.99), within],
  ["Notices delivered", "/s", (look) => rate(look, "sosik_notices_delivered_total")],
  ["Open streams", "", (look) => sum(look.metrics, "sosik_stream_sockets")],
  ["Frames sent", "/s", (look) => rate(look, "sosik_stream_frames_sent_total")],
  ["Answers", "/s", (look) => rate(look, "sosik_http_answers_total", { listener: "public" })],
  ["Answers: full, or a shard is down", "/s", (look) => rate(look, "sosik_http_answers_total", { listener: "public", kind: "unavailable" })],
  ["Answers: failed", "/s", (look) => rate(look, "sosik_http_answers_total", { listener: "public", kind: "failed" })],
  ["Processors in use", "", (look) => rate(look, "process_cpu_seconds_total")],
  ["Resident memory", "MiB", (look) => sum(look.metrics, "process_resident_memory_bytes"), mebibytes],
  ["Panics since the start", "", (look) => sum(look.metrics, "sosik_panics_total")],
];

const byId = (id) => document.getElementById(id);
/** Says what is new, and leaves alone what is said already: a reader of the screen would say it again. */
function show(id, text, className) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
  place.className = className;
}
function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const tiles = TILES.map(([title, unit, value, write = plain]) => {
  const tile = element("div", undefined, "tile");
  const shown = element("p");
  const graph = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  graph.setAttribute("viewBox", `0 0 ${POINTS_MAX - 1} 100`);
  graph.setAttribute("preserveAspectRatio", "none");
  graph.setAttribute("aria-hidden", "true");
  graph.append(line);
  tile.append(element("h3", title), shown, graph);
  byId("tiles").append(tile);
  return { unit, value, write, shown, line, points: [] };
});

/** Without a look there was no answer, and the line has a gap. */
function draw(tile, look) {
  const value = look && tile.value(look);
  tile.points.push(value === Infinity ? SLOWEST_MS : value);
  if (tile.points.length > POINTS_MAX) tile.points.shift();
  tile.shown.replaceChildren(value === undefined ? "–" : tile.write(value), " ", element("small", value === undefined ? "" : tile.unit));
  const top = Math.max(...tile.points.filter((point) => point !== undefined), Number.MIN_VALUE);
  const first = POINTS_MAX - tile.points.length;
  const marks = tile.points.map((point, index) => {
    if (point === undefined) return "";
    // A point alone is a line of no length, which its round ends show.
    const step = tile.points[index - 1] === undefined ? `M${first + index},${98 - (point / top) * 96}` : "";
    return `${step}L${first + index},${98 - (point / top) * 96}`;
  });
  tile.line.setAttribute("d", marks.join(""));
}

function fill(table, lines) {
  byId(table).tBodies[0].replaceChildren(
    ...lines.map((cells) => {
      const row = element("tr");
      row.append(...cells.map((cell, index) => (cell instanceof Node ? cell : element(index === 0 ? "th" : "td", String(cell)))));
      if (row.cells[0].tagName === "TH") row.cells[0].scope = "row";
      return row;
    }),
  );
}

const numbered = new Intl.Collator("en", { numeric: true }).compare;
const valuesOf = (metrics, name, label) => [...new Set(rows(metrics, name).map((row) => row.labels[label]))].sort(numbered);

function showShards(metrics) {
  const lines = valuesOf(metrics, "sosik_shard_waiting_entries", "shard").map((shard) => {
    const of = (name) => sum(metrics, name, { shard });
    const limit = rows(metrics, "sosik_workers_limit", { shard })[0]?.value ?? "–";
    const stopped = of("sosik_shard_stopped") > 0;
    const state = element("td", stopped ? "down, its writes wait" : "serving", stopped ? "bad" : "good");
    const names = ["sosik_shard_waiting_entries", "sosik_batches_in_flight"];
    const standbys = rows(metrics, "sosik_standby_is_read", { shard });
    const read = standbys.length === 0 ? "–" : `${of("sosik_standby_is_read")} of ${standbys.length}`;
    const told = [plain(of("sosik_notices_waiting")), of("sosik_lanes_untold")];
    return [shard, state, ...names.map((name) => plain(of(name))), limit, ...told, read];
  });
  fill("shards", lines);
}

function showMailboxes(metrics) {
  const names = ["sosik_mailbox_depth", "sosik_mailbox_capacity", "sosik_mailbox_refused_total"];
  const lines = valuesOf(metrics, "sosik_mailbox_capacity", "mailbox").map((mailbox) => [mailbox, ...names.map((name) => sum(metrics, name, { mailbox }))]);
  fill("mailboxes", lines);
}

const ask = (path) => fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });

async function askMetrics() {
  const answer = await ask("/metrics");
  if (!answer.ok) throw new Error(`/metrics: ${answer.status}`);
  return { at: performance.now(), metrics: parse(await answer.text()) };
}

async function askState() {
  const answer = await ask("/readyz");
  return answer.ok ? ["ready", "state good"] : [`not ready: ${(await answer.json()).detail ?? answer.status}`, "state bad"];
}

const uptime = (look) => sum(look.metrics, "sosik_uptime_seconds");

let before;
async function look() {
  try {
    const [now, state] = await Promise.all([askMetrics(), askState()]);
    // A process that is younger than the last look is another one, and counts anew.
    const seen = { ...now, before: before && uptime(now) >= uptime(before) ? before : undefined };
    before = now;
    show("state", ...state);
    tiles.forEach((tile) => draw(tile, seen));
    showShards(now.metrics);
    showMailboxes(now.metrics);
    byId("uptime").textContent = `up for ${plain(uptime(now) / 60)} min`;
  } catch {
    show("state", "no answer: the server is down, or cannot be reached", "state bad");
    tiles.forEach((tile) => draw(tile, undefined));
    ["shards", "mailboxes"].forEach((table) => fill(table, []));
    byId("uptime").textContent = "";
    before = undefined;
  }
  setTimeout(look, EVERY_MS);
}

let token = "";
async function call(method, path, body) {
  const headers = { authorization: `Bearer ${token}`, ...(body && { "content-type": "application/json" }) };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  const text = await answer.text();
  const said = text === "" ? {} : JSON.parse(text);
  if (!answer.ok) throw new Error(said.errors?.[0]?.detail ?? said.detail ?? said.title);
  return said;
}

/** Does what a form or a button asks for, and says how it went. */
async function tell(done, work) {
  try {
    await work();
    show("told", done, "good");
  } catch (error) {
    show("told", error.message, "bad");
  }
}

function letterButton(letter, action) {
  const button = element("button", action);
  button.setAttribute("aria-label", `${action} ${letter.id}`);
  button.addEventListener("click", () => {
    if (action === "discard" && !confirm(`Reject the write ${letter.id} for good?`)) return;
    tell(`${letter.id}: ${action} done`, async () => {
      await call("POST", `/admin/dead-letters/${letter.id}/${action}`);
      await showLetters();
    });
  });
  return button;
}

async function showLetters() {
  const letters = (await call("GET", "/admin/dead-letters")).items;
  const lines = letters.map((letter) => {
    const actions = element("td");
    actions.append(letterButton(letter, "retry"), " ", letterButton(letter, "discard"));
    return [letter.id, letter.kind, letter.shard, letter.died_at, letter.error, actions];
  });
  fill("letters", lines.length > 0 ? lines : [["none", "", "", "", "", ""]]);
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  tell("", async () => {
    byId("signed-in").hidden = true;
    await showLetters();
    byId("signed-in").hidden = false;
  });
});
byId("workers").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = byId("workers-wanted").value.trim();
  tell("set", () => call("PUT", "/admin/workers", { workers: /^\d+$/.test(wanted) ? Number(wanted) : wanted }));
});
look();
