// One person's conversation: joins line, microphone and replies, and keeps its state.
// Knows nothing of the page; tells an observer what happened.

import { Antiphon } from "./antiphon.js";
import { Microphone } from "./microphone.js";
import { Onset } from "./onset.js";
import { closeProblem } from "./problems.js";
import { Pulse } from "./pulse.js";
import { Replies } from "./replies.js";
import { Sound } from "./sound.js";
import { Uplink } from "./uplink.js";

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
  #observer;
  #microphone = null;
  #device; // the microphone that was chosen, "" for the browser's choice
  #sound;
  #replies = new Replies(null, null, {});
  #uplink;
  #sending = new Set(); // ids of typed turns that nobody has taken
  #hearing = false;
  #thinking = false;
  #onset = new Onset();
  #releases = 0; // pushes that are over, and whose last frames are on their way here
  #audio = null; // of replies, as `welcome` had it

  constructor(
    observer,
    address,
    { hello, mode = "free", microphone = "", loudspeaker = "", line = "auto" },
  ) {
    this.#observer = observer;
    this.#sound = new Sound(loudspeaker, (problem) => observer.problem(problem));
    this.antiphon = new Antiphon(address, {
      ...hello,
      turn_detection: mode === "push" ? "manual" : "auto",
    });
    this.antiphon.addEventListener("message", ({ detail }) => this.#receive(detail));
    this.antiphon.addEventListener("audio", ({ detail }) => this.#replies.play(detail));
    this.antiphon.addEventListener("state", ({ detail }) => this.#line(detail));
    this.pulse = new Pulse(this.antiphon, {
      busy: () => this.talking === "on",
      told: (roundTripMs) => this.#uplink.answered(roundTripMs),
    });
    this.#uplink = new Uplink(this.antiphon, line, (frameMs) => {
      if (this.#microphone) this.#microphone.frameMs = frameMs;
    });
    this.mode = mode; // free: hands-free; push: push to talk
    this.#device = microphone;
    this.place = null; // in the waiting room: { position, eta_s }
    this.leaving = false; // the server is going away
    this.retryMs = null; // until the next try to connect
    this.talking = "off"; // off, asking, on
    this.muted = false;
    this.pushing = false;
    this.playedMs = 0; // of all replies since the page was opened
    this.levels = { microphone: 0, speaker: 0 }; // RMS, 0..1
    this.figures = { frames: 0, heldAfterMs: null, speaker: null };
  }

  /** idle, connecting, listening, hearing, thinking or speaking. */
  get phase() {
    if (this.talking === "asking" || this.#isAwaited()) return "connecting";
    if (this.#hearing || this.pushing) return "hearing";
    if (this.#replies.audible !== null) return "speaking";
    if (this.#thinking) return "thinking";
    return this.talking === "on" ? "listening" : "idle";
  }

  get connection() {
    return this.antiphon.state;
  }

  /** How the audio goes over this connection: { codec, frameMs }. */
  get sound() {
    return { codec: this.#uplink.codec, frameMs: this.#uplink.frameMs };
  }

  get hasSound() {
    return this.#replies.hasSound;
  }

  /** A reply waits to know whether it was interrupted. */
  get held() {
    return this.#replies.held;
  }

  get canCancel() {
    return this.#replies.current !== null;
  }

  /** Open the microphone and talk. Call it from a click: browsers want one before they play. */
  async talk() {
    if (this.talking !== "off") return;
    this.talking = "asking";
    this.#observer.changed();
    try {
      this.#sound.wake();
      const microphone = await this.#openMicrophone();
      if (this.talking === "off") microphone.close(); // hushed while the browser was asking
      else {
        this.#microphone = microphone;
        this.talking = "on";
        this.muted = false;
        microphone.muted = this.mode === "push";
        await this.connect(); // a new line is told by `#line`, one that was there here
        if (this.mode === "free") this.antiphon.send({ type: "unmute" });
      }
    } catch (problem) {
      this.#fail(problem);
    }
    this.#observer.changed();
  }

  /** Close the microphone and stop the reply; the conversation stays, one can go on by typing. */
  hush() {
    this.#closeMicrophone();
    this.cancel();
    this.antiphon.send({ type: "mute" });
    this.#observer.changed();
  }

  setMuted(muted) {
    if (!this.#microphone || this.mode === "push") return;
    this.muted = muted;
    this.#microphone.muted = muted;
    this.levels.microphone = 0;
    this.#hearing &&= !muted;
    this.antiphon.send({ type: muted ? "mute" : "unmute" });
    this.#observer.changed();
  }

  /** Push to talk: the turn begins here and ends at `release`. A reply is stopped by it. */
  async push() {
    if (this.mode !== "push" || this.pushing) return;
    this.pushing = true;
    this.cancel();
    if (this.talking === "off") await this.talk();
    if (!this.pushing || !this.#microphone) {
      this.pushing = false; // released, or denied, while the browser was asking
      this.#observer.changed();
      return;
    }
    this.#microphone.muted = false;
    this.antiphon.send({ type: "unmute" });
    this.#observer.changed();
  }

  release() {
    if (!this.pushing) return;
    this.pushing = false;
    const ready = this.connection === "ready";
    if (ready) this.#thinking = true;
    void this.#hearTheRest().then(() => ready && this.antiphon.send({ type: "commit" }));
    this.#observer.changed();
  }

  /** What was said before the release may still be in the audio thread, or in a coder. */
  async #hearTheRest() {
    const microphone = this.#microphone;
    this.#releases += 1;
    await microphone?.flush();
    this.#releases -= 1;
    if (microphone && this.mode === "push" && !this.pushing) {
      microphone.muted = true;
      this.levels.microphone = 0;
    }
    await this.#uplink.flush();
  }

  /** Stop the reply. */
  cancel() {
    if (!this.canCancel) return;
    this.antiphon.send({ type: "cancel" });
    this.#thinking = false;
    this.#replies.cut(this.#replies.current);
    this.#observer.changed();
  }

  /** A typed turn; it leaves when there is a connection. False when too many wait. */
  say(text) {
    const id = this.antiphon.say(text);
    if (id === null) return false;
    this.#sending.add(id);
    if (this.connection === "ready") this.#thinking = true;
    this.#observer.typed(id, text);
    this.#sound.wake();
    void this.connect();
    return true;
  }

  /** Connect, or try again at once. */
  async connect() {
    // Ready before the welcome: the first audio may come right behind it.
    await this.#sound.prepare();
    if (this.connection === "ready" && this.#sound.context && !this.hasSound) {
      this.#reset(this.#sound.context, this.#audio); // the line was there before the first click
    }
    await this.#uplink.choose();
    this.antiphon.connect();
  }

  /** Forget the conversation, here and there. */
  clear() {
    this.cancel();
    this.#sending.clear();
    this.#thinking = false;
    this.antiphon.clear();
  }

  /** What the user chose; what is left out stays. Devices change at once, the voice next time. */
  async choose({ hello, mode, microphone, loudspeaker, line }) {
    if (mode !== this.mode) {
      this.release();
      this.mode = mode;
      if (this.#microphone) this.#microphone.muted = mode === "push";
      this.muted = false;
      this.antiphon.send({ type: mode === "push" ? "mute" : "unmute" });
    }
    this.antiphon.configure({ ...hello, turn_detection: mode === "push" ? "manual" : "auto" });
    const moved = microphone !== this.#device;
    this.#device = microphone;
    this.#sound.playOn(loudspeaker);
    if (moved && this.#microphone) await this.#changeMicrophone();
    await this.#uplink.change(line);
    this.#observer.changed();
  }

  #isAwaited() {
    if (this.connection === "connecting") return true;
    const wanted = this.talking !== "off" || this.#sending.size > 0;
    return wanted && (this.connection === "lost" || this.connection === "waiting");
  }

  async #openMicrophone() {
    const { context } = this.#sound;
    const microphone = await Microphone.open(context, Uplink.RATE_HZ, this.#device, {
      onFrame: (pcm, level, frameMs) => this.#speak(pcm, level, frameMs),
      onLost: (problem) => this.#fail(problem),
    });
    microphone.frameMs = this.#uplink.frameMs;
    return microphone;
  }

  async #changeMicrophone() {
    try {
      const microphone = await this.#openMicrophone();
      microphone.muted = this.muted || this.mode === "push";
      this.#microphone?.close();
      this.#microphone = microphone;
    } catch (problem) {
      this.#fail(problem);
    }
  }

  #speak(pcm, level, frameMs) {
    const open = this.mode !== "push" || this.pushing || this.#releases > 0;
    if (this.muted || !open) return;
    this.levels.microphone = level;
    this.#onset.hear(level, frameMs);
    if (this.#uplink.hear(pcm, frameMs)) this.figures.frames += 1;
  }

  #receive(message) {
    const { type, turn, reply } = message;
    if (type === "waiting") this.place = message;
    else if (type === "welcome") this.#enter(message);
    else if (type === "going_away") this.leaving = true;
    else if (type === "speech_started") this.#hearing = true;
    else if (type === "speech_stopped") {
      this.#hearing = false;
      this.#thinking = true;
    } else if (type === "transcript") {
      if (message.final) this.#hearing = false;
      if (message.discarded) this.#thinking = false;
      this.#sending.delete(message.ref);
      this.#observer.heard(turn, message.text, message);
    } else if (type === "reply_started") {
      this.#thinking = true;
      this.#replies.start(reply);
      this.#observer.replyStarted(reply, turn);
    } else if (type === "reply_text") {
      if (!this.hasSound) this.#thinking = false; // nothing to wait for: it is read as it comes
      this.#observer.replyText(reply, message.text);
    } else if (type === "reply_paused") this.#replies.hold(reply);
    else if (type === "reply_resumed") {
      this.#hearing = false;
      this.#thinking = false;
      this.#replies.resume(reply);
    } else if (type === "interrupted") {
      this.#replies.cut(reply);
      this.#observer.replyCut(reply, message.heard);
    } else if (type === "reply_audio_end") this.#replies.end(reply, message.audio_ms);
    else if (type === "reply_done") this.#finish(message);
    else if (type === "error" || type === "warning") this.#trouble(message);
    this.#observer.changed();
  }

  #trouble(message) {
    if (message.type === "error") this.#thinking = false;
    if (message.code === "NOT_FOUND" && this.connection === "connecting") {
      this.antiphon.introduce({ voice: "", language: "" }); // this server has others
      this.antiphon.reconnect();
    }
    if (this.#sending.has(message.ref) && !message.retry_after_ms) {
      this.#sending.delete(message.ref);
      this.#observer.refused(message.ref);
    }
    this.#observer.trouble(message);
  }

  #finish(message) {
    if (message.reply === this.#replies.current) this.#thinking = false;
    this.#replies.finish(message.reply, message.status);
    this.#observer.replyDone(message.reply, message);
    const lull = !this.#hearing && !this.#thinking && !this.pushing && !this.canCancel;
    if (lull) this.#uplink.changeInALull();
  }

  #enter(welcome) {
    this.#audio = welcome.audio;
    this.#uplink.begin(welcome.audio.codec);
    this.#reset(this.#sound.context, this.#audio);
    this.#observer.welcomed(welcome);
  }

  #line({ state, code, reason, retryMs }) {
    this.retryMs = retryMs;
    if (state === "ready") {
      const wanted = this.mode === "push" ? this.pushing : !this.muted;
      const speaks = this.talking === "on" && wanted;
      this.antiphon.send({ type: speaks ? "unmute" : "mute" });
    }
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
  #reset(context = null, audio = null) {
    this.#hearing = false;
    this.#thinking = false;
    this.levels.speaker = 0;
    this.figures.speaker = null;
    this.#replies.close();
    this.#replies = new Replies(context, audio, {
      played: (reply, playedMs, newMs, done, audioMs) => {
        this.playedMs += newMs;
        const report = { type: "playback", reply, played_ms: playedMs };
        this.antiphon.send(done ? { ...report, done } : report);
        this.#observer.replySpoken(reply, playedMs, audioMs);
        this.#observer.changed();
      },
      level: (level) => {
        this.levels.speaker = level;
      },
      held: () => {
        this.figures.heldAfterMs = this.#onset.held() ?? this.figures.heldAfterMs;
      },
      figures: (figures) => {
        const before = this.figures.speaker?.ranDry ?? 0;
        if (figures.ranDry > before) this.#uplink.ranDry();
        this.figures.speaker = figures;
      },
      failed: () => this.#uplink.failed(),
      changed: () => {
        this.#thinking = false;
        this.#observer.changed();
      },
    });
  }

  #closeMicrophone() {
    this.#uplink.close();
    this.#microphone?.close();
    this.#microphone = null;
    this.talking = "off";
    this.muted = false;
    this.pushing = false;
    this.#hearing = false;
    this.levels.microphone = 0;
  }

  #fail(problem) {
    this.#closeMicrophone();
    this.antiphon.send({ type: "mute" });
    this.#observer.problem(problem);
    this.#observer.changed();
  }
}
