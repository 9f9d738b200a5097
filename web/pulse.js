// Asks whether the line is alive, and how long an answer takes. A socket that has died says nothing
// for minutes; whoever needs to know must ask.

const ANSWER_MS = 10_000;
const QUIET_MS = 20_000; // without a word from the server; then it is asked for one
const BUSY_MS = 5_000; // between two questions while somebody talks

export class Pulse {
  roundTripMs = null; // the last one
  #antiphon;
  #heardAt = 0;
  #askedAt = null; // of a question that waits for its own answer
  #alarm; // while a question waits for any sign of life
  #dueAt = Infinity; // when it rings

  /** `busy()`: somebody talks, so that it matters how slow the line is; `told(roundTripMs)`. */
  constructor(antiphon, { busy, told }) {
    this.#antiphon = antiphon;
    antiphon.addEventListener("audio", () => this.#hear());
    antiphon.addEventListener("message", ({ detail: { type } }) => {
      this.#hear();
      if (type !== "configured" || this.#askedAt === null) return;
      this.roundTripMs = Math.round(this.#heardAt - this.#askedAt);
      this.#askedAt = null;
      told(this.roundTripMs);
    });
    antiphon.addEventListener("state", () => {
      this.#calm();
      this.#askedAt = null;
    });
    setInterval(() => {
      if (busy() || performance.now() - this.#heardAt > QUIET_MS) this.#ask(ANSWER_MS);
    }, BUSY_MS);
  }

  /** Is anybody there? Without a sign of life the connection is given up, and made anew. */
  check(withinMs = ANSWER_MS) {
    if (this.#antiphon.state === "lost") this.#antiphon.connect();
    else this.#ask(withinMs);
  }

  #ask(withinMs) {
    const now = performance.now();
    if (this.#antiphon.state !== "ready" || this.#dueAt <= now + withinMs) return;
    this.#calm(); // one who waits longer for the same
    this.#askedAt ??= now;
    this.#antiphon.send({ type: "configure" });
    this.#dueAt = now + withinMs;
    this.#alarm = setTimeout(() => this.#antiphon.reconnect(), withinMs);
  }

  #hear() {
    this.#heardAt = performance.now();
    this.#calm(); // whatever it says, it lives
  }

  #calm() {
    clearTimeout(this.#alarm);
    this.#dueAt = Infinity;
  }
}
