// Antiphon's client: one conversation in the native protocol, over as many WebSockets as it takes.
// For any page or program that has WebSocket; knows nothing of microphones and loudspeakers.

import { Line } from "./line.js";
import { TypedTurns } from "./typed.js";

const BEHIND_BYTES = { pcm16: 64_000, opus: 6_000 }; // 2 s of audio; what is older helps nobody

/**
 * Events, as `detail`: "state" {state, code, reason, retryMs}; "message" (what the server said); "audio"
 * (ArrayBuffer, as `welcome.audio` says). States: closed, connecting, waiting (in the waiting room),
 * ready, lost (and trying again). Listen to "state" before `connect()`.
 */
export class Antiphon extends EventTarget {
  figures = { connections: 0, drops: 0 }; // drops: frames that could not leave
  clearing = false; // the server may still know what `clear` was to make it forget
  #hello;
  #line;
  #typed = new TypedTurns((message) => this.send(message));

  /** `hello`: its fields (PROTOCOL: audio, voice, instructions, resume, token, ...). */
  constructor(url, hello = {}) {
    super();
    this.#hello = { ...hello };
    this.#line = new Line(url, {
      hello: () => ({ type: "hello", ...this.#hello }),
      message: (message) => this.#receive(message),
      audio: (frame) => this.#tell("audio", frame),
      became: (change) => this.#become(change),
    });
  }

  get state() {
    return this.#line.state;
  }

  get resume() {
    return this.#hello.resume ?? null;
  }

  get queued() {
    return this.#typed.length;
  }

  get bufferedAmount() {
    return this.#line.bufferedAmount;
  }

  /** Connect, or try again at once. */
  connect() {
    this.#line.connect();
  }

  /** Give this connection up, and go on over a new one. */
  reconnect() {
    this.#line.reconnect();
  }

  /** A typed turn, sent once, when there is a connection. Its id comes back as the `ref` of its
   * transcript; null when too many wait already. */
  say(text) {
    return this.#typed.add(text);
  }

  /** Forget the conversation: now, or first of all when there is a connection. What was typed and not
   * taken is not sent any more. */
  clear() {
    this.#typed.clear();
    this.clearing = this.state === "ready" || this.resume !== null;
    this.send({ type: "clear" });
  }

  /** A frame of the microphone; false when it could not leave: the line is down, or far behind. */
  hear(frame) {
    if (this.state !== "ready") return false;
    const behind = this.bufferedAmount > BEHIND_BYTES[this.#hello.audio?.codec ?? "pcm16"];
    if (behind) this.figures.drops += 1;
    else this.#line.send(frame);
    return !behind;
  }

  /** Any other message of the protocol; false without a connection. */
  send(message) {
    return this.#line.send(JSON.stringify(message));
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
    this.#line.close();
  }

  #receive(message) {
    if (message.type === "cleared") this.clearing = false;
    else if (message.type === "welcome") {
      this.figures.connections += 1;
      this.#hello.resume = message.resume ?? undefined;
      this.clearing &&= message.resumed;
      if (this.clearing) message.history = [];
    }
    this.#tell("message", message);
    const { type, ref, retry_after_ms: retryMs } = message;
    if (ref !== undefined) this.#typed.settle(ref, type === "error" ? retryMs : 0);
  }

  #become(change) {
    this.#tell("state", change);
    if (this.state !== "ready") return;
    if (this.clearing) this.send({ type: "clear" });
    this.#typed.begin();
  }

  #tell(event, detail) {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }
}
