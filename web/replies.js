// What Antiphon says: which reply is due, which is audible, which was cut, how much was heard.
// Works without a loudspeaker too: then replies are read, and nothing is reported as played.

import { Speaker } from "./speaker.js";

export class Replies {
  #speaker = null;
  #cut = -1; // the last reply that was cut: what still arrives of it is not played
  #heardMs = new Map(); // of replies that are playing
  #observer;

  /**
   * `context`: a prepared AudioContext, or null for no sound; `rate`: of the audio to come, Hz.
   * The observer: played(reply, playedMs, newMs, done), level(0..1), changed().
   */
  constructor(context, rate, observer) {
    this.#observer = observer;
    this.current = null; // the reply whose audio may come or play
    this.audible = null; // the reply that plays
    this.held = false; // it waits to know whether it was interrupted
    if (!context) return;
    this.#speaker = new Speaker(context, rate, {
      onPosition: (reply, playedMs) => this.#report(reply, playedMs, false),
      onDone: (reply, playedMs) => this.#report(reply, playedMs, true),
      onLevel: (level) => observer.level(level),
    });
  }

  get hasSound() {
    return this.#speaker !== null;
  }

  start(reply) {
    this.current = reply;
    this.held = false;
  }

  /** Audio belongs to the reply that started last. */
  play(pcm) {
    if (!this.#speaker || this.current === null || this.current <= this.#cut) return;
    this.#speaker.play(this.current, pcm);
    if (this.audible === this.current) return;
    this.audible = this.current;
    this.#observer.changed();
  }

  /** All its audio has come. */
  end(reply) {
    this.#speaker?.end(reply);
  }

  hold(reply) {
    if (reply !== this.current) return;
    this.held = true;
    this.#speaker?.hold();
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
    if (status === "completed" || status === "failed") this.end(reply);
    else this.cut(reply);
    if (reply === this.current) this.current = null;
  }

  close() {
    this.#speaker?.close();
  }

  #report(reply, playedMs, done) {
    const before = this.#heardMs.get(reply) ?? 0;
    const played = Math.max(before, playedMs);
    if (done) this.#heardMs.delete(reply);
    else this.#heardMs.set(reply, played);
    if (done && reply === this.audible) this.audible = null;
    this.#observer.played(reply, Math.floor(played), played - before, done);
  }
}
