// A streaming sample-rate converter: polyphase windowed sinc (Kaiser, about 80 dB of stop band).
// Runs inside the audio worklets; allocates only when it is made.

const ZERO_CROSSINGS = 16; // on each side of the kernel's centre, at the lower of the two rates
const KAISER_BETA = 8;
const ROLL_OFF = 0.93; // of the lower Nyquist frequency, so that the transition band ends below it

function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/** The modified Bessel function of the first kind and order zero, by its series. */
function bessel0(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-9; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** One row of `taps` coefficients a phase, each row summing to 1. */
function kernel(phases, taps, cutoff) {
  const table = new Float32Array(phases * taps);
  const half = taps / 2;
  for (let phase = 0; phase < phases; phase += 1) {
    const row = table.subarray(phase * taps, (phase + 1) * taps);
    let sum = 0;
    for (let tap = 0; tap < taps; tap += 1) {
      const x = half - 1 - tap + phase / phases; // in input samples, from the kernel's centre
      const inside = Math.max(0, 1 - (x / half) ** 2);
      const turn = Math.PI * cutoff * x;
      const sinc = Math.abs(turn) < 1e-9 ? 1 : Math.sin(turn) / turn;
      row[tap] = sinc * bessel0(KAISER_BETA * Math.sqrt(inside));
      sum += row[tap];
    }
    for (let tap = 0; tap < taps; tap += 1) row[tap] /= sum;
  }
  return table;
}

export class Resampler {
  /** Rates in Hz, whole numbers. */
  constructor(fromHz, toHz) {
    const divisor = gcd(fromHz, toHz);
    this.up = toHz / divisor;
    this.down = fromHz / divisor;
    const narrowing = Math.min(1, toHz / fromHz);
    this.taps = 2 * Math.ceil(ZERO_CROSSINGS / narrowing);
    this.table = kernel(this.up, this.taps, narrowing * ROLL_OFF);
    // Written twice, one length apart, so that the last `taps` samples always lie in one piece.
    this.line = new Float32Array(2 * this.taps);
    this.reset();
  }

  /** Forget the past: the next output starts from silence. */
  reset() {
    this.line.fill(0);
    this.at = 0;
    this.phase = this.up; // in 1/up of an input sample; `up` or more: an input is due first
  }

  /** How many inputs `process` needs to give `outputs` samples. */
  wanted(outputs) {
    return Math.floor((this.phase + (outputs - 1) * this.down) / this.up);
  }

  /** How many outputs `inputs` further samples are enough for. */
  available(inputs) {
    return Math.max(0, Math.ceil(((inputs + 1) * this.up - this.phase) / this.down));
  }

  /** Take `inputs` samples, write `outputs`; the two must fit by `wanted` or `available`. */
  process(input, inputs, output, outputs) {
    let read = 0;
    for (let written = 0; written < outputs; written += 1) {
      while (this.phase >= this.up) this.#push(input[read++]);
      output[written] = this.#dot(this.phase);
      this.phase += this.down;
    }
    while (read < inputs) this.#push(input[read++]);
  }

  #push(sample) {
    this.line[this.at] = sample;
    this.line[this.at + this.taps] = sample;
    this.at = (this.at + 1) % this.taps;
    this.phase -= this.up;
  }

  #dot(phase) {
    const { line, table, taps, at } = this;
    const row = phase * taps;
    let sum = 0;
    for (let tap = 0; tap < taps; tap += 1) sum += line[at + tap] * table[row + tap];
    return sum;
  }
}
