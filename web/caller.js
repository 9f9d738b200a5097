// The caller's side of a conversation: the microphone as it is opened, muted, pushed and closed, and
// its frames on their way to the line. Knows nothing of replies.

import { Microphone } from "./microphone.js";
import { ANOTHER_MICROPHONE, MICROPHONE_GONE } from "./problems.js";
import { Uplink } from "./uplink.js";

export class Caller {
  state = "off"; // off, asking, on
  muted = false;
  silent = false; // the microphone lets no sound through: a switch on it, or the system
  pushing = false;
  level = 0; // RMS, 0..1
  frames = 0; // that left
  #mode; // free: hands-free; push: push to talk
  #device; // the microphone that was chosen, "" for the browser's choice
  #sound;
  #uplink;
  #onset; // of the user's voice
  #observer;
  #microphone = null;
  #asked = 0; // times that one was asked for: what an earlier one brings is not wanted any more
  #releases = 0; // pushes that are over, and whose last frames are on their way here

  /** The observer: lost(Problem): there is no microphone any more, or not the one that was chosen;
   * replaced(Problem): another one listens; changed(). */
  constructor(sound, uplink, onset, { mode, device }, observer) {
    this.#sound = sound;
    this.#uplink = uplink;
    this.#onset = onset;
    this.#mode = mode;
    this.#device = device;
    this.#observer = observer;
  }

  /** A frame's way: out of the audio thread, by here and by the uplink, into the socket. */
  #hear(pcm, level, frameMs) {
    const open = this.#mode !== "push" || this.pushing || this.#releases > 0;
    if (this.muted || !open) return;
    this.level = level;
    this.#onset.hear(level, frameMs);
    if (this.#uplink.hear(pcm, frameMs)) this.frames += 1;
  }

  /** The server may expect frames. */
  get speaks() {
    const wanted = this.#mode === "push" ? this.pushing : !this.muted;
    return this.state === "on" && wanted;
  }

  get mode() {
    return this.#mode;
  }

  set mode(mode) {
    this.#mode = mode;
    this.muted = false;
    this.#gate();
  }

  /** How long the frames are from now on. */
  set frameMs(frameMs) {
    if (this.#microphone) this.#microphone.frameMs = frameMs;
  }

  /** Ask for the microphone. False when it was closed meanwhile; throws a Problem. */
  async open() {
    this.state = "asking";
    return this.#ask();
  }

  close() {
    this.#asked += 1;
    this.#uplink.close();
    this.#microphone?.close();
    this.#microphone = null;
    this.state = "off";
    this.muted = false;
    this.pushing = false;
    this.level = 0;
  }

  /** False where there is nothing to mute. */
  mute(muted) {
    if (!this.#microphone || this.#mode === "push") return false;
    this.muted = muted;
    this.level = 0;
    this.#gate();
    return true;
  }

  push() {
    this.pushing = true;
    this.#gate();
  }

  /** Done when what was said until now has left: it may be in the audio thread, or in a coder. */
  async release() {
    this.pushing = false;
    this.#releases += 1;
    await this.#microphone?.flush();
    this.#releases -= 1;
    if (!this.speaks) this.level = 0;
    this.#gate();
    await this.#uplink.flush();
  }

  /** Use another microphone: one that is open gives way to it. */
  async change(device) {
    const moved = device !== this.#device;
    this.#device = device;
    if (!moved || !this.#microphone) return;
    try {
      await this.#ask();
    } catch (problem) {
      this.#observer.lost(problem);
    }
  }

  /** It is gone, in the middle of a call: another one listens, where there is one. */
  async #replace() {
    try {
      if (await this.#ask()) this.#observer.replaced(ANOTHER_MICROPHONE());
    } catch {
      this.#observer.lost(MICROPHONE_GONE());
    }
  }

  async #ask() {
    this.#asked += 1;
    const asked = this.#asked;
    let microphone;
    try {
      microphone = await Microphone.open(this.#sound, Uplink.RATE_HZ, this.#device, {
        onFrame: (pcm, level, frameMs) => this.#hear(pcm, level, frameMs),
        onLost: () => void this.#replace(),
        onSilent: (silent) => {
          this.silent = silent;
          this.#observer.changed();
        },
      });
    } catch (problem) {
      if (asked === this.#asked) throw problem;
      return false;
    }
    if (asked !== this.#asked) {
      microphone.close();
      return false;
    }
    this.#microphone?.close();
    this.#microphone = microphone;
    this.silent = false;
    microphone.frameMs = this.#uplink.frameMs;
    this.state = "on";
    this.#gate();
    return true;
  }

  #gate() {
    if (this.#microphone) this.#microphone.muted = !this.speaks && this.#releases === 0;
  }
}
