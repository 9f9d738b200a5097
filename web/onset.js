// When the user's voice began, by its level: to say how fast a reply fell silent for it.

const LEVEL = 0.02; // RMS: a voice, over what a quiet room gives
const QUIET_MS = 300; // then the next sound is a new onset

export class Onset {
  #at = null; // of the voice that is heard; null: it is quiet
  #told = false;
  #quietFrames = 0;

  hear(level, frameMs) {
    if (level < LEVEL) {
      this.#quietFrames += 1;
      if (this.#quietFrames * frameMs > QUIET_MS) this.#at = null;
      return;
    }
    this.#quietFrames = 0;
    if (this.#at !== null) return;
    this.#at = performance.now() - frameMs;
    this.#told = false;
  }

  /** A reply has fallen silent: ms since the voice began, once for each voice, else null. */
  held() {
    if (this.#at === null || this.#told) return null;
    this.#told = true;
    performance.clearMeasures("held"); // the browser would keep each
    return Math.round(performance.measure("held", { start: this.#at }).duration);
  }
}
