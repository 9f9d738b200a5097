// The microphone: asks for it, and hands on its frames (20 ms of 16-bit PCM) and their levels.

import { NO_WORKLET, Problem, microphoneProblem } from "./problems.js";

const FLUSH_MS = 250; // sound that stands still answers nobody
const WANTED = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Microphone {
  #stream;
  #source;
  #node;
  #flushed = null;

  /**
   * Ask and start, in a `Sound` that was woken. `device`: the id of one of `devices`, or "" for the
   * browser's choice; one that is gone gives way to another. `onFrame(pcm, level, frameMs)`, level 0..1
   * (RMS); `onLost()`: it was unplugged or taken away; `onSilent(silent)`: a switch on it, or the
   * system, lets no sound through. Throws a Problem.
   */
  static async open(sound, rate, device, handlers) {
    if (!sound.context?.audioWorklet || !navigator.mediaDevices) throw NO_WORKLET();
    const audio = { ...WANTED, channelCount: 1, ...(device && { deviceId: { ideal: device } }) };
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio });
      await sound.prepare();
      return new Microphone(sound.ready, rate, stream, handlers);
    } catch (error) {
      for (const track of stream?.getTracks() ?? []) track.stop();
      throw error instanceof Problem ? error : microphoneProblem(error);
    }
  }

  /** Those that can be chosen from: { id, label }. Labels are known once one has been allowed. */
  static async devices(kind = "audioinput") {
    const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
    return all
      .filter((device) => device.kind === kind && device.deviceId)
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  }

  constructor(context, rate, stream, { onFrame, onLost, onSilent }) {
    this.#stream = stream;
    this.#source = context.createMediaStreamSource(stream);
    this.#node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      processorOptions: { rate },
    });
    this.#node.port.onmessage = ({ data }) => {
      if (data === "flushed") this.#flushed?.();
      else onFrame(data.pcm, data.level, data.frameMs);
    };
    this.#source.connect(this.#node);
    const [track] = stream.getAudioTracks();
    track.onended = onLost;
    track.onmute = () => onSilent(true);
    track.onunmute = () => onSilent(false);
  }

  /** Muted, the device gives silence, and the browser shows that it does. */
  set muted(muted) {
    for (const track of this.#stream.getAudioTracks()) track.enabled = !muted;
  }

  /** How long the frames are from now on. */
  set frameMs(frameMs) {
    this.#node.port.postMessage({ frameMs });
  }

  /** Everything that came from the device has been handed on. */
  flush() {
    return new Promise((resolve) => {
      this.#flushed?.();
      this.#flushed = resolve;
      setTimeout(resolve, FLUSH_MS);
      this.#node.port.postMessage("flush");
    });
  }

  close() {
    this.#node.port.onmessage = null;
    this.#node.port.postMessage("close");
    this.#source.disconnect();
    for (const track of this.#stream.getTracks()) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
  }
}
