// The admin page: who is here, what the engines do, how the server fares. Asks every two seconds
// while somebody looks.

import { Chart } from "./chart.js";

const EVERY_MS = 2_000;
const ASK_WITHIN_MS = 5_000;
const KINDS = { stt: "hearing", eot: "turn ends", llm: "thinking", tts: "speaking" };

const SHEDDING = ["", ", no early replies", ", fewer transcripts", ", no newcomers"];

const find = (selector) => document.querySelector(selector);
const dialog = find("#token");
const charts = new Map(); // by name: { chart, figure }
const rows = new Map(); // by session: the cells of its row
let token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname);

/** The server answered, and not as asked. */
class Refused extends Error {
  constructor(status) {
    super(`${status}`);
    this.status = status;
  }
}

/** An HTTP request as the admin. Throws `Refused`, or what `fetch` throws. */
async function ask(path, method = "GET") {
  const answer = await fetch(new URL(path, document.baseURI), {
    method,
    headers: token ? { Authorization: `Bearer ${token}` } : {},
    signal: AbortSignal.timeout(ASK_WITHIN_MS),
  });
  if (!answer.ok) throw new Refused(answer.status);
  return answer.status === 204 ? null : answer.json();
}

// --- what is shown ------------------------------------------------------------------------------

const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);

function since(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** One gauge: its name, its figure, a note under it, and how it went. */
function gauge(name, label, value, note, plotted) {
  if (!charts.has(name)) {
    const card = find("#gauge").content.firstElementChild.cloneNode(true);
    card.dataset.gauge = name;
    card.querySelector("h2").textContent = label;
    find(".gauges").append(card);
    charts.set(name, { card, chart: new Chart(card.querySelector("canvas")) });
  }
  const { card, chart } = charts.get(name);
  say(card.querySelector(".figure"), value);
  say(card.querySelector(".hint"), note);
  chart.add(plotted);
}

function showStatus(status, sessions) {
  const { active, max, waiting, parked } = status.sessions;
  const load = SHEDDING[status.shedding] ?? "";
  document.body.dataset.connection = status.status === "ready" ? "ready" : "lost";
  say(find(".connection"), `${status.status}${load}`);
  say(find(".about"), `version ${status.version}, up ${since(status.uptime_s)}`);
  const link = find(".dashboards");
  // What an operator has set; anything but an address of the web stays unlinked.
  link.hidden = !/^https?:/.test(status.dashboards ?? "");
  if (!link.hidden) link.href = status.dashboards;
  gauge("sessions", "sessions", `${active} of ${max}`, `${waiting} waiting, ${parked} parked`, active);
  const lag = status.load?.loop_lag_ms ?? null;
  gauge("lag", "loop lag", ms(lag), `queue late by ${ms(status.load?.queue_late_ms)}`, lag);
  const latencies = sessions.map((session) => session.latency_ms.last).filter((value) => value !== null);
  const latency = latencies.length ? latencies.reduce((a, b) => a + b) / latencies.length : null;
  gauge("latency", "last replies", ms(latency), "mean of those who are here", latency);
  const { total, failed } = status.requests;
  gauge("requests", "answered", String(total), `${failed} failed`, status.requests.active);
  for (const [kind, label] of Object.entries(KINDS)) {
    const pool = status.pool[kind];
    if (!pool) continue;
    const used = `${pool.busy} of ${pool.slots}`;
    const note = `${pool.waiting} waiting, p95 ${ms(pool.wait_ms?.p95)}`;
    const trouble = pool.breaker && pool.breaker !== "closed" ? `, breaker ${pool.breaker}` : "";
    gauge(kind, label, used, note + trouble, pool.waiting + pool.busy);
  }
}

function showSessions(sessions) {
  const body = find("tbody");
  const here = new Set(sessions.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (here.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  for (const session of sessions) {
    let row = rows.get(session.id);
    if (!row) {
      row = find("#row").content.firstElementChild.cloneNode(true);
      row.dataset.session = session.id;
      row.querySelector("button").ariaLabel = `End session ${session.id}`;
      row.querySelector("button").addEventListener("click", () => void end(session.id, row));
      rows.set(session.id, row);
      body.append(row);
    }
    showSession(row, session);
  }
  find(".none").hidden = sessions.length > 0;
  find("table").hidden = sessions.length === 0;
}

function showSession(row, session) {
  const { latency_ms: latency, claims, bytes } = session;
  const held = Object.entries(claims).filter(([, count]) => count > 0);
  const cells = {
    state: session.state,
    user: session.user ?? session.remote,
    id: session.id,
    protocol: session.protocol,
    since: since(Math.max(0, Date.now() / 1000 - session.connected_at)),
    turns: String(session.turns),
    latency: `${ms(latency.last)} / ${ms(latency.p95)}`,
    claims: held.map(([kind, count]) => `${kind} ${count}`).join(", ") || "–",
    bytes: `${size(bytes.in)} / ${size(bytes.out)}`,
  };
  row.dataset.state = session.state;
  for (const [name, text] of Object.entries(cells)) say(row.querySelector(`.${name}`), text);
}

async function end(id, row) {
  row.querySelector("button").disabled = true;
  try {
    await ask(`admin/sessions/${encodeURIComponent(id)}`, "DELETE");
  } catch (error) {
    if (error.status !== 404) row.querySelector("button").disabled = false; // gone by itself is well
  }
  await look();
}

// --- asking -------------------------------------------------------------------------------------

const REFUSED = {
  403: "Without an admin token this page answers on the server's own machine only.",
  503: "The server is not ready yet.",
};

function trouble(error) {
  const status = error instanceof Refused ? error.status : 0;
  document.body.dataset.connection = "lost";
  say(find(".connection"), status ? "refused" : "no answer");
  const words = REFUSED[status] ?? "The server does not answer. This page keeps asking.";
  say(find(".notice p"), words);
  find(".notice").hidden = status === 401;
  if (status === 401 && !dialog.open) dialog.showModal();
}

let looks = 0;

/** What an earlier look brings after a later one is old, and shown no more. */
async function look() {
  looks += 1;
  const mine = looks;
  try {
    const [status, sessions] = await Promise.all([ask("status"), ask("admin/sessions")]);
    if (mine !== looks) return;
    find(".notice").hidden = true;
    showStatus(status, sessions);
    showSessions(sessions);
  } catch (error) {
    if (mine === looks) trouble(error);
  }
}

/** One question at a time, none while nobody looks or the token is missing. */
async function keepLooking() {
  if (!document.hidden && !dialog.open) await look();
  setTimeout(keepLooking, EVERY_MS);
}

dialog.querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = dialog.querySelector("input");
  token = field.value.trim();
  field.value = "";
  dialog.close();
  void look();
});
dialog.querySelector(".close").addEventListener("click", () => dialog.close());

void keepLooking();
