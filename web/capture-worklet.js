// The microphone's side of the audio thread: whatever the device gives becomes frames, mono, signed
// 16 bit, at the rate and of the length that the connection wants, each with its level.

import { Resampler } from "./resampler.js";

const FRAME_MS = 20;

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(sampleRate, rate);
    this.mono = new Float32Array(128);
    this.resampled = new Float32Array(128 * Math.ceil(rate / sampleRate) + 2);
    this.rate = rate;
    this.frameMs = FRAME_MS; // of the next frame
    this.#begin();
    this.closed = false;
    this.port.onmessage = ({ data }) => {
      if (data === "close") this.closed = true;
      else if (data === "flush") this.#flush();
      else this.frameMs = data.frameMs;
    };
  }

  #begin() {
    this.frame = new Int16Array(Math.round((this.rate * this.frameMs) / 1000));
    this.filled = 0;
    this.energy = 0;
  }

  process([channels]) {
    if (this.closed) return false; // or the browser would keep us for ever
    if (channels.length === 0) return true; // no source is connected at the moment
    const length = channels[0].length;
    if (length > this.mono.length) this.mono = new Float32Array(length);
    this.#mix(channels, length);
    const count = this.resampler.available(length);
    if (count > this.resampled.length) this.resampled = new Float32Array(count);
    this.resampler.process(this.mono, length, this.resampled, count);
    for (let i = 0; i < count; i += 1) this.#add(this.resampled[i]);
    return true;
  }

  #mix(channels, length) {
    this.mono.set(channels[0]);
    if (channels.length === 1) return;
    for (let i = 0; i < length; i += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.mono[i] = sum / channels.length;
    }
  }

  #add(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.frame[this.filled] = Math.round(clipped * 32767);
    this.energy += clipped * clipped;
    this.filled += 1;
    if (this.filled === this.frame.length) this.#give();
  }

  #give() {
    const count = this.frame.length;
    const level = Math.sqrt(this.energy / count);
    const pcm = this.frame.buffer;
    this.port.postMessage({ pcm, level, frameMs: (1000 * count) / this.rate }, [pcm]);
    this.#begin();
  }

  /** What there is of a frame goes out now, with silence behind it: a coder takes whole ones. */
  #flush() {
    if (this.filled > 0) this.#give();
    this.port.postMessage("flushed");
  }
}

registerProcessor("capture", Capture);
