// Typed turns that wait: each leaves when the one before it was taken, and over every connection anew
// until it is. The server takes an id once.

const MAX_QUEUED = 20;

export class TypedTurns {
  #turns = []; // { id, text }: oldest first; the first one may be on its way
  #sent = null; // the id that is on its way over this connection
  #prefix = Math.random().toString(36).slice(2, 10);
  #count = 0;
  #send;
  #timer; // until one that was refused for now is sent again

  /** `send(message)`: false without a connection. */
  constructor(send) {
    this.#send = send;
  }

  get length() {
    return this.#turns.length;
  }

  /** Its id, under which it is settled; null when too many wait already. */
  add(text) {
    if (this.#turns.length === MAX_QUEUED) return null;
    this.#count += 1;
    const id = `${this.#prefix}-${this.#count}`;
    this.#turns.push({ id, text });
    this.#next();
    return id;
  }

  /** Nothing is on its way: the connection is new, or the server wanted to be asked again. */
  begin() {
    clearTimeout(this.#timer);
    this.#sent = null;
    this.#next();
  }

  /** The server's word on one: taken, or refused; with `retryMs` only for so long. */
  settle(id, retryMs) {
    if (id !== this.#turns[0]?.id) return;
    clearTimeout(this.#timer);
    if (retryMs) {
      this.#timer = setTimeout(() => this.begin(), retryMs);
      return;
    }
    this.#turns.shift();
    this.#next();
  }

  /** Those that were not taken are not sent any more. */
  clear() {
    clearTimeout(this.#timer);
    this.#turns = [];
  }

  #next() {
    const [first] = this.#turns;
    if (!first || first.id === this.#sent) return;
    if (this.#send({ type: "text", ...first })) this.#sent = first.id;
  }
}
