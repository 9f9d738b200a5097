// One person's conversation: joins the line, the caller's side and Antiphon's, and keeps its state.
// Knows nothing of the page; tells an observer what happened.

import { Answers } from "./answers.js";
import { Antiphon } from "./antiphon.js";
import { Caller } from "./caller.js";
import { Onset } from "./onset.js";
import { closeProblem } from "./problems.js";
import { Pulse } from "./pulse.js";
import { Sound } from "./sound.js";
import { Uplink } from "./uplink.js";

const DETECTION = { free: "auto", push: "manual" }; // of a turn's end, by mode
const SOUND_WITHIN_MS = 3_000; // to load; what is written does not wait for it longer
const NEEDS_SOUND = new Set(["listening", "hearing", "speaking"]); // phases

/**
 * The observer's methods:
 *   changed()                       something that the getters below show is different
 *   heard(turn, text, {final, discarded, ref})   what the user said or typed
 *   typed(id, text)                 a typed turn on its way; `heard` with that ref confirms it
 *   refused(id)                     it was not taken
 *   replyStarted(reply, turn), replyText(reply, text)
 *   replySpoken(reply, playedMs, audioMs)   so much of it was heard; of so much, null if unknown
 *   replyCut(reply, heard)          only `heard` of its text reached the user
 *   replyDone(reply, {status, text, heard, latency_ms})
 *   lineLost()                      what was under way will not come to its end
 *   welcomed({resumed, history})    a conversation: a new one, or the one that was lost
 *   problem(Problem)                something failed here
 *   trouble({type, code, message})  the server's error or warning
 */
export class Voice {
  place = null; // in the waiting room: { position, eta_s }
  leaving = false; // the server is going away
  #observer;
  #sound;
  #uplink;
  #audio = null; // of replies, as `welcome` had it
  #hearing = false;

