// How much of a reply to have before it starts, so that it does not run dry again: an adaptive
// jitter buffer. Pure: it is told what happened, and when. Runs inside the playback worklet.

const LEAST_S = 0.04; // on a line that never failed
const MOST_S = 0.5; // longer, and it is no conversation
const FORGET = 0.7; // of what was learned, at each reply that did not run dry
const SMOOTHING = 1 / 16; // of the jitter that is shown (RFC 3550, 6.4.1)

export class JitterBuffer {
  targetS = LEAST_S;
  #dry = 0; // times, since the page was opened
  #dryNow = false; // in this reply
  #jitterS = 0;
  #dueAt = null; // when the next piece would come if the line were even

  /** A piece of `lengthS` seconds of audio came. */
  arrived(now, lengthS) {
    // Pieces come in a burst up to the server's lead, and then as they are played.
    if (this.#dueAt !== null) {
      const late = Math.max(0, now - this.#dueAt);
      this.#jitterS += (late - this.#jitterS) * SMOOTHING;
    }
    this.#dueAt = Math.max(now, this.#dueAt ?? now) + lengthS;
  }

  /** The loudspeaker had nothing for so long, in the middle of a reply. */
  starved(seconds) {
    this.#dry += 1;
    this.#dryNow = true;
    this.targetS = Math.min(MOST_S, Math.max(this.targetS, LEAST_S + seconds));
  }

  /** A reply is over. */
  rested() {
    if (!this.#dryNow) this.targetS = LEAST_S + (this.targetS - LEAST_S) * FORGET;
    this.#dryNow = false;
    this.#dueAt = null;
  }

  get figures() {
    return { targetS: this.targetS, jitterS: this.#jitterS, ranDry: this.#dry };
  }
}
