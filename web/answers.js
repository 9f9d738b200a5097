// Antiphon's side of a conversation, over all its connections: whether it thinks, what it says, and
// how much of that was heard.

import { Replies } from "./replies.js";

export class Answers {
  thinking = false; // an answer is due
  playedMs = 0; // of all replies since the page was opened
  heldAfterMs = null; // how soon a reply was silent when the user spoke
  #antiphon;
  #uplink;
  #onset;
  #observer;
  #replies = new Replies(null, null, {}); // of this connection

  /** `onset`: of the user's voice; the observer's methods are those of `Voice`. */
  constructor(antiphon, uplink, onset, observer) {
    this.#antiphon = antiphon;
    this.#uplink = uplink;
    this.#onset = onset;
    this.#observer = observer;
  }

  /** The reply whose audio may come or play, or null. */
  get current() {
    return this.#replies.current;
  }

  /** The reply that plays, or null. */
  get audible() {
    return this.#replies.audible;
  }

  /** It waits to know whether it was interrupted. */
  get held() {
    return this.#replies.held;
  }

  get hasSound() {
    return this.#replies.hasSound;
  }

  /** RMS, 0..1. */
  get level() {
    return this.#replies.level;
  }

  /** Those of the loudspeaker, or null. */
  get figures() {
    return this.#replies.figures;
  }

  /** Start afresh, with a loudspeaker if there is a context. */
  begin(context = null, audio = null) {
    this.thinking = false;
    this.#replies.close();
    this.#replies = new Replies(context, audio, {
      played: (reply, playedMs, newMs, done, audioMs) => {
        this.playedMs += newMs;
        const report = { type: "playback", reply, played_ms: playedMs };
        this.#antiphon.send(done ? { ...report, done } : report);
        this.#observer.replySpoken(reply, playedMs, audioMs);
        this.#observer.changed();
      },
      held: () => {
        this.heldAfterMs = this.#onset.held() ?? this.heldAfterMs;
      },
      ranDry: () => this.#uplink.ranDry(),
      failed: () => this.#uplink.failed(),
      changed: () => {
        this.thinking = false;
        this.#observer.changed();
      },
    });
  }

  /** A frame of audio. */
  play(frame) {
    this.#replies.play(frame);
  }

  /** What the server says; what is none of a reply's concern passes. */
  receive(message) {
    const { type, reply } = message;
    if (type === "speech_stopped") this.thinking = true;
    else if (type === "error" || message.discarded) this.thinking = false;
    else if (type === "reply_started") {
      this.thinking = true;
      this.#replies.start(reply);
      this.#observer.replyStarted(reply, message.turn);
    } else if (type === "reply_text") {
      if (!this.hasSound) this.thinking = false; // nothing to wait for: it is read as it comes
      this.#observer.replyText(reply, message.text);
    } else if (type === "reply_paused") this.#replies.hold(reply);
    else if (type === "reply_resumed") {
      this.thinking = false;
      this.#replies.resume(reply);
    } else if (type === "interrupted") {
      this.#replies.cut(reply);
      this.#observer.replyCut(reply, message.heard);
    } else if (type === "reply_audio_end") this.#replies.end(reply, message.audio_ms);
    else if (type === "reply_done") {
      if (reply === this.current) this.thinking = false;
      this.#replies.finish(reply, message.status);
      this.#observer.replyDone(reply, message);
    }
  }

  /** Stop the reply. False where there is none. */
  cancel() {
    if (this.current === null) return false;
    this.#antiphon.send({ type: "cancel" });
    this.thinking = false;
    this.#replies.cut(this.current);
    return true;
  }
}
