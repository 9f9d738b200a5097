// What the page says of a conversation's state: in the middle, and in its corner.

const CONNECTION = {
  closed: "not connected",
  connecting: "connecting…",
  waiting: "waiting for a place",
  ready: "connected",
  lost: "reconnecting…",
};
const STATUS = {
  idle: ["Tap and talk", "or write, below"],
  connecting: ["One moment", "getting ready"],
  listening: ["Listening", "say something"],
  hearing: ["I hear you", "go on"],
  thinking: ["Thinking", ""],
  speaking: ["Speaking", "talk to cut in"],
};
const HEARS = new Set(["listening", "hearing"]);
const SILENT = ["The microphone is silent", "something outside of this page has switched it off"];
const HELD_BACK = {
  free: ["The sound is away", "tap the orb to go on"],
  push: ["The sound is away", "let go, and hold the orb again"],
};
const PUSH = {
  idle: ["Hold and talk", "the orb, or the space bar"],
  listening: ["Hold and talk", "the orb, or the space bar"],
  hearing: ["I hear you", "let go when you have finished"],
  speaking: ["Speaking", "hold to cut in"],
};

/** A sentence, and a hint under it. */
export function statusOf(voice) {
  const { phase, connection, mode } = voice;
  if (connection === "waiting") return ["Every place is taken", inLine(voice.place)];
  if (phase === "connecting" && connection === "lost") {
    if (navigator.onLine) return ["Reconnecting", "the line was lost"];
    return ["No network", "this page waits for it"];
  }
  if (voice.soundWaits) return HELD_BACK[mode];
  if (voice.answers.held) return ["Holding on", "go on, or wait"];
  if (voice.caller.silent && HEARS.has(phase)) return SILENT;
  if (voice.muted && phase === "listening") return ["Muted", "unmute to go on"];
  if (mode === "push" && PUSH[phase]) return PUSH[phase];
  if (phase === "speaking" && voice.talking === "off") return ["Speaking", ""];
  return STATUS[phase];
}

function inLine(place) {
  if (!place) return "";
  const { position, eta_s: eta } = place;
  const about = eta >= 90 ? `${Math.round(eta / 60)} min` : `${eta} s`;
  return `you are number ${position} in line${eta === null ? "" : `, about ${about}`}`;
}

/** A few words on the line. */
export function connectionOf({ connection, leaving }) {
  if (leaving) return "the server restarts…";
  if (connection === "lost" && !navigator.onLine) return "no network";
  return CONNECTION[connection];
}
