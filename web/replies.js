// What Antiphon says: which reply is due, which is audible, which was cut, how much was heard.
// Works without a loudspeaker too: then replies are read, and nothing is reported as played.

import { OPUS_HZ, ReplySamples, untagged } from "./opus.js";
import { Speaker } from "./speaker.js";

export class Replies {
  #speaker = null;
  #cut = -1; // the last reply that was cut: what still arrives of it is not played
  #heardMs = new Map(); // of replies that are playing
  #lengthsMs = new Map(); // of those whose audio has all come
  #observer;
  #packed; // audio comes as packets of Opus, in tagged frames
  #samples = null; // of the reply whose packets come
  #decoding = 0; // that reply
  #decoded = null; // a promise: all of it is

  /**
   * `context`: a prepared AudioContext, or null for no sound; `audio`: as `welcome` has it. The
   * observer: played(reply, playedMs, newMs, done, audioMs), held() when one has fallen silent to wait,
   * ranDry(), changed(), failed() when the audio cannot be decoded here.
   */
  constructor(context, audio, observer) {
    this.#observer = observer;
    this.#packed = audio?.codec === "opus";
    this.current = null; // the reply whose audio may come or play
    this.audible = null; // the reply that plays
    this.held = false; // it waits to know whether it was interrupted
    this.level = 0; // RMS, 0..1
    this.figures = null; // the loudspeaker's
    if (!context) return;
    this.#speaker = new Speaker(context, this.#packed ? OPUS_HZ : audio.rate, {
      onPosition: (reply, playedMs) => this.#report(reply, playedMs, false),
      onDone: (reply, playedMs) => this.#report(reply, playedMs, true),
      onLevel: (level) => {
        this.level = level;
      },
      onHeld: () => observer.held(),
      onFigures: (figures) => this.#look(figures),
    });
  }

  get hasSound() {
    return this.#speaker !== null;
  }

  start(reply) {
    this.current = reply;
    this.held = false;
  }

  /** A frame of audio. An untagged one belongs to the reply that started last. */
  play(frame) {
    if (!this.#speaker || this.current === null) return;
    if (!this.#packed) {
      this.#sound(this.current, frame);
      return;
    }
    const { reply, packet } = untagged(frame);
    if (reply <= this.#cut) return;
    if (reply !== this.#decoding) {
      this.#samples?.close();
      this.#decoding = reply;
      this.#decoded = null;
      const failed = () => this.#observer.failed();
      this.#samples = new ReplySamples((pcm) => this.#sound(reply, pcm), failed);
    }
    this.#samples.decode(packet);
  }

  /** All its audio has come. */
  async end(reply, audioMs) {
    if (!this.#speaker) return;
    if (audioMs !== undefined) this.#lengthsMs.set(reply, audioMs);
    if (reply === this.#decoding) await (this.#decoded ??= this.#samples.end());
    this.#speaker?.end(reply); // which may have been closed meanwhile
  }

  hold(reply) {
    if (reply !== this.current) return;
    this.held = true;
    this.#speaker?.hold(reply);
  }

  resume(reply) {
    if (reply !== this.current) return;
    this.held = false;
    this.#speaker?.resume();
  }

  /** Nothing more of this reply is to be heard. */
  cut(reply) {
    this.#cut = Math.max(this.#cut, reply);
    this.#speaker?.flush(reply);
    if (reply === this.audible) this.audible = null;
    if (reply === this.current) this.held = false;
  }

  /** The server is done with it. */
  finish(reply, status) {
    if (status === "completed" || status === "failed") {
      this.resume(reply); // it ended while somebody seemed to cut in
      this.end(reply);
    } else this.cut(reply);
    if (reply === this.current) this.current = null;
  }

  close() {
    this.#samples?.close();
    this.#speaker?.close();
    this.#speaker = null;
  }

  #sound(reply, pcm) {
    if (!this.#speaker || reply <= this.#cut) return;
    this.#speaker.play(reply, pcm);
    if (this.audible === reply) return;
    this.audible = reply;
    this.#observer.changed();
  }

  #look(figures) {
    const before = this.figures?.ranDry ?? 0;
    this.figures = figures;
    if (figures.ranDry > before) this.#observer.ranDry();
  }

  #report(reply, playedMs, done) {
    if (!this.#speaker) return; // its line is lost: the next one may know another reply by this number
    const before = this.#heardMs.get(reply) ?? 0;
    const played = Math.max(before, playedMs);
    if (done) this.#heardMs.delete(reply);
    else this.#heardMs.set(reply, played);
    if (done && reply === this.audible) this.audible = null;
    const audioMs = this.#lengthsMs.get(reply) ?? null;
    if (done) this.#lengthsMs.delete(reply);
    this.#observer.played(reply, Math.floor(played), played - before, done, audioMs);
  }
}
