// The transcript: one entry a turn and one a reply, in the order in which they began.
// Text is only ever set as text.

const MAX_ENTRIES = 200; // the oldest leave the page
const MAX_LINES = 5_000; // of those that left, for the clipboard or a file
const FOLLOW_PX = 80; // so near to the end, the reader follows along
const CHARACTER_MS = 62; // of speech, while nobody knows how long a reply will be

/** How much of `text` was heard, in characters: `heard` is its beginning, but for white space. */
function heardLength(text, heard) {
  let at = 0;
  for (const character of heard.replace(/\s+/g, "")) {
    while (at < text.length && /\s/.test(text[at])) at += 1;
    if (!text.startsWith(character, at)) return at;
    at += character.length;
  }
  return at;
}

/** How much of `text` has been spoken by now, to the end of a word: an estimate by its length. */
function spokenLength(text, playedMs, audioMs) {
  const wholeMs = audioMs ?? Math.max(playedMs, text.length * CHARACTER_MS);
  if (wholeMs <= 0) return 0;
  const at = Math.min(text.length, Math.round((text.length * playedMs) / wholeMs));
  const rest = text.slice(at).search(/\s/);
  return rest < 0 ? text.length : at + rest;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(ms < 9_950 ? 2 : 0)} s`;
}

/** An entry as a line of plain text; "" where a new conversation begins. */
function lineOf(entry) {
  if (!entry.dataset.role) return "";
  const struck = entry.querySelector("s")?.textContent;
  const text = entry.querySelector(".text").textContent;
  const said = struck ? `${text.slice(0, -struck.length)}[not heard: ${struck}]` : text;
  return `${entry.dataset.role === "user" ? "You" : "Antiphon"}: ${said}`;
}

export class Transcript {
  #list;
  #scroller;
  #follows = true; // the reader is at the end, and stays there
  #due = false; // the next picture shows the end
  #left = []; // lines of the entries that left the page, oldest first
  #turns = new Map(); // turns that are not final yet, by number
  #replies = new Map(); // replies that are not done yet, by number: { entry, text, spoken }
  #typed = new Map(); // typed turns without a number yet, by id
  #lost = new Map(); // replies that were cut with the line, by number: { entry, text }

  constructor(list) {
    this.#list = list;
    this.#scroller = list.closest(".conversation");
    let before = 0;
    this.#scroller.addEventListener("scroll", () => {
      const { scrollTop } = this.#scroller;
      if (this.#nearEnd()) this.#follows = true;
      else if (scrollTop < before) this.#follows = false; // up; what grew below is no scrolling
      before = scrollTop;
    });
    // A keyboard that comes out, or a telephone that is turned, hides no last line.
    new ResizeObserver(() => this.#follow()).observe(this.#scroller);
  }

  get isEmpty() {
    return this.#list.childElementCount === 0;
  }

  /** A new conversation remembers nothing: draw a line under what is there. */
  begin() {
    this.cut();
    this.#lost.clear();
    const waiting = [...this.#typed.values()];
    const last = [...this.#list.children].findLast((entry) => !waiting.includes(entry));
    if (!last || last.classList.contains("rule")) return;
    const rule = document.createElement("li");
    rule.className = "rule";
    rule.textContent = "a new conversation";
    last.after(rule);
    this.#follow();
  }

  /** What was under way will not come to its end; what waits to be sent still waits. */
  cut() {
    for (const [reply, going] of this.#replies) {
      this.#lost.set(reply, going); // kept over tries that fail, until a welcome
      const { text, spoken } = going;
      this.replyDone(reply, { status: "interrupted", heard: text.slice(0, spoken) });
    }
    for (const entry of this.#turns.values()) delete entry.dataset.partial;
    this.#turns.clear();
  }

  /** What was said before this page was loaded: items of the history, as `welcome` has them. */
  restore(history) {
    if (!this.isEmpty) {
      this.#correct(history);
      return;
    }
    for (const { role, text, status, call } of history.slice(-MAX_ENTRIES)) {
      if (call || !text || (role !== "user" && role !== "assistant")) continue;
      const entry = this.#entry(role);
      entry.querySelector(".text").textContent = text; // of a reply: what was heard of it
      if (status) entry.dataset.status = status;
    }
  }

  /** The server knows how much was heard of a reply that the line's end cut. */
  #correct(history) {
    for (const { reply, text } of history) {
      const lost = this.#lost.get(reply);
      if (lost) this.#strike(lost.entry, lost.text, text);
    }
    this.#lost.clear();
  }

  empty() {
    this.#turns.clear();
    this.#replies.clear();
    this.#lost.clear();
    this.#typed.clear();
    this.#left = [];
    this.#list.replaceChildren();
  }

  /** For the clipboard or a file. */
  asText() {
    return [...this.#left, ...[...this.#list.children].map(lineOf)].join("\n");
  }

  typed(id, text) {
    const entry = this.#entry("user");
    entry.dataset.pending = "";
    entry.querySelector(".text").textContent = text;
    this.#typed.set(id, entry);
    this.#follow(true);
  }

  /** The server did not take it. */
  refused(id) {
    const entry = this.#typed.get(id);
    if (!entry) return;
    this.#typed.delete(id);
    delete entry.dataset.pending;
    this.#note(entry, "not taken", "the server did not take this message");
  }

  heard(turn, text, { final = false, discarded = false, ref } = {}) {
    let entry = this.#turns.get(turn) ?? this.#typed.get(ref);
    if (discarded || (final && !text)) {
      entry?.remove();
      this.#turns.delete(turn);
      return;
    }
    if (!entry && !text) return;
    if (!entry && ref) return; // told again: it stands there already
    entry ??= this.#entry("user");
    if (final) this.#turns.delete(turn);
    else this.#turns.set(turn, entry);
    this.#typed.delete(ref);
    delete entry.dataset.pending;
    entry.toggleAttribute("data-partial", !final);
    entry.querySelector(".text").textContent = text;
    this.#follow();
  }

  replyStarted(reply) {
    const entry = this.#entry("assistant");
    entry.dataset.partial = "";
    entry.ariaBusy = "true";
    this.#replies.set(reply, { entry, text: "", spoken: 0, struck: false });
  }

  replyText(reply, text) {
    const going = this.#replies.get(reply);
    if (!going) return;
    going.text += text;
    this.#mark(going);
    this.#follow();
  }

  /** So much of it has left the loudspeaker; `audioMs`: of so much, null while unknown. */
  replySpoken(reply, playedMs, audioMs) {
    const going = this.#replies.get(reply);
    if (!going) return;
    going.spoken = Math.max(going.spoken, spokenLength(going.text, playedMs, audioMs));
    this.#mark(going);
  }

  #mark({ entry, text, spoken, struck }) {
    if (!text || struck) return;
    const place = entry.querySelector(".text");
    if (!place.firstChild) {
      const span = document.createElement("span");
      span.className = "spoken";
      place.append(span, document.createTextNode(""));
    }
    const [span, rest] = place.childNodes;
    if (span.textContent.length !== spoken) span.textContent = text.slice(0, spoken);
    rest.data = text.slice(spoken);
  }

  /** The user cut in: what was not heard is struck. */
  replyCut(reply, heard) {
    const going = this.#replies.get(reply);
    if (!going || typeof heard !== "string") return;
    going.struck = true;
    this.#strike(going.entry, going.text, heard);
  }

  #strike(entry, text, heard) {
    if (typeof heard !== "string") return;
    const place = entry.querySelector(".text");
    const length = heardLength(text, heard);
    const [, gap, rest] = /^(\s*)([^]*)$/.exec(text.slice(length));
    place.textContent = text.slice(0, length) + gap;
    if (!rest) return;
    const unheard = document.createElement("s");
    unheard.title = "not heard";
    unheard.textContent = rest;
    place.append(unheard);
  }

  replyDone(reply, { status, text, heard, latency_ms: latency }) {
    const going = this.#replies.get(reply);
    if (!going) return;
    this.#replies.delete(reply);
    const { entry } = going;
    delete entry.dataset.partial;
    entry.ariaBusy = "false";
    entry.dataset.status = status;
    const whole = text || going.text;
    const place = entry.querySelector(".text");
    place.textContent = whole;
    if (status !== "completed") this.#strike(entry, whole, heard);
    if (!whole) {
      if (status === "failed") place.textContent = "(no answer)";
      else entry.remove();
    }
    if (latency?.total > 0) this.#annotate(entry, latency);
    this.#follow();
  }

  #annotate(entry, latency) {
    const parts = ["endpoint", "stt", "llm", "tts"]
      .filter((part) => latency[part] !== undefined)
      .map((part) => `${part} ${seconds(latency[part])}`);
    const title = `from your last word to the first sound: ${parts.join(", ")}`;
    this.#note(entry, seconds(latency.total), title).dataset.testid = "latency";
  }

  #note(entry, text, title) {
    const note = document.createElement("small");
    note.className = "note";
    note.textContent = text;
    note.title = title;
    entry.append(note);
    return note;
  }

  #entry(role) {
    const entry = document.createElement("li");
    entry.dataset.role = role;
    const speaker = document.createElement("span");
    speaker.className = "speaker";
    speaker.textContent = role === "user" ? "You" : "Antiphon";
    const text = document.createElement("p");
    text.className = "text";
    text.dir = "auto";
    entry.append(speaker, text);
    this.#list.append(entry);
    while (this.#list.childElementCount > MAX_ENTRIES) this.#leave(this.#list.firstElementChild);
    this.#follow();
    return entry;
  }

  #leave(entry) {
    this.#left.push(lineOf(entry));
    if (this.#left.length > MAX_LINES) this.#left.shift();
    entry.remove();
  }

  #nearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
  }

  /** Once a picture: to know where the end is costs the browser a layout of what is new. */
  #follow(always = false) {
    if (this.#due || !(always || this.#follows)) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#follows = true;
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
    });
  }
}
