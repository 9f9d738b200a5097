// The line to the server: one WebSocket after another, for as long as trying again helps. Of what the
// server says it minds only what concerns the line: how to wait, and that one may come in.

const ANSWER_MS = 10_000; // for a welcome, or a place in the waiting room
const WAITING_MS = 30_000; // in the waiting room, where the server says something every 10 s
const RETRY_MS = 500; // the longest first wait, doubled at each failure
const LONGEST_RETRY_MS = 15_000;
const FINAL = new Set([1000, 1008, 1009, 4009, 4401, 4403]); // trying again would not help

export class Line {
  state = "closed"; // connecting, waiting (in the waiting room), ready, lost (and trying again)
  #url;
  #observer;
  #socket = null;
  #failures = 0;
  #awayMs = 0; // what the server asks to wait before the next try
  #timer; // for an answer, or until the next try

  /** The observer: hello() gives the first message of a connection; message(object) and
   * audio(ArrayBuffer) are the server's; became({ state, code, reason, retryMs }). */
  constructor(url, observer) {
    this.#url = url;
    this.#observer = observer;
  }

  get bufferedAmount() {
    return this.#socket?.bufferedAmount ?? 0;
  }

  /** Connect, or try again at once. */
  connect() {
    if (this.state !== "closed" && this.state !== "lost") return;
    const socket = new WebSocket(this.#url, ["antiphon.v1"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify(this.#observer.hello()));
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lose(code, reason);
    this.#socket = socket;
    this.#giveUpAfter(ANSWER_MS);
    this.#become("connecting");
  }

  /** Give this connection up, and go on over a new one. */
  reconnect() {
    if (!this.#socket) return;
    const socket = this.#socket;
    this.#lose(1006); // at once: a dead line's close may take minutes
    socket.close();
  }

  /** Text or bytes; false without a connection. */
  send(frame) {
    if (this.state !== "ready") return false;
    this.#socket.send(frame);
    return true;
  }

  close() {
    const socket = this.#forget();
    this.#become("closed");
    socket?.close(1000);
  }

  #receive(data) {
    if (typeof data !== "string") {
      this.#observer.audio(data);
      return;
    }
    const socket = this.#socket;
    const message = JSON.parse(data);
    const { type } = message;
    if (type === "welcome") this.#failures = 0;
    else if (type === "going_away") this.#awayMs = message.reconnect_in_ms;
    else if (type === "error" && this.state === "connecting") {
      this.#awayMs = message.retry_after_ms ?? 0;
    }
    this.#observer.message(message);
    if (socket !== this.#socket) return; // who heard it has hung up
    if (type === "waiting") {
      this.#giveUpAfter(WAITING_MS);
      this.#become("waiting");
    } else if (type === "welcome") {
      clearTimeout(this.#timer); // from here on the server keeps the time
      this.#become("ready");
    }
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

  #giveUpAfter(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.reconnect(), ms);
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
    this.#observer.became({ state, code, reason, retryMs });
  }
}
