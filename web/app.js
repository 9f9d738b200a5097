// The page: shows what the conversation does, and turns clicks and keys into its commands.

import { showFigures } from "./figures.js";
import { Awake, takeKept, watchOver } from "./lifeline.js";
import { Orb, loudness } from "./orb.js";
import { Problem, TOO_MANY, serverProblem } from "./problems.js";
import { SettingsForm, helloOf, loadSettings } from "./settings.js";
import { Transcript } from "./transcript.js";
import { Voice } from "./voice.js";
import { connectionOf, statusOf } from "./words.js";

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
  sheet: find("#settings"),
  copy: find(".copy"),
  save: find(".save"),
};

const TOLD_MS = 3_000; // that something was done as asked
const OFTEN = 3; // failures after which a lost line is worth a notice
const WAY_ON = { talk: "Try again", reconnect: "Reconnect", token: "Enter a token" };

/** What a reload needs. */
function keepable() {
  return { resume: antiphon.resume, token, clearing: antiphon.clearing };
}

/** The token from the address's fragment, which never leaves the browser and is removed at once. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

function address() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url;
}

const kept = takeKept();
let token = takeToken() ?? kept.token ?? null;
const settings = loadSettings();
const transcript = new Transcript(page.log.firstElementChild);
const voice = new Voice(
  {
    changed: () => show(),
    heard: (turn, text, how) => transcript.heard(turn, text, how),
    typed: (id, text) => transcript.typed(id, text),
    refused: (id) => transcript.refused(id),
    replyStarted: (reply) => transcript.replyStarted(reply),
    replyText: (reply, text) => transcript.replyText(reply, text),
    replySpoken: (reply, playedMs, audioMs) => transcript.replySpoken(reply, playedMs, audioMs),
    replyCut: (reply, heard) => transcript.replyCut(reply, heard),
    replyDone: (reply, done) => transcript.replyDone(reply, done),
    lineLost: () => transcript.cut(),
    welcomed: ({ resumed, history: said }) => {
      dismiss("line");
      if (!resumed) transcript.begin();
      else transcript.restore(said ?? []);
    },
    problem: (problem) => notice(problem),
    trouble: (message) => notice(serverProblem(message)),
  },
  address(),
  {
    ...settings,
    hello: {
      ...helloOf(settings),
      ...(token && { token }),
      ...(kept.resume && { resume: kept.resume }),
    },
  },
);
const { antiphon } = voice;
const awake = new Awake();
watchOver(antiphon, voice.pulse, keepable, () => show());
new Orb(find(".stage canvas"), () => ({
  phase: voice.phase,
  muted: voice.muted,
  held: voice.answers.held,
  levels: { microphone: voice.caller.level, speaker: voice.answers.level },
}));
const form = new SettingsForm(
  page.sheet.querySelector("form"),
  (chosen) => void voice.choose({ ...chosen, hello: helloOf(chosen) }),
  () => (token ? { Authorization: `Bearer ${token}` } : {}),
);
showFigures(page.sheet.querySelector("details"), voice);

// --- what is shown ------------------------------------------------------------------------------

/** Set only what differs, so that a live region speaks once. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function orbName(on, push) {
  if (push) return voice.pushing ? "Stop talking" : "Hold to talk";
  if (voice.soundWaits && !tapped) return "Go on";
  return on ? "Stop talking" : "Start talking";
}

let done = ""; // a word on what was asked for, in place of the hint
let tapped = false; // for the sound, which waits still

function show() {
  tapped &&= voice.soundWaits;
  const on = voice.talking !== "off";
  const push = voice.mode === "push";
  document.body.dataset.phase = voice.phase;
  document.body.dataset.connection = voice.connection;
  document.body.dataset.mode = voice.mode;
  document.body.dataset.playedMs = String(Math.floor(voice.answers.playedMs));
  document.body.toggleAttribute("data-empty", transcript.isEmpty);
  awake.want(on);
  // What a screen reader says while the microphone is open would be taken for the user's words.
  page.status.ariaLive = voice.caller.speaks ? "off" : "polite";
  const [words, hint] = statusOf(voice);
  say(page.status, words);
  page.hint.ariaLive = done && !voice.caller.speaks ? "polite" : "off";
  say(page.hint, done || hint);
  say(page.connection, connectionOf(voice));
  page.talk.ariaLabel = orbName(on, push);
  page.talk.classList.toggle("on", on && !push);
  page.mute.disabled = voice.talking !== "on" || push;
  page.mute.classList.toggle("muted", voice.muted);
  say(page.mute.querySelector(".caption"), voice.muted ? "Unmute" : "Mute");
  page.cancel.disabled = !voice.canCancel;
  page.copy.disabled = page.save.disabled = transcript.isEmpty;
  // Without sound the page's words are all there is: let a screen reader have them.
  page.log.ariaLive = voice.answers.hasSound ? "off" : "polite";
}

/** `about`: what must come about for the notice to have been dealt with; "" for a click. */
function notice(problem, about = "") {
  if (!(problem instanceof Problem)) console.error(problem);
  const act = page.notice.querySelector(".act");
  page.notice.dataset.about = about;
  page.notice.hidden = false;
  page.notice.querySelector("p").textContent = problem.message;
  act.hidden = !problem.action;
  act.textContent = WAY_ON[problem.action] ?? "";
  act.onclick = () => {
    dismiss();
    if (problem.action === "talk") voice.talk();
    else if (problem.action === "token") find("#token").showModal();
    else void voice.connect();
  };
}

