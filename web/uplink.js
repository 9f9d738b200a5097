// The microphone's way to the server: its frames as the line takes them, samples or packets, and what
// both sides send over this connection and the next one.

import { MicrophonePackets, knowsOpus } from "./opus.js";
import { Quality } from "./quality.js";

const RATE_HZ = 16_000;
const SOUNDS = {
  full: { rate: RATE_HZ, codec: "pcm16", framing: "raw" },
  small: { rate: RATE_HZ, codec: "opus", framing: "tagged" },
};
const BYTES_PER_MS = { pcm16: 32, opus: 3.4 }; // a packet's with its tag

export class Uplink {
  static RATE_HZ = RATE_HZ;
  codec = null; // of this connection, both ways
  frameMs = 20; // of the frames to come
  #antiphon;
  #grown;
  #quality = new Quality(navigator.connection);
  #known = knowsOpus(RATE_HZ); // a promise: this browser knows Opus
  #line; // how much of it to use: auto, full, small
  #packets = null;
  #packetMs = 0;

  /** `line`: auto, full or small; `grown(frameMs)`: so long the next frames are to be. */
  constructor(antiphon, line, grown) {
    this.#antiphon = antiphon;
    this.#line = line;
    this.#grown = grown;
  }

  // --- frames -------------------------------------------------------------------------------------

  /** A frame of 16-bit samples, `frameMs` long; false when it could not leave. */
  hear(pcm, frameMs) {
    if (this.codec !== "opus") return this.#send(pcm);
    if (this.#antiphon.state !== "ready") return false;
    if (frameMs !== this.#packetMs) {
      this.close(); // what is in it is a frame or none
      this.#packetMs = frameMs;
      const give = (frame) => this.#send(frame);
      this.#packets = new MicrophonePackets(RATE_HZ, frameMs, give, () => this.failed());
    }
    return this.#packets.encode(pcm);
  }

  /** Everything that was heard is on its way. */
  async flush() {
    await this.#packets?.flush();
  }

  close() {
    this.#packets?.close();
    this.#packets = null;
    this.#packetMs = 0;
  }

  #send(frame) {
    const sent = this.#antiphon.hear(frame);
    const waitingMs = this.#antiphon.bufferedAmount / BYTES_PER_MS[this.codec ?? "pcm16"];
    this.#quality.sent(performance.now(), waitingMs);
    if (this.frameMs !== this.#quality.frameMs) {
      this.frameMs = this.#quality.frameMs;
      this.#grown(this.frameMs);
    }
    return sent;
  }

  // --- what the line is like ----------------------------------------------------------------------

  answered(roundTripMs) {
    this.#quality.answered(performance.now(), roundTripMs);
  }

  ranDry() {
    this.#quality.ranDry(performance.now());
  }

  /** Opus cannot be coded here after all. */
  failed() {
    this.#known = Promise.resolve(false);
    void this.change(this.#line);
  }

  // --- which sound --------------------------------------------------------------------------------

  /** A connection has begun, with this codec. */
  begin(codec = "pcm16") {
    this.codec = codec;
    this.close();
  }

  get #small() {
    return this.#line === "small" || (this.#line === "auto" && this.#quality.small);
  }

  /** Settle what the next hello asks for. */
  async choose() {
    const known = this.#small && (await this.#known);
    const audio = SOUNDS[known && this.#small ? "small" : "full"]; // the wish of now, not of then
    this.#antiphon.introduce({ audio });
    return audio.codec;
  }

  /** Use the line so. The form of the audio holds for a connection: another takes a new one. */
  async change(line) {
    this.#line = line;
    const wanted = await this.choose();
    if (this.#antiphon.state === "ready" && this.codec !== wanted) this.#antiphon.reconnect();
  }

  /** Between two turns a change is not noticed. */
  changeInALull() {
    if (this.#line === "auto" && this.#quality.small) void this.change("auto");
  }
}
