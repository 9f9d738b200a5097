// How audio goes over the line that there is: how long its frames are, and whether it is to be
// small. Pure: it is told what happened, and when (ms).

const FRAMES_MS = [20, 40, 60]; // a packet of Opus holds any of them
const SLOW_MS = 800; // a round trip; a line that is only far away takes 300
const DOUBTFUL_MS = 400; // one at which a reply that ran dry is the line's fault, not the engines'
const BEHIND_FRAMES = 3; // that have not left
const SETTLE_MS = 1_000; // a change has time to help before the next one
const CALM_MS = 20_000; // without trouble; then a step back

export class Quality {
  frameMs = FRAMES_MS[0];
  small = false; // Opus is wanted; that stays, for to change it takes a new connection
  #troubleAt = -Infinity;
  #changedAt = -Infinity;
  #roundTripMs = 0;

  /** `connection`: a browser's NetworkInformation, or nothing. */
  constructor(connection) {
    const slow = /2g|3g/.test(connection?.effectiveType ?? "");
    this.small = slow || connection?.saveData === true;
  }

  /** A frame was given to the socket, where `waitingMs` of audio wait now. */
  sent(now, waitingMs) {
    if (waitingMs > BEHIND_FRAMES * this.frameMs) this.#struggle(now);
    else if (now - this.#troubleAt > CALM_MS && now - this.#changedAt > CALM_MS) this.#step(now, -1);
  }

  /** The server answered a question. */
  answered(now, roundTripMs) {
    this.#roundTripMs = roundTripMs;
    if (roundTripMs > SLOW_MS) this.#struggle(now);
  }

  /** The loudspeaker had nothing to play in the middle of a reply. */
  ranDry(now) {
    if (this.#roundTripMs < DOUBTFUL_MS) return;
    this.#struggle(now);
    this.small = true; // longer frames of the microphone's do not help this way
  }

  #struggle(now) {
    this.#troubleAt = now;
    if (now - this.#changedAt > SETTLE_MS && !this.#step(now, 1)) this.small = true;
  }

  #step(now, by) {
    const next = FRAMES_MS[FRAMES_MS.indexOf(this.frameMs) + by];
    if (next === undefined) return false;
    this.frameMs = next;
    this.#changedAt = now;
    return true;
  }
}