function dismiss(about) {
  if (about !== undefined && page.notice.dataset.about !== about) return;
  const focused = page.notice.contains(document.activeElement);
  page.notice.hidden = true;
  if (focused) page.talk.focus(); // or who uses the keyboard would begin at the top again
}

let failures = 0;
antiphon.addEventListener("state", ({ detail: { state } }) => {
  if (state === "ready") failures = 0;
  else if (state === "lost" && (failures += 1) === OFTEN) {
    const words = "The server cannot be reached. This page keeps trying.";
    notice(new Problem(words, "reconnect"), "line");
  }
});

// --- clicks and keys ----------------------------------------------------------------------------

page.talk.addEventListener("click", ({ detail }) => {
  dismiss();
  if (voice.mode === "push") {
    if (detail > 0) return; // a pointer's, which was held; a key's or a screen reader's counts none
    if (voice.pushing) voice.release();
    else void voice.push(); // who cannot hold it presses twice
    return;
  }
  if (voice.soundWaits && !tapped) {
    tapped = true; // to go on; where that is in vain, the next one ends it
    voice.wake();
    show();
  } else if (voice.talking === "off") voice.talk();
  else voice.hush();
});
page.talk.addEventListener("pointerdown", (event) => {
  if (voice.mode !== "push" || event.button !== 0) return;
  dismiss();
  page.talk.setPointerCapture(event.pointerId);
  void voice.push();
});
for (const name of ["pointerup", "pointercancel"]) {
  page.talk.addEventListener(name, () => voice.release());
}
page.talk.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press
page.mute.addEventListener("click", () => voice.setMuted(!voice.muted));
page.cancel.addEventListener("click", () => voice.cancel());
page.notice.querySelector(".dismiss").addEventListener("click", () => dismiss());

page.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = page.text.value.trim();
  if (!text) return;
  dismiss();
  if (voice.say(text)) page.text.value = "";
  else notice(TOO_MANY());
});

/** The space bar talks, unless it is meant for what has the focus. */
function talksBySpace({ code, target, repeat }) {
  if (code !== "Space" || voice.mode !== "push" || page.sheet.open) return false;
  if (target === page.talk) return true;
  return !repeat && !target.closest("input, textarea, select, button, summary, a, dialog");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !find("dialog[open]")) voice.cancel();
  if (event.key === "Enter" && event.repeat && event.target === page.talk) event.preventDefault();
  if (!talksBySpace(event)) return;
  event.preventDefault();
  if (!event.repeat) void voice.push();
});
document.addEventListener("keyup", (event) => {
  if (event.code !== "Space") return;
  if (voice.pushing && event.target === page.talk) event.preventDefault(); // a click, in Firefox
  voice.release();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && voice.soundWaits) voice.wake(); // some browsers need no tap for that
});
addEventListener("blur", () => voice.release()); // the key's end would come to another window

find(".choose").addEventListener("click", () => {
  page.sheet.showModal();
  void form.open();
});
page.sheet.addEventListener("close", () => {
  const left = [document.body, find(".choose")].includes(document.activeElement);
  if (voice.mode === "push" && left) page.talk.focus(); // or the space bar would open the sheet again
});
page.sheet.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
page.sheet.querySelector(".forget").addEventListener("click", () => {
  voice.clear();
  transcript.empty();
  page.sheet.close();
  show();
});
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  const isBeside = ({ target, clientX: x, clientY: y }) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    return target === dialog && (x < left || x > right || y < top || y > bottom);
  };
  let beganBeside = false; // a selection that begins inside may end beside it, and closes nothing
  dialog.addEventListener("pointerdown", (event) => {
    beganBeside = isBeside(event);
  });
  dialog.addEventListener("click", (event) => {
    if (beganBeside && isBeside(event)) dialog.close();
  });
}
/** Come in with this one from now on. */
function enterWith(given) {
  if (!given) return;
  token = given;
  antiphon.introduce({ token });
  void voice.connect();
}

find("#token form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = find("#token input");
  const given = field.value.trim();
  field.value = "";
  find("#token").close();
  enterWith(given);
});
addEventListener("hashchange", () => enterWith(takeToken())); // a link opened in this tab

let untold;

function tell(word) {
  done = word;
  show();
  clearTimeout(untold);
  untold = setTimeout(() => {
    done = "";
    show();
  }, TOLD_MS);
}

page.copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(transcript.asText());
    tell("copied");
  } catch {
    notice(new Problem("The browser does not let this page copy. Save it as a file instead."));
  }
});
page.save.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([transcript.asText()], { type: "text/plain" }));
  link.download = `antiphon-${new Date().toISOString().slice(0, 16).replace(":", "")}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
});

function showLevel() {
  const level = voice.muted ? 0 : loudness(voice.caller.level);
  page.level.style.setProperty("--level", level.toFixed(3));
  page.level.dataset.level = Math.round(100 * level);
}

setInterval(showLevel, 100);
show();
if (kept.clearing) voice.clear();
if (kept.resume) void voice.connect(); // this page was only reloaded
