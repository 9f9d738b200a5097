// One person's conversation: joins connection, microphone and replies, and keeps its state.
// Knows nothing of the page; tells an observer what happened.

import { Connection, MICROPHONE_HZ } from "./connection.js";
import { Microphone } from "./microphone.js";
import { Replies } from "./replies.js";
import { Speaker } from "./speaker.js";

/**
 * The observer's methods:
 *   changed()                       something that the getters below show is different
 *   heard(turn, text, {final, discarded, ref})   what the user said or typed
 *   typed(id, text)                 a typed turn on its way; `heard` with that ref confirms it
 *   replyStarted(reply, turn), replyText(reply, text)
 *   replyCut(reply, heard)          only `heard` of its text reached the user
 *   replyDone(reply, {status, text, heard, latency_ms})
 *   conversationStarted()           a new one, without memory of what is on the page
 *   problem(Problem)                something failed here
 *   trouble({type, code, message})  the server's error or warning
 */
export class Voice {
  #observer;
  #token;
  #connection;
  #context = null;
  #microphone = null;
  #replies = new Replies(null, 0, {});
  #opening = null; // the promise of a connection under way
  #hearing = false;
  #thinking = false;
  #typed = 0;

  constructor(observer, token) {
    this.#observer = observer;
    this.#token = token;
    this.#connection = new Connection({
      onMessage: (message) => this.#receive(message),
      onAudio: (pcm) => this.#replies.play(pcm),
      onClose: (problem) => this.#lost(problem),
    });
    this.connection = "offline"; // offline, connecting, waiting, ready, lost
    this.place = null; // in the waiting room: { position, eta_s }
    this.talking = "off"; // off, asking, on
    this.muted = false;
    this.playedMs = 0; // of all replies since the page was opened
    this.levels = { microphone: 0, speaker: 0 }; // RMS, 0..1
  }

  /** idle, connecting, listening, hearing, thinking or speaking. */
  get phase() {
    if (this.talking === "asking" || this.#opening) return "connecting";
    if (this.#hearing) return "hearing";
    if (this.#replies.audible !== null) return "speaking";
    if (this.#thinking) return "thinking";
    return this.talking === "on" ? "listening" : "idle";
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
      this.#wakeSound();
      const microphone = await Microphone.open(this.#context, MICROPHONE_HZ, {
        onFrame: (pcm, level) => this.#speak(pcm, level),
        onLost: (problem) => this.#fail(problem),
      });
      if (this.talking === "off") microphone.close(); // hushed while the browser was asking
      else {
        this.#microphone = microphone;
        this.muted = false;
        await this.connect();
        if (this.talking === "asking") {
          this.talking = "on";
          this.#connection.send({ type: "unmute" });
        }
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
    this.#connection.send({ type: "mute" });
    this.#observer.changed();
  }

  setMuted(muted) {
    if (!this.#microphone) return;
    this.muted = muted;
    this.#microphone.muted = muted;
    this.levels.microphone = 0;
    this.#hearing &&= !muted;
    this.#connection.send({ type: muted ? "mute" : "unmute" });
    this.#observer.changed();
  }

  /** Stop the reply. */
  cancel() {
    if (!this.canCancel) return;
    this.#connection.send({ type: "cancel" });
    this.#thinking = false;
    this.#replies.cut(this.#replies.current);
    this.#observer.changed();
  }

  /** A typed turn; connects by itself. Resolves to whether it was sent. */
  async say(text) {
    this.#wakeSound();
    try {
      await this.connect();
    } catch (problem) {
      this.#fail(problem);
      return false;
    }
    this.#typed += 1;
    const id = `typed-${this.#typed}`;
    this.#connection.send({ type: "text", text, id });
    this.#thinking = true;
    this.#observer.typed(id, text);
    this.#observer.changed();
    return true;
  }

  /** Connect unless there is a connection; one attempt at a time. Rejects with a Problem. */
  async connect() {
    if (this.connection === "ready") return;
    this.#opening ??= this.#open();
    try {
      await this.#opening;
    } finally {
      this.#opening = null;
      this.#observer.changed();
    }
  }

  async #open() {
    this.connection = "connecting";
    this.#observer.changed();
    const audio = { rate: MICROPHONE_HZ, codec: "pcm16", framing: "raw" };
    const token = this.#token ? { token: this.#token } : {};
    try {
      // Ready before the welcome: the first audio may come right behind it.
      const hasSound = await this.#prepareSound();
      const welcome = await this.#connection.open({ audio, ...token });
      this.#reset(hasSound ? this.#context : null, welcome.audio.rate);
      this.connection = "ready";
      if (!welcome.resumed) this.#observer.conversationStarted();
    } catch (problem) {
      this.connection = "lost";
      throw problem;
    } finally {
      this.place = null;
    }
  }

  #wakeSound() {
    if (!this.#context && window.AudioContext) this.#context = new AudioContext();
    // Not awaited: without a click it would stay pending, and text works without sound.
    if (this.#context?.state === "suspended") void this.#context.resume();
  }

  async #prepareSound() {
    try {
      await Speaker.prepare(this.#context);
      return true;
    } catch (problem) {
      this.#observer.problem(problem); // replies are read; the server estimates their playback
      return false;
    }
  }

  #speak(pcm, level) {
    if (this.muted || this.connection !== "ready") return;
    this.levels.microphone = level;
    this.#connection.sendAudio(pcm);
  }

  #receive(message) {
    const { type, turn, reply } = message;
    if (type === "waiting") {
      this.connection = "waiting";
      this.place = message;
    } else if (type === "speech_started") this.#hearing = true;
    else if (type === "speech_stopped") {
      this.#hearing = false;
      this.#thinking = true;
    } else if (type === "transcript") {
      if (message.final) this.#hearing = false;
      if (message.discarded) this.#thinking = false;
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
    } else if (type === "reply_audio_end") this.#replies.end(reply);
    else if (type === "reply_done") this.#finish(message);
    else if (type === "error" || type === "warning") {
      if (type === "error") this.#thinking = false;
      this.#observer.trouble(message);
    }
    this.#observer.changed();
  }

  #finish(message) {
    if (message.reply === this.#replies.current) this.#thinking = false;
    this.#replies.finish(message.reply, message.status);
    this.#observer.replyDone(message.reply, message);
  }

  /** Start afresh, with a loudspeaker if there is a context. */
  #reset(context = null, rate = 0) {
    this.#hearing = false;
    this.#thinking = false;
    this.levels.speaker = 0;
    this.#replies.close();
    this.#replies = new Replies(context, rate, {
      played: (reply, playedMs, newMs, done) => {
        this.playedMs += newMs;
        const report = { type: "playback", reply, played_ms: playedMs };
        this.#connection.send(done ? { ...report, done } : report);
        this.#observer.changed();
      },
      level: (level) => {
        this.levels.speaker = level;
      },
      changed: () => {
        this.#thinking = false;
        this.#observer.changed();
      },
    });
  }

  #closeMicrophone() {
    this.#microphone?.close();
    this.#microphone = null;
    this.talking = "off";
    this.muted = false;
    this.#hearing = false;
    this.levels.microphone = 0;
  }

  #lost(problem) {
    this.connection = "lost";
    this.#reset();
    this.#fail(problem);
  }

  #fail(problem) {
    this.#closeMicrophone();
    this.#connection.send({ type: "mute" });
    this.#observer.problem(problem);
    this.#observer.changed();
  }
}
