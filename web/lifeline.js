// Keeps a conversation alive through what browsers, networks and telephones do: sleep, tunnels, hidden
// tabs, reloads. What is kept for a reload is in this tab's storage only while the page is away.

const KEPT = "antiphon.away";
const WAKE_MS = 3_000; // after a sleep or a tunnel, an answer is due within so long
const TICK_MS = 2_000;
const SLEPT_MS = 12_000; // a tick that comes so late: the machine slept

/** What was kept for a reload: { resume, token }; each once. */
export function takeKept() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    sessionStorage.removeItem(KEPT); // a copy of this tab must not take the conversation away
    return kept ?? {};
  } catch {
    return {}; // no storage in this browser
  }
}

/** Watch over a line by its `pulse`; `keep()` gives what a reload needs; `changed()` hears of the
 * network. */
export function watchOver(antiphon, pulse, keep, changed) {
  const look = () => pulse.check(WAKE_MS);
  const put = () => {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(keep()));
    } catch {
      // Then a reload begins anew.
    }
  };
  let ticked = performance.now();
  addEventListener("online", () => {
    look();
    changed();
  });
  addEventListener("offline", () => {
    look(); // a hint, not a verdict: this machine's own servers are still there
    changed();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "visible") {
      put(); // a telephone ends hidden pages without another word
      return;
    }
    takeKept();
    look();
  });
  antiphon.addEventListener("state", () => {
    if (document.visibilityState !== "visible") put(); // a token serves once
  });
  addEventListener("pageshow", ({ persisted }) => {
    if (!persisted) return;
    takeKept();
    look();
  });
  addEventListener("pagehide", put);
  setInterval(() => {
    const now = performance.now();
    if (now - ticked > SLEPT_MS) look();
    ticked = now;
  }, TICK_MS);
}

/** A telephone's screen that goes dark takes the microphone with it: while one talks, it stays on. */
export class Awake {
  #wanted = false;
  #lock = null; // a promise; null inside where the browser does not give one

  constructor() {
    document.addEventListener("visibilitychange", () => this.#settle()); // hidden, it loses it
  }

  want(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    void this.#settle();
  }

  async #settle() {
    const before = this.#lock;
    const takes = this.#wanted && document.visibilityState === "visible" && navigator.wakeLock;
    this.#lock = takes ? navigator.wakeLock.request("screen").catch(() => null) : null;
    void (await before)?.release();
  }
}
