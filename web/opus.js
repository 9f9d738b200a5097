// Opus by the browser's own coders (WebCodecs), in the tagged frames of the protocol: the microphone's
// frames become packets, a reply's packets become samples.

export const OPUS_HZ = 48_000; // what a decoder gives, whatever went in
const BITS_PER_S = 24_000;
const MOST_WAITING = 10; // frames in a coder that does not keep up
const TAG_BYTES = 8; // the reply's number and the first sample's: u32, little-endian

const decoding = { codec: "opus", sampleRate: OPUS_HZ, numberOfChannels: 1 };
const encoding = (rate, frameMs) => ({
  codec: "opus",
  sampleRate: rate,
  numberOfChannels: 1,
  bitrate: BITS_PER_S,
  opus: { frameDuration: 1_000 * frameMs },
});

/** Whether this browser can, both ways. `rate`: the microphone's, Hz. */
export async function knowsOpus(rate) {
  // Firefox has both coders and says so, but stands still with both at work beside a worklet that
  // plays (tried with 153). No feature tells, so its name has to; on iOS it is WebKit, and "FxiOS".
  if (navigator.userAgent.includes("Firefox/")) return false;
  try {
    const told = await Promise.all([
      AudioEncoder.isConfigSupported(encoding(rate, 20)),
      AudioDecoder.isConfigSupported(decoding),
    ]);
    return told.every(({ supported }) => supported);
  } catch {
    return false; // no WebCodecs here
  }
}

/** The reply that a tagged frame belongs to, and its packet. */
export function untagged(frame) {
  const reply = new DataView(frame).getUint32(0, true);
  return { reply, packet: new Uint8Array(frame, TAG_BYTES) };
}

export class MicrophonePackets {
  #encoder;
  #rate;
  #fail;
  #samples = 0;

  /** `frameMs`: of the frames to come; `give(ArrayBuffer)` gets tagged packets; `fail(error)`. */
  constructor(rate, frameMs, give, fail) {
    this.#rate = rate;
    this.#fail = fail;
    this.#encoder = new AudioEncoder({ output: (chunk) => give(this.#tagged(chunk)), error: fail });
    this.#encoder.configure(encoding(rate, frameMs));
  }

  /** A frame of 16-bit samples; false when the coder does not keep up. */
  encode(pcm) {
    const keepsUp = this.#encoder.state === "configured" && this.#encoder.encodeQueueSize < MOST_WAITING;
    const count = pcm.byteLength / 2;
    const timestamp = Math.round((this.#samples / this.#rate) * 1e6);
    this.#samples += count;
    if (!keepsUp) return false;
    const data = new AudioData({
      format: "s16",
      sampleRate: this.#rate,
      numberOfChannels: 1,
      numberOfFrames: count,
      timestamp,
      data: pcm,
    });
    try {
      this.#encoder.encode(data);
    } catch (error) {
      this.#fail(error);
      return false;
    } finally {
      data.close();
    }
    return true;
  }

  /** All that was given has become packets. */
  async flush() {
    await this.#encoder.flush().catch(() => {}); // `fail` was told
  }

  close() {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }

  #tagged(chunk) {
    const frame = new ArrayBuffer(TAG_BYTES + chunk.byteLength);
    const offset = Math.round((chunk.timestamp / 1e6) * this.#rate);
    new DataView(frame).setUint32(4, offset >>> 0, true);
    chunk.copyTo(new Uint8Array(frame, TAG_BYTES));
    return frame;
  }
}

/** One reply, from its first packet to its last. */
export class ReplySamples {
  #decoder;
  #count = 0;

  /** `give(ArrayBuffer)` gets 16-bit samples at `OPUS_HZ`; `fail(error)`. */
  constructor(give, fail) {
    const output = (data) => {
      if (data.sampleRate === OPUS_HZ) give(samplesOf(data));
      else fail(new Error(`decoded to ${data.sampleRate} Hz`));
      data.close();
    };
    this.#decoder = new AudioDecoder({ output, error: fail });
    this.#decoder.configure(decoding);
  }

  decode(packet) {
    if (this.#decoder.state !== "configured") return;
    const timestamp = 20_000 * this.#count;
    this.#count += 1;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet }));
  }

  /** No more will come; all that came has been given when this is done. */
  async end() {
    await this.#decoder.flush().catch(() => {}); // `fail` was told, or it was closed
    this.close();
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }
}

function samplesOf(data) {
  const floats = new Float32Array(data.numberOfFrames);
  data.copyTo(floats, { planeIndex: 0, format: "f32-planar" });
  const samples = new Int16Array(floats.length);
  for (let i = 0; i < floats.length; i += 1) {
    samples[i] = Math.round(32_767 * Math.max(-1, Math.min(1, floats[i])));
  }
  return samples.buffer;
}
