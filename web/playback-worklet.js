// The loudspeaker's side of the audio thread: replies wait in a ring of bounded size and leave it
// at the device's rate. Counts every sample that leaves, by reply, so that what was heard is known.

import { JitterBuffer } from "./jitter.js";
import { Resampler } from "./resampler.js";

const RING_S = 30; // the server sends about 1 s ahead; what does not fit is dropped and reported
const FADE_S = 0.015;
const LEVEL_EVERY_S = 0.03;
const REPORT_EVERY_S = 0.25;

class Playback extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.rate = rate;
    this.ring = new Float32Array(RING_S * rate);
    this.read = 0; // where the next sample leaves
    this.size = 0; // samples waiting
    this.replies = []; // in order: { reply, waiting, played, ended }
    this.gone = -1; // the last reply that was played to its end or dropped
    this.resampler = new Resampler(rate, sampleRate);
    this.inputs = new Float32Array(Math.ceil((128 * rate) / sampleRate) + 1); // the most that 128 want
    this.running = false; // false: filling up before the (next) start
    this.jitter = new JitterBuffer();
    this.drySince = null; // when the ring ran dry in the middle of a reply
    this.gain = 1;
    this.held = false;
    this.flushing = null; // the reply that fades out to be dropped
    this.energy = 0;
    this.frames = 0; // since the last level
    this.closed = false;
    this.clock = 0; // frames since the last report
    this.port.onmessage = ({ data }) => this.#obey(data);
  }

  #obey({ order, reply, pcm }) {
    if (order === "play") this.#store(reply, new Int16Array(pcm));
    else if (order === "end" && reply > this.gone) this.#entry(reply).ended = true;
    else if (order === "hold" && reply > this.gone) {
      this.held = true;
      this.drySince = null; // from here on nothing is missing
    } else if (order === "close") this.closed = true;
    else if (order === "resume") this.held = false;
    else if (order === "flush" && reply > this.gone) this.#flush(reply);
  }

  #flush(reply) {
    if (this.replies.some((entry) => entry.reply === reply)) this.flushing = reply;
    else if (this.replies.length > 0) this.held = false; // none of it came; one before it plays
    else {
      this.gone = reply;
      this.#rest();
    }
  }

  #entry(reply) {
    let last = this.replies.at(-1);
    if (last?.reply !== reply) {
      last = { reply, waiting: 0, played: 0, ended: false };
      this.replies.push(last);
    }
    return last;
  }

  #store(reply, samples) {
    const entry = this.#entry(reply);
    this.jitter.arrived(currentTime, samples.length / this.rate);
    if (this.drySince !== null) {
      this.jitter.starved(currentTime - this.drySince);
      this.drySince = null;
    }
    const count = Math.min(samples.length, this.ring.length - this.size);
    let write = (this.read + this.size) % this.ring.length;
    for (let i = 0; i < count; i += 1) {
      this.ring[write] = samples[i] / 32768;
      write = write + 1 === this.ring.length ? 0 : write + 1;
    }
    this.size += count;
    entry.waiting += count;
    const dropped = samples.length - count;
    if (dropped > 0) this.port.postMessage({ event: "dropped", reply, samples: dropped });
  }

  process(_inputs, [[out]]) {
    if (this.closed) return false; // or the browser would keep us, and the ring, for ever
    if (this.replies.length === 0) return true; // the array comes zeroed
    const silent = this.gain === 0;
    if (silent && this.flushing !== null) this.#drop();
    else if (!(silent && this.held) && this.#ready()) this.#render(out);
    this.#report(out);
    this.#finish();
    return true;
  }

  #ready() {
    if (!this.running) {
      this.running = this.size >= this.jitter.targetS * this.rate || this.replies[0].ended;
    }
    // Nothing leaves while the ring fills up, so there is nothing to fade.
    if (!this.running && (this.held || this.flushing !== null)) this.#silence();
    return this.running;
  }

  #render(out) {
    const wanted = this.resampler.wanted(out.length);
    const taken = Math.min(wanted, this.size);
    for (let i = 0; i < taken; i += 1) {
      this.inputs[i] = this.ring[this.read];
      this.read = this.read + 1 === this.ring.length ? 0 : this.read + 1;
    }
    this.inputs.fill(0, taken, wanted);
    this.resampler.process(this.inputs, wanted, out, out.length);
    this.size -= taken;
    this.#count(taken);
    this.#fade(out);
    if (taken < wanted && !this.replies.at(-1).ended) {
      this.running = false;
      this.drySince = currentTime;
    }
  }

  #count(samples) {
    let left = samples;
    for (const entry of this.replies) {
      const part = Math.min(left, entry.waiting);
      entry.waiting -= part;
      entry.played += part;
      left -= part;
    }
  }

  #fade(out) {
    const target = this.held || this.flushing !== null ? 0 : 1;
    if (this.gain === 1 && target === 1) return;
    const step = 1 / (FADE_S * sampleRate);
    for (let i = 0; i < out.length; i += 1) {
      const moved = this.gain < target ? this.gain + step : this.gain - step;
      this.gain = target === 0 ? Math.max(0, moved) : Math.min(1, moved);
      out[i] *= this.gain;
    }
    if (this.gain === 0) this.#silence();
  }

  #silence() {
    this.gain = 0;
    if (this.held) this.port.postMessage({ event: "held" });
  }

  /** Drop the reply that has faded out, and any that came before it. */
  #drop() {
    let gone;
    do {
      gone = this.replies.shift();
      this.gone = gone.reply;
      this.read = (this.read + gone.waiting) % this.ring.length;
      this.size -= gone.waiting;
      this.port.postMessage({ event: "flushed", reply: gone.reply, samples: gone.played });
    } while (gone.reply !== this.flushing);
    this.flushing = null;
    this.#rest();
  }

  /** Say of each reply that has left to its last sample that it is done. */
  #finish() {
    while (this.replies.length > 0 && this.replies[0].ended && this.replies[0].waiting === 0) {
      const { reply, played } = this.replies.shift();
      this.gone = reply;
      if (this.flushing === reply) this.flushing = null;
      this.port.postMessage({ event: "done", reply, samples: played });
      if (this.replies.length === 0) this.#rest();
    }
  }

  #rest() {
    this.running = false;
    this.held = false;
    this.drySince = null;
    this.jitter.rested();
    this.gain = 1;
    this.resampler.reset();
    this.port.postMessage({ event: "level", level: 0 });
  }

  #report(out) {
    for (let i = 0; i < out.length; i += 1) this.energy += out[i] * out[i];
    this.frames += out.length;
    if (this.frames >= LEVEL_EVERY_S * sampleRate) {
      const level = Math.sqrt(this.energy / this.frames);
      this.port.postMessage({ event: "level", level });
      this.energy = 0;
      this.frames = 0;
    }
    this.clock += out.length;
    if (this.clock < REPORT_EVERY_S * sampleRate || this.replies.length === 0) return;
    this.clock = 0;
    const { reply, played } = this.replies[0];
    const figures = { ...this.jitter.figures, bufferedS: this.size / this.rate };
    if (played > 0) this.port.postMessage({ event: "position", reply, samples: played, figures });
  }
}

registerProcessor("playback", Playback);
