// The page: shows what the conversation does, and turns clicks and keys into its commands.

import { Orb, loudness } from "./orb.js";
import { Problem } from "./problems.js";
import { Transcript } from "./transcript.js";
import { Voice } from "./voice.js";

const find = (selector) => document.querySelector(selector);
const page = {
  connection: find(".connection"),
  talk: find(".talk"),
  mute: find(".mute"),
  cancel: find(".cancel"),
  level: find(".level"),
  status: find(".status"),
  hint: find(".hint"),
  notice: find(".notice"),
  composer: find(".composer"),
  text: find("#text"),
  log: find("[role=log]"),
};

/** The token from the address's fragment, which never leaves the browser and is removed at once. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

const CONNECTION = {
  offline: "not connected",
  connecting: "connecting…",
  waiting: "waiting for a place",
  ready: "connected",
  lost: "disconnected",
};
const STATUS = {
  idle: ["Tap and talk", "or write, below"],
  connecting: ["One moment", "getting ready"],
  listening: ["Listening", "say something"],
  hearing: ["I hear you", "go on"],
  thinking: ["Thinking", ""],
  speaking: ["Speaking", "talk to cut in"],
};
const WAY_ON = { talk: "Try again", reconnect: "Reconnect" };

const transcript = new Transcript(page.log);
const voice = new Voice(
  {
    changed: () => show(),
    heard: (turn, text, how) => transcript.heard(turn, text, how),
    typed: (id, text) => transcript.typed(id, text),
    replyStarted: (reply) => transcript.replyStarted(reply),
    replyText: (reply, text) => transcript.replyText(reply, text),
    replyCut: (reply, heard) => transcript.replyCut(reply, heard),
    replyDone: (reply, done) => transcript.replyDone(reply, done),
    conversationStarted: () => transcript.begin(),
    problem: (problem) => notice(problem),
    trouble: ({ message }) => notice(new Problem(message)),
  },
  takeToken(),
);
new Orb(find(".stage canvas"), () => ({
  phase: voice.phase,
  muted: voice.muted,
  held: voice.held,
  levels: voice.levels,
}));

/** Set only what differs, so that a live region speaks once. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function status() {
  if (voice.held) return ["Holding on", "go on, or wait"];
  if (voice.muted && voice.phase === "listening") return ["Muted", "unmute to go on"];
  if (voice.phase === "speaking" && voice.talking === "off") return ["Speaking", ""];
  return STATUS[voice.phase];
}

function connection() {
  if (!voice.place) return CONNECTION[voice.connection];
  const { position, eta_s: eta } = voice.place;
  return `number ${position} in line${eta === null ? "" : `, about ${eta} s`}`;
}

function show() {
  const on = voice.talking !== "off";
  document.body.dataset.phase = voice.phase;
  document.body.dataset.connection = voice.connection;
  document.body.dataset.playedMs = String(Math.floor(voice.playedMs));
  document.body.toggleAttribute("data-empty", transcript.isEmpty);
  const [words, hint] = status();
  say(page.status, words);
  say(page.hint, hint);
  say(page.connection, connection());
  page.talk.ariaLabel = on ? "Stop talking" : "Start talking";
  page.talk.classList.toggle("on", on);
  page.mute.disabled = voice.talking !== "on";
  page.mute.ariaPressed = String(voice.muted);
  say(page.mute.querySelector(".caption"), voice.muted ? "Unmute" : "Mute");
  page.cancel.disabled = !voice.canCancel;
  // Without sound the page's words are all there is: let a screen reader have them.
  page.log.ariaLive = voice.hasSound ? "off" : "polite";
}

function notice(problem) {
  if (!(problem instanceof Problem)) console.error(problem);
  const act = page.notice.querySelector(".act");
  page.notice.hidden = false;
  page.notice.querySelector("p").textContent = problem.message;
  act.hidden = !problem.action;
  act.textContent = WAY_ON[problem.action] ?? "";
  act.onclick = () => {
    dismiss();
    if (problem.action === "talk") voice.talk();
    else voice.connect().catch(notice);
  };
}

function dismiss() {
  page.notice.hidden = true;
}

page.talk.addEventListener("click", () => {
  dismiss();
  if (voice.talking === "off") voice.talk();
  else voice.hush();
});
page.mute.addEventListener("click", () => voice.setMuted(!voice.muted));
page.cancel.addEventListener("click", () => voice.cancel());
page.notice.querySelector(".dismiss").addEventListener("click", dismiss);

page.composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = page.text.value.trim();
  if (!text) return;
  dismiss();
  page.text.value = "";
  const sent = await voice.say(text);
  if (!sent && !page.text.value) page.text.value = text; // nothing that was written is lost
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") voice.cancel();
});

function showLevel() {
  const level = voice.muted ? 0 : loudness(voice.levels.microphone);
  page.level.style.setProperty("--level", level.toFixed(3));
  page.level.ariaValueNow = String(Math.round(100 * level));
}

setInterval(showLevel, 100);
show();
