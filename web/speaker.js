// The loudspeaker: plays replies, and says how much of each has been heard.

export class Speaker {
  #node;
  #context;
  #rate;
  #handlers;

  /** The browser can choose where sound goes. */
  static get canChoose() {
    return "setSinkId" in (globalThis.AudioContext?.prototype ?? {});
  }

  /**
   * In a context that has the worklet. `rate`: of the audio to come, Hz. Handlers: onPosition(reply, playedMs) every 250 ms while a
   * reply plays, onDone(reply, playedMs) at its end or flush, onLevel(level), level 0..1 (RMS),
   * onHeld() when it has fallen silent to wait, onFigures({bufferedS, targetS, jitterS, ranDry}).
   */
  constructor(context, rate, handlers) {
    this.#context = context;
    this.#rate = rate;
    this.#handlers = handlers;
    this.#node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { rate },
    });
    this.#node.port.onmessage = ({ data }) => this.#hear(data);
    this.#node.connect(context.destination);
  }

  play(reply, pcm) {
    this.#node.port.postMessage({ order: "play", reply, pcm }, [pcm]);
  }

  /** No more of this reply will come. */
  end(reply) {
    this.#node.port.postMessage({ order: "end", reply });
  }

  /** Fade this reply out and drop what is left of it. */
  flush(reply) {
    this.#node.port.postMessage({ order: "flush", reply });
  }

  /** Fade out and wait, keeping everything; unless this reply has been played. */
  hold(reply) {
    this.#node.port.postMessage({ order: "hold", reply });
  }

  resume() {
    this.#node.port.postMessage({ order: "resume" });
  }

  close() {
    this.#node.port.onmessage = null;
    this.#node.port.postMessage({ order: "close" });
    this.#node.disconnect();
  }

  #hear({ event, reply, samples, level, figures }) {
    if (event === "level") this.#handlers.onLevel(level);
    else if (event === "held") this.#handlers.onHeld();
    if (samples === undefined) return;
    if (figures) this.#handlers.onFigures(figures);
    // What has left the worklet is still on its way to the loudspeaker for this long.
    const latencyMs = 1000 * (this.#context.outputLatency || this.#context.baseLatency || 0);
    const playedMs = (1000 * samples) / this.#rate;
    if (event === "position") {
      this.#handlers.onPosition(reply, Math.max(0, playedMs - latencyMs));
    } else if (event === "done") {
      setTimeout(() => this.#handlers.onDone(reply, playedMs), latencyMs);
    } else if (event === "flushed") {
      this.#handlers.onDone(reply, playedMs);
    } else if (event === "dropped") {
      console.warn(`reply ${reply}: ${samples} samples did not fit and were dropped`);
    }
  }
}