  constructor(
    observer,
    address,
    { hello, mode = "free", microphone = "", loudspeaker = "", line = "auto" },
  ) {
    this.#observer = observer;
    this.antiphon = new Antiphon(address, { ...hello, turn_detection: DETECTION[mode] });
    this.antiphon.addEventListener("message", ({ detail }) => this.#receive(detail));
    this.antiphon.addEventListener("audio", ({ detail }) => this.answers.play(detail));
    this.antiphon.addEventListener("state", ({ detail }) => this.#line(detail));
    this.pulse = new Pulse(this.antiphon, {
      busy: () => this.talking === "on",
      told: (roundTripMs) => this.#uplink.answered(roundTripMs),
    });
    this.#sound = new Sound(loudspeaker, {
      failed: (problem) => observer.problem(problem),
      changed: () => observer.changed(),
    });
    this.#uplink = new Uplink(this.antiphon, line, (frameMs) => {
      this.caller.frameMs = frameMs;
    });
    const onset = new Onset();
    this.answers = new Answers(this.antiphon, this.#uplink, onset, observer);
    const chosen = { mode, device: microphone };
    this.caller = new Caller(this.#sound, this.#uplink, onset, chosen, {
      lost: (problem) => this.#fail(problem),
      replaced: (problem) => observer.problem(problem),
      changed: () => observer.changed(),
    });
  }

  /** idle, connecting, listening, hearing, thinking or speaking. */
  get phase() {
    if (this.talking === "asking" || this.#isAwaited()) return "connecting";
    if (this.#hearing || this.pushing) return "hearing";
    if (this.answers.audible !== null) return "speaking";
    if (this.answers.thinking) return "thinking";
    return this.talking === "on" ? "listening" : "idle";
  }

  get connection() {
    return this.antiphon.state;
  }

  /** free: hands-free; push: push to talk. */
  get mode() {
    return this.caller.mode;
  }

  /** off, asking (for the microphone), on. */
  get talking() {
    return this.caller.state;
  }

  get muted() {
    return this.caller.muted;
  }

  get pushing() {
    return this.caller.pushing;
  }

  /** How the audio goes over this connection: { codec, frameMs }. */
  get sound() {
    return { codec: this.#uplink.codec, frameMs: this.#uplink.frameMs };
  }

  /** What is to be heard or played waits for a click, or for another program that has the sound. */
  get soundWaits() {
    return this.#sound.waits && NEEDS_SOUND.has(this.phase);
  }

  get canCancel() {
    return this.answers.current !== null;
  }

  /** Open the microphone and talk. Call it from a click: browsers want one before they play. */
  async talk() {
    if (this.talking !== "off") return;
    try {
      this.#sound.wake();
      const opened = this.caller.open();
      this.#observer.changed();
      if (await opened) {
        await this.connect(); // a new line is told by `#line`, one that was there here
        if (this.mode === "free") this.#tellWhoSpeaks();
      }
    } catch (problem) {
      this.#fail(problem);
    }
    this.#observer.changed();
  }

  /** Call it from a click where the sound waits. */
  wake() {
    this.#sound.wake();
  }

  /** Close the microphone and stop the reply; the conversation stays, one can go on by typing. */
  hush() {
    this.#closeMicrophone();
    this.cancel();
    this.#tellWhoSpeaks();
    this.#observer.changed();
  }

  setMuted(muted) {
    if (!this.caller.mute(muted)) return;
    this.#hearing &&= !muted;
    this.#tellWhoSpeaks();
    this.#observer.changed();
  }

  /** Push to talk: the turn begins here and ends at `release`. A reply is stopped by it. */
  async push() {
    if (this.mode !== "push" || this.pushing) return;
    this.#sound.wake();
    this.caller.push();
    this.cancel();
    if (this.talking === "off") await this.talk();
    if (this.caller.speaks) this.#tellWhoSpeaks(); // else it was released, or denied, meanwhile
    this.#observer.changed();
  }

  release() {
    if (!this.pushing) return;
    this.#sound.wake(); // on a touch screen only the end of a touch counts as a click
    const ready = this.connection === "ready";
    if (ready) this.answers.thinking = true;
    void this.caller.release().then(() => ready && this.antiphon.send({ type: "commit" }));
    this.#observer.changed();
  }

  /** Stop the reply. */
  cancel() {
    if (this.answers.cancel()) this.#observer.changed();
  }

  /** A typed turn; it leaves when there is a connection. False when too many wait. */
  say(text) {
    const id = this.antiphon.say(text);
    if (id === null) return false;
    if (this.connection === "ready") this.answers.thinking = true;
    this.#observer.typed(id, text);
    this.#sound.wake();
    void this.connect();
    return true;
  }

  /** Connect, or try again at once. */
  async connect() {
    // Before the welcome, as a rule: the first audio may come right behind it. Without sound replies
    // are read, and the server estimates their playback.
    const sound = this.#sound.prepare().then(
      () => this.#giveSound(),
      (problem) => this.#observer.problem(problem),
    );
    await Promise.race([sound, new Promise((resolve) => setTimeout(resolve, SOUND_WITHIN_MS))]);
    await this.#uplink.choose();
    this.antiphon.connect();
  }

  /** Forget the conversation, here and there. */
  clear() {
    this.cancel();
    this.answers.thinking = false;
    this.antiphon.clear();
  }

  /** What the user chose; what is left out stays. Devices change at once, the voice next time. */
  async choose({ hello, mode, microphone, loudspeaker, line }) {
    if (mode !== this.mode) {
      this.release();
      this.caller.mode = mode;
      this.#tellWhoSpeaks();
    }
    this.antiphon.configure({ ...hello, turn_detection: DETECTION[mode] });
    this.#sound.playOn(loudspeaker);
    await Promise.all([this.caller.change(microphone), this.#uplink.change(line)]);
    this.#observer.changed();
  }

  /** The line was there before the sound: the next reply is heard. One that began is read to its end,
   * or it would count as unheard. */
  #giveSound() {
    const { ready } = this.#sound;
    const late = ready && this.connection === "ready" && !this.answers.hasSound;
    if (!late || this.answers.current !== null) return;
    const { thinking } = this.answers;
    this.answers.begin(ready, this.#audio);
    this.answers.thinking = thinking;
    this.#observer.changed();
  }

  #isAwaited() {
    if (this.connection === "connecting") return true;
    const wanted = this.talking !== "off" || this.antiphon.queued > 0;
    return wanted && (this.connection === "lost" || this.connection === "waiting");
  }

  #receive(message) {
    const { type } = message;
    this.answers.receive(message);
    if (type === "waiting") this.place = message;
    else if (type === "welcome") this.#enter(message);
    else if (type === "going_away") this.leaving = true;
    else if (type === "speech_started") this.#hearing = true;
    else if (type === "speech_stopped" || type === "reply_resumed") this.#hearing = false;
    else if (type === "transcript") {
      if (message.final) this.#hearing = false;
      this.#observer.heard(message.turn, message.text, message);
    } else if (type === "reply_done") {
      this.#giveSound();
      const busy = this.#hearing || this.answers.thinking || this.pushing || this.canCancel;
      if (!busy) this.#uplink.changeInALull();
    } else if (type === "error" || type === "warning") this.#trouble(message);
    this.#observer.changed();
  }

  #trouble(message) {
    if (message.code === "NOT_FOUND" && this.connection === "connecting") {
      this.antiphon.introduce({ voice: "", language: "" }); // this server has others
      this.antiphon.reconnect();
    }
    if (message.ref && !message.retry_after_ms) this.#observer.refused(message.ref);
    this.#observer.trouble(message);
  }

  #enter(welcome) {
    this.#audio = welcome.audio;
    this.#uplink.begin(welcome.audio.codec);
    this.#reset(this.#sound.ready);
    this.#observer.welcomed(welcome);
  }

  #line({ state, code, reason }) {
    if (state === "ready") this.#tellWhoSpeaks();
    if (state !== "waiting") this.place = null;
    if (state === "ready" || state === "closed") this.leaving = false;
    if (state === "lost") void this.#uplink.choose();
    if (state === "lost" || state === "closed") {
      this.#reset();
      this.#observer.lineLost();
    }
    if (state === "closed") {
      this.#closeMicrophone();
      if (code !== null) this.#observer.problem(closeProblem(code, reason));
    }
    this.#observer.changed();
  }

  /** Start afresh, with a loudspeaker if there is a context. */
  #reset(context = null) {
    this.#hearing = false;
    this.answers.begin(context, this.#audio);
  }

  #closeMicrophone() {
    this.caller.close();
    this.#hearing = false;
  }

  #tellWhoSpeaks() {
    this.antiphon.send({ type: this.caller.speaks ? "unmute" : "mute" });
  }

  #fail(problem) {
    this.#closeMicrophone();
    this.#tellWhoSpeaks();
    this.#observer.problem(problem);
    this.#observer.changed();
  }
}
