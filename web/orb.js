// The stage: an orb on a staff of four lines. The user's voice is written as notes to its left, the
// reply's to its right; height is loudness, and every note is a level that was really measured.

const NOTE_EVERY_MS = 75;
const RESTING_MS = 45; // between two pictures while nothing happens
const NOTE_STEP_PX = 13;
const STEPS = 6; // lines and spaces between the lowest note and the highest
const QUIETEST = 0.08; // of the loudness scale; below it is a rest
const FLOOR_DB = -50;
const CEILING_DB = -8;

/** An RMS level as 0..1 between what is silence and what is loud. */
export function loudness(level) {
  if (level <= 0) return 0;
  const db = 20 * Math.log10(level);
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}

/** Quick to rise, slow to fall, as an ear would have it. */
function follow(value, target, ms) {
  return value + (target - value) * (1 - Math.exp(-ms / (target > value ? 45 : 180)));
}

class Voiceline {
  constructor(direction) {
    this.direction = direction; // -1: the notes leave to the left; 1: to the right
    this.notes = []; // newest first; null is a rest
  }

  write(level, room) {
    this.notes.unshift(level > QUIETEST ? Math.round(level * STEPS) : null);
    this.notes.length = Math.min(this.notes.length, Math.ceil(room / NOTE_STEP_PX));
  }
}

export class Orb {
  #canvas;
  #pen;
  #read;
  #colours = {};
  #still = matchMedia("(prefers-reduced-motion: reduce)");
  #user = new Voiceline(-1);
  #reply = new Voiceline(1);
  #glow = { microphone: 0, speaker: 0, awake: 0, thought: 0 };
  #last = 0;
  #sinceNote = 0;
  #time = 0;
  #size = { width: 0, height: 0 }; // CSS pixels

  /** `read()` gives { phase, muted, held, levels: { microphone, speaker } } at every picture. */
  constructor(canvas, read) {
    this.#canvas = canvas;
    this.#pen = canvas.getContext("2d");
    this.#read = read;
    new ResizeObserver(() => this.#fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#dye());
    this.#dye();
    this.#fit();
    requestAnimationFrame((now) => this.#tick(now));
  }

  #dye() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ["ink", "rubric", "gold", "ember", "rim", "paper"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim(); // as #rrggbb
    }
  }

