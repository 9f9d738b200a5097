// The page's sound: one AudioContext, woken by a click, on the loudspeaker that was chosen; and what
// runs in its audio thread, loaded.

import { NO_LOUDSPEAKER, NO_WORKLET, SOUND_FAILED } from "./problems.js";

const WORKLETS = ["capture", "playback"];

export class Sound {
  context = null; // null until a click, and where there is no sound
  ready = null; // the context, once all that runs in it is loaded
  #loading = null; // a promise of that
  #loudspeaker;
  #observer;

  /** `loudspeaker`: its id, "" for the usual one. The observer: failed(Problem); changed() where sound
   * is held back, or is not any more. */
  constructor(loudspeaker, observer) {
    this.#loudspeaker = loudspeaker;
    this.#observer = observer;
  }

  /** Nothing is heard and nothing played: the browser waits for a click, or another program has the
   * sound (a telephone call takes it, and gives it back without a word). */
  get waits() {
    return this.context !== null && this.context.state !== "running";
  }

  /** Call it from a click: browsers want one before they play. */
  wake() {
    if (!this.context && window.AudioContext) {
      this.context = new AudioContext({ latencyHint: "interactive" });
      this.context.onstatechange = () => this.#observer.changed();
      this.context.onerror = () => this.#loseLoudspeaker();
      this.playOn(this.#loudspeaker);
    }
    // Not awaited: without a click it would stay pending, and text works without sound.
    if (this.waits) this.context.resume().catch(() => {}); // it waits on
  }

  playOn(loudspeaker) {
    this.#loudspeaker = loudspeaker;
    if (!this.context?.setSinkId || (this.context.sinkId ?? "") === loudspeaker) return;
    this.context.setSinkId(loudspeaker).catch(() => this.#observer.failed(NO_LOUDSPEAKER()));
  }

  /** It was unplugged: another one plays, and the choice stays for when it is back. */
  #loseLoudspeaker() {
    const chosen = this.#loudspeaker;
    this.playOn("");
    this.#loudspeaker = chosen;
    this.#observer.failed(NO_LOUDSPEAKER());
  }

  /** All that runs in the context is loaded, once; nothing to do before a click. Throws a Problem. */
  async prepare() {
    if (this.context) await (this.#loading ??= this.#load(this.context));
  }

  async #load(context) {
    try {
      if (!context.audioWorklet) throw NO_WORKLET();
      await Promise.all(
        WORKLETS.map((name) =>
          context.audioWorklet.addModule(new URL(`${name}-worklet.js`, import.meta.url)).catch(() => {
            throw SOUND_FAILED();
          }),
        ),
      );
      this.ready = context;
    } catch (problem) {
      // What did not come once is not asked for again in a context: the next click makes another.
      this.context = this.#loading = null;
      void context.close();
      throw problem;
    }
  }
}
