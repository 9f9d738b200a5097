// The transcript: one entry a turn and one a reply, in the order in which they began.
// Text is only ever set as text.

const MAX_ENTRIES = 200; // the oldest leave the page
const FOLLOW_PX = 80; // so near to the end, the reader follows along

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

function seconds(ms) {
  return `${(ms / 1000).toFixed(ms < 9_950 ? 2 : 0)} s`;
}

export class Transcript {
  #list;
  #scroller;
  #turns = new Map(); // turns that are not final yet, by number
  #replies = new Map(); // replies that are not done yet, by number
  #typed = new Map(); // typed turns without a number yet, by id

  constructor(list) {
    this.#list = list;
    this.#scroller = list.parentElement;
  }

  get isEmpty() {
    return this.#list.childElementCount === 0;
  }

  /** A new conversation remembers nothing: draw a line under what is there. */
  begin() {
    for (const entry of this.#replies.values()) this.#close(entry);
    this.#turns.clear();
    this.#replies.clear();
    this.#typed.clear();
    const last = this.#list.lastElementChild;
    if (!last || last.classList.contains("rule")) return;
    const rule = document.createElement("li");
    rule.className = "rule";
    rule.textContent = "a new conversation";
    this.#append(rule);
  }

  typed(id, text) {
    const entry = this.#entry("user", "You");
    entry.dataset.pending = "";
    entry.querySelector(".text").textContent = text;
    this.#typed.set(id, entry);
    this.#follow(true);
  }

  heard(turn, text, { final = false, discarded = false, ref } = {}) {
    let entry = this.#turns.get(turn) ?? this.#typed.get(ref);
    if (discarded || (final && !text)) {
      entry?.remove();
      this.#turns.delete(turn);
      return;
    }
    if (!entry && !text) return;
    entry ??= this.#entry("user", "You");
    if (final) this.#turns.delete(turn);
    else this.#turns.set(turn, entry);
    this.#typed.delete(ref);
    delete entry.dataset.pending;
    entry.toggleAttribute("data-partial", !final);
    entry.querySelector(".text").textContent = text;
    this.#follow();
  }

  replyStarted(reply) {
    const entry = this.#entry("assistant", "Antiphon");
    entry.dataset.partial = "";
    entry.ariaBusy = "true";
    this.#replies.set(reply, entry);
  }

  replyText(reply, text) {
    const place = this.#replies.get(reply)?.querySelector(".text");
    if (!place) return;
    place.append(text);
    place.normalize();
    this.#follow();
  }

  /** The user cut in: what was not heard is struck. */
  replyCut(reply, heard) {
    const entry = this.#replies.get(reply);
    if (entry) this.#strike(entry, heard);
  }

  #strike(entry, heard) {
    if (typeof heard !== "string") return;
    const place = entry.querySelector(".text");
    const text = place.textContent;
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
    const entry = this.#replies.get(reply);
    if (!entry) return;
    this.#replies.delete(reply);
    this.#close(entry);
    entry.dataset.status = status;
    const place = entry.querySelector(".text");
    if (typeof text === "string" && text) place.textContent = text;
    if (status !== "completed") this.#strike(entry, heard);
    if (!place.textContent) {
      if (status === "failed") place.textContent = "(no answer)";
      else entry.remove();
    }
    if (latency?.total > 0) this.#annotate(entry, latency);
    this.#follow();
  }

  #close(entry) {
    delete entry.dataset.partial;
    entry.ariaBusy = "false";
  }

  #annotate(entry, latency) {
    const note = document.createElement("small");
    note.className = "latency";
    note.dataset.testid = "latency";
    note.textContent = seconds(latency.total);
    const parts = ["endpoint", "stt", "llm", "tts"]
      .filter((part) => latency[part] !== undefined)
      .map((part) => `${part} ${seconds(latency[part])}`);
    note.title = `from your last word to the first sound: ${parts.join(", ")}`;
    entry.append(note);
  }

  #entry(role, name) {
    const entry = document.createElement("li");
    entry.dataset.role = role;
    const speaker = document.createElement("span");
    speaker.className = "speaker";
    speaker.textContent = name;
    const text = document.createElement("p");
    text.className = "text";
    text.dir = "auto";
    entry.append(speaker, text);
    this.#append(entry);
    return entry;
  }

  #append(entry) {
    const follows = this.#nearEnd();
    this.#list.append(entry);
    while (this.#list.childElementCount > MAX_ENTRIES) this.#list.firstElementChild.remove();
    this.#follow(follows);
  }

  #nearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
  }

  #follow(always = false) {
    if (always || this.#nearEnd()) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }
}
