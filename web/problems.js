// What can go wrong, each as a sentence a person understands and, where there is one, a way on.

/** `action` is what a button may offer: "talk" (ask again), "reconnect", or null. */
export class Problem extends Error {
  constructor(sentence, action = null) {
    super(sentence);
    this.name = "Problem";
    this.action = action;
  }
}

export const NO_WORKLET = () =>
  new Problem(
    window.isSecureContext
      ? "This browser cannot play or record live audio. You can still write."
      : "Browsers give sound and microphone to secure pages only: open this one over https, or on " +
        "localhost. You can still write.",
  );

const MICROPHONE = {
  NotAllowedError:
    "The microphone is blocked. Allow it for this page in the browser's address bar, then try " +
    "again. You can also write.",
  NotFoundError: "No microphone was found. Plug one in and try again, or write instead.",
  NotReadableError: "Another program is using the microphone. Close it and try again, or write.",
};

/** The sentence for an error of `getUserMedia`. */
export function microphoneProblem(error) {
  const sentence = MICROPHONE[error.name] ?? "The microphone did not start. You can still write.";
  return new Problem(sentence, "talk");
}

export const MICROPHONE_GONE = () =>
  new Problem("The microphone was unplugged or taken away. You can still write.", "talk");

const CLOSED = {
  1000: "The conversation rested for a while and was ended.",
  1008: "The server ended the conversation: it got more than it can take.",
  1009: "The server ended the conversation: a message was too large.",
  1011: "Something failed on the server.",
  1012: "The server is restarting. Give it a moment.",
  1013: "Every place is taken right now. Try again in a minute.",
  4401: "This server asks for a token. Open the page with #token=… at the end of its address.",
  4403: "This server does not take visitors from this page.",
  4009: "This conversation went on in another window.",
};

/** The sentence for a socket that closed, by its close code. */
export function closeProblem(code, wasOpen) {
  const unknown = wasOpen
    ? "The connection to the server was lost."
    : "The server cannot be reached. Is it running?";
  return new Problem(CLOSED[code] ?? unknown, "reconnect");
}
