// The microphone: asks for it, and hands on its frames (20 ms of 16-bit PCM) and their levels.

import { MICROPHONE_GONE, NO_WORKLET, microphoneProblem } from "./problems.js";

const CONSTRAINTS = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  channelCount: 1,
};

export class Microphone {
  #stream;
  #source;
  #node;

  /** Ask and start. `onFrame(pcm, level)`, level 0..1 (RMS); `onLost(Problem)`. Throws a Problem. */
  static async open(context, rate, { onFrame, onLost }) {
    if (!context?.audioWorklet || !navigator.mediaDevices) throw NO_WORKLET();
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
      await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    } catch (error) {
      for (const track of stream?.getTracks() ?? []) track.stop();
      throw microphoneProblem(error);
    }
    return new Microphone(context, rate, stream, { onFrame, onLost });
  }

  constructor(context, rate, stream, { onFrame, onLost }) {
    this.#stream = stream;
    this.#source = context.createMediaStreamSource(stream);
    this.#node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      processorOptions: { rate },
    });
    this.#node.port.onmessage = ({ data }) => onFrame(data.pcm, data.level);
    this.#source.connect(this.#node);
    stream.getAudioTracks()[0].onended = () => onLost(MICROPHONE_GONE());
  }

  /** Muted, the device gives silence, and the browser shows that it does. */
  set muted(muted) {
    for (const track of this.#stream.getAudioTracks()) track.enabled = !muted;
  }

  close() {
    this.#node.port.onmessage = null;
    this.#source.disconnect();
    for (const track of this.#stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
  }
}
