// What can go wrong, each as a sentence a person understands and, where there is one, a way on.

/** `action` is what a button may offer: "talk" (ask again), "reconnect", "token", or null. */
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
    "The microphone is blocked. Allow it for this page in the browser's address bar, and for the " +
    "browser in the system's settings, then try again. You can also write.",
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

export const ANOTHER_MICROPHONE = () =>
  new Problem("The microphone was unplugged or taken away. Another one listens.");

export const SOUND_FAILED = () =>
  new Problem("The page's sound did not load. Tap again; you can also write.");

export const NO_LOUDSPEAKER = () =>
  new Problem("That loudspeaker is not there; the usual one plays.");

export const TOO_MANY = () =>
  new Problem("Twenty messages wait already. Give the line a moment, then send this one.");

/** What the server says, where its own words would not help the one who reads them. */
const CODES = {
  AT_CAPACITY: "There is no place right now. This page keeps trying.",
  TIMEOUT: "The server is busy and did not come to it. Say it again.",
  STT_FAILED: "That could not be understood. Say it again, or write it.",
  LLM_FAILED: "No answer could be found. Ask again.",
  TTS_FAILED: "The answer could not be spoken to its end; it can be read.",
  GPU_OOM: "The server is busy and did not come to it. Say it again.",
  SLOW_CLIENT: "The line is slow: some of the answer was lost.",
  TOO_MUCH_AUDIO: "The line came in bursts: some of what you said was lost.",
  GOING_AWAY: "The server is restarting. This page keeps trying.",
  INTERNAL: "Something failed on the server. Say it again.",
};

/** The sentence for an `error` or a `warning`. */
export function serverProblem({ code, message, retry_after_ms: retryMs }) {
  if (code === "RATE_LIMITED") {
    const wait = retryMs ? ` Go on in ${Math.ceil(retryMs / 1000)} s.` : "";
    return new Problem(`That was a lot for one minute.${wait}`);
  }
  return new Problem(CODES[code] ?? `The server says: ${message}.`);
}

const CLOSED = {
  1000: ["The conversation was ended by the server.", "reconnect"],
  1008: ["The server ended the conversation: it got more than it can take.", "reconnect"],
  1009: ["The server ended the conversation: a message was too large.", "reconnect"],
  4009: ["This conversation went on in another window.", "reconnect"],
  4401: ["This server asks for a token.", "token"],
  4403: ["This server does not take visitors from this page.", null],
};

/** The sentence for a connection that closed for good, by its close code and reason. */
export function closeProblem(code, reason) {
  if (reason === "idle") {
    return new Problem("The conversation rested for a while and was ended.", "reconnect");
  }
  return new Problem(...(CLOSED[code] ?? ["The conversation was ended.", "reconnect"]));
}
