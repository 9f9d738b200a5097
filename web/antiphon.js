// Antiphon's client: one conversation in the native protocol, over as many WebSockets as it takes.
// For any page or program that has WebSocket; knows nothing of microphones and loudspeakers.

const ANSWER_MS = 10_000; // for a welcome, or a place in the waiting room
const WAITING_MS = 30_000; // in the waiting room, where the server says something every 10 s
const RETRY_MS = 500; // the longest first wait, doubled at each failure
const LONGEST_RETRY_MS = 15_000;
const BEHIND_BYTES = { pcm16: 64_000, opus: 6_000 }; // 2 s of audio; what is older helps nobody
const MAX_QUEUED = 20; // typed turns that wait
const FINAL = new Set([1000, 1008, 1009, 4009, 4401, 4403]); // trying again would not help

/**
 * Events, as `detail`: "state" {state, code, reason, retryMs}; "message" (what the server said); "audio"
 * (ArrayBuffer, as `welcome.audio` says). States: closed, connecting, waiting (in the waiting room),
 * ready, lost (and trying again). Listen to "state" before `connect()`.
 */
export class Antiphon extends EventTarget {
  state = "closed";
  figures = { connections: 0, drops: 0 }; // drops: frames that could not leave
  #url;
  #hello;
  #socket = null;
  #typed = []; // { id, text, socket }: oldest first; the first one may be on its way
  #prefix = Math.random().toString(36).slice(2, 10);
  #count = 0;
  #failures = 0;
  #awayMs = 0; // what the server asks to wait before the next try
  #clearing = false; // the server has not said yet that it forgot the conversation
  #timer; // for an answer, or until the next try

  /** `hello`: its fields (PROTOCOL: audio, voice, instructions, resume, token, ...). */
  constructor(url, hello = {}) {
    super();
    this.#url = url;
    this.#hello = { ...hello };
  }

  get resume() {
    return this.#hello.resume ?? null;
  }

  /** The server may still know what `clear` was to make it forget. */
  get clearing() {
    return this.#clearing;
  }

  get queued() {
    return this.#typed.length;
  }

  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Connect, or try again at once. */
  connect() {
    if (this.state !== "closed" && this.state !== "lost") return;
    clearTimeout(this.#timer);
    const socket = new WebSocket(this.#url, ["antiphon.v1"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", ...this.#hello }));
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    this.#socket = socket;
    this.#timer = setTimeout(() => this.reconnect(), ANSWER_MS);
    this.#become("connecting");
  }

  /** Give this connection up, and go on over a new one. */
  reconnect() {
    if (!this.#socket) return;
    const socket = this.#socket;
    this.#lose(1006); // at once: a dead line's close may take minutes
    socket.close();
  }

  /** A typed turn, sent once, when there is a connection. Its id comes back as the `ref` of its
   * transcript; null when too many wait already. */
  say(text) {
    if (this.#typed.length === MAX_QUEUED) return null;
    this.#count += 1;
    const id = `${this.#prefix}-${this.#count}`;
    this.#typed.push({ id, text, socket: null });
    this.#sendTyped();
    return id;
  }

  /** Forget the conversation: now, or first of all when there is a connection. What was typed and not
   * taken is not sent any more. */
  clear() {
    this.#typed = [];
    this.#clearing = this.state === "ready" || this.resume !== null;
    this.send({ type: "clear" });
  }

  /** A frame of the microphone; false when it could not leave: the line is down, or far behind. */
  hear(frame) {
    if (this.state !== "ready") return false;
    const behind = this.bufferedAmount > BEHIND_BYTES[this.#hello.audio?.codec ?? "pcm16"];
    if (behind) this.figures.drops += 1;
    else this.#socket.send(frame);
    return !behind;
  }

  /** Any other message of the protocol; dropped without a connection. */
  send(message) {
    if (this.state === "ready") this.#socket.send(JSON.stringify(message));
  }

  /** Settings, now and after each reconnection. */
  configure(settings) {
    this.introduce(settings);
    this.send({ type: "configure", ...settings });
  }

  /** What the next hello says besides, a token for instance. */
  introduce(fields) {
    Object.assign(this.#hello, fields);
  }

  /** `forGood`: nobody will come back to this conversation. */
  close(forGood = false) {
    if (forGood) this.send({ type: "bye" });
    const socket = this.#forget();
    this.#become("closed");
    socket?.close(1000);
  }

  #receive(data) {
    if (typeof data !== "string") {
      this.#tell("audio", data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "going_away") this.#awayMs = message.reconnect_in_ms;
    else if (message.type === "error" && this.state === "connecting") {
      this.#awayMs = message.retry_after_ms ?? 0;
    } else if (message.type === "cleared") this.#clearing = false;
    else if (message.type === "welcome") {
      this.#failures = 0;
      this.figures.connections += 1;
      this.#hello.resume = message.resume ?? undefined;
      this.#clearing &&= message.resumed;
      if (this.#clearing) message.history = [];
    }
    this.#tell("message", message);
    if (message.type === "waiting") {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.reconnect(), WAITING_MS);
      this.#become("waiting");
    } else if (message.type === "welcome") {
      clearTimeout(this.#timer); // from here on the server keeps the time
      this.#become("ready");
      if (this.#clearing) this.send({ type: "clear" });
      this.#sendTyped();
    } else if (message.ref !== undefined) this.#settle(message);
  }

  #sendTyped() {
    const [first] = this.#typed;
    if (this.state !== "ready" || !first || first.socket === this.#socket) return;
    first.socket = this.#socket;
    this.send({ type: "text", text: first.text, id: first.id });
  }

  /** A typed turn was taken, or refused, perhaps only for now. */
  #settle({ type, ref, retry_after_ms: retryMs }) {
    const [first] = this.#typed;
    if (ref !== first?.id) return;
    const later = type === "error" && retryMs;
    if (!later) this.#typed.shift();
    setTimeout(() => {
      first.socket = null;
      this.#sendTyped();
    }, later || 0);
  }

  /** Full jitter (Brooker 2015): anywhere up to a bound that doubles, so that nobody comes at once. */
  #lose(code, reason = "") {
    this.#forget();
    const awayMs = this.#awayMs;
    this.#awayMs = 0;
    if (FINAL.has(code)) {
      this.#become("closed", code, reason);
      return;
    }
    const bound = Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** this.#failures);
    const retryMs = awayMs + Math.random() * bound;
    this.#failures += 1;
    this.#timer = setTimeout(() => this.connect(), retryMs);
    this.#become("lost", code, reason, retryMs);
  }

  #forget() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timer);
    if (socket) socket.onopen = socket.onmessage = socket.onclose = null;
    return socket;
  }

  #become(state, code = null, reason = "", retryMs = null) {
    this.state = state;
    this.#tell("state", { state, code, reason, retryMs });
  }

  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
