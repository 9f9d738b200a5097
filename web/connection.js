// One WebSocket in Antiphon's native protocol (subprotocol antiphon.v1): JSON messages and raw PCM.
// Knows nothing of microphones, loudspeakers or the page.

import { Problem, closeProblem } from "./problems.js";

export const MICROPHONE_HZ = 16_000;
const WELCOME_WITHIN_MS = 10_000;
const MAX_BUFFERED_BYTES = 2 * MICROPHONE_HZ * 2; // 2 s of audio; older than that helps nobody

function address() {
  const url = new URL("ws", document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  return url;
}

export class Connection {
  #socket = null;
  #handlers;

  /** `handlers`: onMessage(message), onAudio(ArrayBuffer), onClose(Problem). */
  constructor(handlers) {
    this.#handlers = handlers;
    this.droppedFrames = 0;
  }

  /** Connect and say hello; resolves with the `welcome`, rejects with a Problem. */
  open(settings) {
    const socket = new WebSocket(address(), ["antiphon.v1"]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      let welcomed = false;
      let timer = setTimeout(() => socket.close(), WELCOME_WITHIN_MS);
      socket.onopen = () => this.send({ type: "hello", ...settings });
      socket.onmessage = ({ data }) => {
        if (typeof data !== "string") {
          this.#handlers.onAudio(data);
          return;
        }
        const message = JSON.parse(data);
        if (message.type === "welcome") {
          welcomed = true;
          resolve(message);
        }
        // A place in the waiting room is an answer: from then on the server keeps the time.
        if (message.type === "welcome" || message.type === "waiting") clearTimeout(timer);
        this.#handlers.onMessage(message);
      };
      socket.onclose = ({ code }) => {
        clearTimeout(timer);
        timer = null;
        if (this.#socket !== socket) {
          reject(new Problem("The connection was closed.")); // by us: nobody needs to be told
          return;
        }
        this.#socket = null;
        const problem = closeProblem(code, welcomed);
        if (welcomed) this.#handlers.onClose(problem);
        else reject(problem);
      };
    });
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Send one JSON message; without a connection it is dropped. */
  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
  }

  /** Send a frame of the microphone, unless the network is so far behind that it would be stale. */
  sendAudio(pcm) {
    if (!this.isOpen) return;
    if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) this.droppedFrames += 1;
    else this.#socket.send(pcm);
  }

  close() {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
  }
}
