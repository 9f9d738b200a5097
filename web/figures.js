// The page's own figures, for whoever wonders: buffers, drops, jitter, memory, the longest task.

const EVERY_MS = 1_000;
const CODECS = { pcm16: "PCM", opus: "Opus" };

const tasks = { longestMs: null }; // null: this browser does not say
if (PerformanceObserver.supportedEntryTypes?.includes("longtask")) {
  tasks.longestMs = 0;
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      tasks.longestMs = Math.max(tasks.longestMs, Math.round(duration));
    }
  }).observe({ type: "longtask" });
}

const ms = (value) => (value === null || value === undefined ? "–" : `${Math.round(value)} ms`);

/** What is known now: [name, value], in the order in which it is shown. */
function figuresOf(voice) {
  const { answers, antiphon, caller, pulse, sound } = voice;
  const speaker = answers.figures ?? {};
  const heap = performance.memory?.usedJSHeapSize;
  return [
    ["round trip", ms(pulse.roundTripMs)],
    ["connections", antiphon.figures.connections],
    ["sound", CODECS[sound.codec] ?? "–"],
    ["microphone, frames sent", caller.frames],
    ["each frame", ms(sound.frameMs)],
    ["frames dropped, line behind", antiphon.figures.drops],
    ["waiting to be sent", `${antiphon.bufferedAmount} bytes`],
    ["typed turns waiting", antiphon.queued],
    ["played in all", `${(answers.playedMs / 1000).toFixed(1)} s`],
    ["waiting to be played", ms(speaker.bufferedS && speaker.bufferedS * 1000)],
    ["a reply starts with", ms(speaker.targetS && speaker.targetS * 1000)],
    ["jitter", ms(speaker.jitterS && speaker.jitterS * 1000)],
    ["replies that ran dry", speaker.ranDry ?? "–"],
    ["last held, after your voice", ms(answers.heldAfterMs)],
    ["longest task", ms(tasks.longestMs)],
    ["memory", heap === undefined ? "–" : `${(heap / 1e6).toFixed(1)} MB`],
  ];
}

/** Fill a <dl> once a second while its <details> is open. */
export function showFigures(details, voice) {
  const list = details.querySelector("dl");
  const fields = new Map();
  const show = () => {
    if (!details.open || document.hidden) return;
    for (const [name, value] of figuresOf(voice)) {
      if (!fields.has(name)) {
        const term = document.createElement("dt");
        const field = document.createElement("dd");
        term.textContent = name;
        list.append(term, field);
        fields.set(name, field);
      }
      fields.get(name).textContent = String(value);
    }
  };
  details.addEventListener("toggle", show);
  setInterval(show, EVERY_MS);
}