  /** A colour as #rrggbbaa: fades to the same hue, which `transparent` would turn grey. */
  #tint(name, alpha) {
    const share = Math.round(255 * Math.max(0, Math.min(1, alpha)));
    return this.#colours[name] + share.toString(16).padStart(2, "0");
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = Math.min(2, devicePixelRatio || 1);
    this.#size = { width, height }; // asked at each picture, it would cost a layout
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.#draw();
  }

  #tick(now) {
    requestAnimationFrame((next) => this.#tick(next));
    const resting = this.#read().phase === "idle" && this.#glow.awake < 0.01;
    if (resting && now - this.#last < RESTING_MS) return; // a breath needs no sixty pictures
    const ms = Math.min(100, now - this.#last);
    this.#last = now;
    this.#advance(ms);
    this.#draw();
  }

  #advance(ms) {
    const { phase, levels } = this.#read();
    const glow = this.#glow;
    const microphone = loudness(levels.microphone);
    const speaker = loudness(levels.speaker);
    glow.microphone = follow(glow.microphone, microphone, ms);
    glow.speaker = follow(glow.speaker, speaker, ms);
    glow.awake = follow(glow.awake, phase === "idle" ? 0 : 1, ms);
    glow.thought = follow(glow.thought, phase === "thinking" || phase === "connecting" ? 1 : 0, ms);
    if (!this.#still.matches) this.#time += ms / 1000;
    this.#sinceNote += ms;
    if (this.#sinceNote < NOTE_EVERY_MS) return;
    this.#sinceNote %= NOTE_EVERY_MS;
    const room = this.#size.width / 2;
    this.#user.write(microphone, room);
    this.#reply.write(speaker, room);
  }

  #draw() {
    const { width, height } = this.#size;
    if (width === 0 || height === 0) return;
    const radius = Math.min(height * 0.31, 104);
    const centre = { x: width / 2, y: height / 2 };
    this.#pen.clearRect(0, 0, width, height);
    this.#drawStaff(width, centre, radius);
    this.#drawNotes(this.#user, this.#colours.ink, width, centre, radius);
    this.#drawNotes(this.#reply, this.#colours.rubric, width, centre, radius);
    this.#drawHalo(centre, radius, height / 2);
    this.#drawOrb(centre, radius);
    if (this.#glow.thought > 0.02) this.#drawThought(centre, radius);
  }

  #gap(radius) {
    return radius * 0.3;
  }

  #drawStaff(width, centre, radius) {
    const pen = this.#pen;
    const fade = pen.createLinearGradient(0, 0, width, 0);
    for (const [at, alpha] of [[0, 0], [0.2, 0.42], [0.8, 0.42], [1, 0]]) {
      fade.addColorStop(at, this.#tint("rubric", alpha));
    }
    pen.strokeStyle = fade;
    pen.lineWidth = 1;
    for (const line of [-1.5, -0.5, 0.5, 1.5]) {
      const y = Math.round(centre.y + line * this.#gap(radius)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, y);
      pen.lineTo(width, y);
      pen.stroke();
    }
  }

  #drawNotes({ notes, direction }, colour, width, centre, radius) {
    const pen = this.#pen;
    const gap = this.#gap(radius);
    const size = Math.min(NOTE_STEP_PX - 3, gap * 0.42);
    const start = radius * 1.32;
    const drift = this.#still.matches ? 0 : (this.#sinceNote / NOTE_EVERY_MS) * NOTE_STEP_PX;
    pen.fillStyle = colour;
    let before = null;
    notes.forEach((step, index) => {
      const away = start + index * NOTE_STEP_PX + drift;
      const x = centre.x + direction * away;
      const y = step === null ? null : centre.y + gap * 1.5 - (step / STEPS) * gap * 3;
      pen.globalAlpha = Math.max(0, 1 - away / (width / 2)) ** 0.8;
      if (y !== null) {
        pen.fillRect(x - size / 2, y - size / 2, size, size);
        // Neighbours at different heights are joined by a hairline, as one syllable's notes are.
        if (before !== null && before !== y) {
          const joint = x - direction * (NOTE_STEP_PX / 2 - 0.5);
          pen.fillRect(joint - 0.5, Math.min(y, before), 1, Math.abs(y - before));
        }
      }
      before = y;
    });
    pen.globalAlpha = 1;
  }

  #swell() {
    const { microphone, speaker, awake } = this.#glow;
    const breath = 0.012 * Math.sin(this.#time * 1.4);
    return 1 + breath + 0.02 * awake + 0.06 * microphone + 0.12 * speaker;
  }

  #drawHalo(centre, radius, room) {
    const pen = this.#pen;
    const voice = Math.max(0.7 * this.#glow.microphone, this.#glow.speaker);
    const reach = Math.min(room, radius * (1.45 + 0.3 * voice));
    const halo = pen.createRadialGradient(centre.x, centre.y, radius * 0.9, centre.x, centre.y, reach);
    const alpha = 0.22 + 0.13 * this.#glow.awake + 0.35 * voice;
    halo.addColorStop(0, this.#tint("gold", alpha));
    halo.addColorStop(0.45, this.#tint("gold", alpha * 0.35));
    halo.addColorStop(1, this.#tint("gold", 0));
    pen.fillStyle = halo;
    pen.fillRect(centre.x - reach, centre.y - reach, 2 * reach, 2 * reach);
  }

  #drawOrb(centre, radius) {
    const pen = this.#pen;
    const { microphone, speaker, awake } = this.#glow;
    const { muted, held } = this.#read();
    const size = radius * this.#swell();
    const wave = size * (0.002 + 0.016 * microphone + 0.026 * speaker);
    const turn = this.#time;
    pen.beginPath();
    for (let i = 0; i <= 120; i += 1) {
      const angle = (i / 120) * 2 * Math.PI;
      const shape = Math.sin(3 * angle + turn * 1.1) + 0.7 * Math.sin(5 * angle - turn * 1.7);
      const reach = size + wave * shape;
      pen.lineTo(centre.x + reach * Math.cos(angle), centre.y + reach * Math.sin(angle));
    }
    pen.closePath();
    const light = { x: centre.x - size * 0.32, y: centre.y - size * 0.42 };
    const fill = pen.createRadialGradient(light.x, light.y, 0, centre.x, centre.y, size * 1.08);
    fill.addColorStop(0, this.#colours.gold);
    fill.addColorStop(0.6, this.#colours.ember);
    fill.addColorStop(1, this.#colours.rim);
    pen.save();
    pen.fillStyle = this.#colours.paper;
    pen.fill(); // the staff does not show through
    pen.globalAlpha = (held ? 0.55 : muted ? 0.45 : 0.9) + 0.1 * awake;
    pen.fillStyle = fill;
    pen.fill();
    pen.restore();
  }

  #drawThought(centre, radius) {
    const pen = this.#pen;
    const orbit = radius * 1.17;
    for (let i = 0; i < 3; i += 1) {
      const angle = this.#time * 2.6 - i * 0.34 - Math.PI / 2;
      pen.globalAlpha = this.#glow.thought * (1 - i * 0.3);
      pen.fillStyle = this.#colours.rubric;
      const side = radius * (0.085 - i * 0.015);
      const x = centre.x + orbit * Math.cos(angle);
      const y = centre.y + orbit * Math.sin(angle);
      pen.fillRect(x - side / 2, y - side / 2, side, side);
    }
    pen.globalAlpha = 1;
  }
}
