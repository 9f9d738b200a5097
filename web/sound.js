// The page's sound: one AudioContext, woken by a click, on the loudspeaker that was chosen.

import { Problem, SOUND_WAITS } from "./problems.js";
import { Speaker } from "./speaker.js";

export class Sound {
  context = null; // null until a click, and where there is no sound
  #loudspeaker;
  #tell;

  /** `loudspeaker`: its id, "" for the usual one. `tell(Problem)`: something failed here. */
  constructor(loudspeaker, tell) {
    this.#loudspeaker = loudspeaker;
    this.#tell = tell;
  }

  /** Call it from a click: browsers want one before they play. */
  wake() {
    if (!this.context && window.AudioContext) {
      this.context = new AudioContext({ latencyHint: "interactive" });
      this.context.onstatechange = () => {
        // A telephone call takes the sound away, and gives it back without a word.
        if (this.context?.state === "interrupted") this.#tell(SOUND_WAITS());
      };
      this.playOn(this.#loudspeaker);
    }
    // Not awaited: without a click it would stay pending, and text works without sound.
    if (this.context && this.context.state !== "running") void this.context.resume();
  }

  playOn(loudspeaker) {
    this.#loudspeaker = loudspeaker;
    if (!this.context || !Speaker.canChoose) return;
    if ((this.context.sinkId ?? "") === loudspeaker) return;
    this.context.setSinkId(loudspeaker).catch(() => {
      this.#tell(new Problem("That loudspeaker is not there; the usual one plays."));
    });
  }

  /** Ready for replies; where it cannot be, they are read, and the server estimates their playback. */
  async prepare() {
    if (!this.context) return; // nobody has clicked yet; the next connection has sound
    try {
      await Speaker.prepare(this.context);
    } catch (problem) {
      this.context = null;
      this.#tell(problem);
    }
  }
}
