// What the user chose, kept in this browser only; and the form in which it is chosen.

import { Microphone } from "./microphone.js";
import { Speaker } from "./speaker.js";

const KEPT = "antiphon.settings";
const DEFAULTS = {
  mode: "free", // or push
  microphone: "",
  loudspeaker: "",
  line: "auto", // or full, small
  voice: "",
  speed: 1,
  pace: "normal",
  language: "",
  instructions: "",
};

/** What was kept; anything that is not of its kind is as if it were not there. */
export function loadSettings() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}") ?? {};
    const sane = Object.entries(kept).filter(([name, value]) => typeof value === typeof DEFAULTS[name]);
    return { ...DEFAULTS, ...Object.fromEntries(sane) };
  } catch {
    return { ...DEFAULTS }; // no storage in this browser
  }
}

/** The part that the server is told; "" is what it has itself, so that a choice can be taken back. */
export function helloOf({ voice, speed, pace, language, instructions }) {
  return {
    speed,
    pace,
    voice,
    language,
    instructions: instructions.trim(),
  };
}

function languageName(code) {
  try {
    return new Intl.DisplayNames(undefined, { type: "language" }).of(code);
  } catch {
    return code;
  }
}

export class SettingsForm {
  #form;
  #values = loadSettings();
  #changed;
  #authorization;

  /** `changed(values)` at each choice; `authorization()`: headers for the list of voices. */
  constructor(form, changed, authorization) {
    this.#form = form;
    this.#changed = changed;
    this.#authorization = authorization;
    this.#show();
    form.addEventListener("change", () => this.#take());
    form.elements.speed.addEventListener("input", () => this.#saySpeed());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#listDevices());
  }

  /** The form is about to be seen. Its lists fill up while one writes in it. */
  async open() {
    this.#show();
    await Promise.all([this.#listDevices(), this.#listVoices()]);
  }

  #take() {
    const { elements } = this.#form;
    for (const [name, value] of Object.entries(DEFAULTS)) {
      // A list that could not be filled has nothing to say.
      if (elements[name]?.value === undefined || elements[name].disabled) continue;
      const given = elements[name].value;
      this.#values[name] = typeof value === "number" ? Number(given) : given;
    }
    try {
      localStorage.setItem(KEPT, JSON.stringify(this.#values));
    } catch {
      // Then it holds as long as the page does.
    }
    this.#changed(this.#values);
  }

  #show() {
    for (const [name, value] of Object.entries(this.#values)) {
      const field = this.#form.elements[name];
      if (!field || (field.options && ![...field.options].some((o) => o.value === value))) continue;
      field.value = value;
    }
    this.#saySpeed();
  }

  #saySpeed() {
    const { speed } = this.#form.elements;
    this.#form.querySelector("output").textContent = `${Number(speed.value).toFixed(2)}×`;
  }

  async #listDevices() {
    this.#list("microphone", await Microphone.devices("audioinput"));
    const loudspeakers = Speaker.canChoose ? await Microphone.devices("audiooutput") : [];
    this.#list("loudspeaker", loudspeakers);
  }

  #list(name, devices) {
    const field = this.#form.elements[name];
    const options = devices
      .filter(({ id }) => id !== "default" && id !== "communications")
      .map(({ id, label }, index) => new Option(label || `${name} ${index + 1}`, id));
    field.replaceChildren(new Option("as the browser has it", ""), ...options);
    field.value = devices.some(({ id }) => id === this.#values[name]) ? this.#values[name] : "";
    field.disabled = options.length === 0;
  }

  async #listVoices() {
    const field = this.#form.elements.voice;
    try {
      const url = new URL("v1/audio/voices", document.baseURI);
      const answer = await fetch(url, { headers: this.#authorization() });
      if (!answer.ok) throw new Error(`${answer.status}`);
      const { voices, default: usual } = await answer.json();
      const groups = grouped(voices);
      field.replaceChildren(
        new Option(`as the server has it: ${usual}`, ""),
        ...[...groups].map(([language, members]) => {
          const group = document.createElement("optgroup");
          group.label = languageName(language);
          group.append(...members.map(({ id }) => new Option(id, id)));
          return group;
        }),
      );
      field.value = voices.some(({ id }) => id === this.#values.voice) ? this.#values.voice : "";
      field.disabled = false;
    } catch {
      field.disabled = true; // the server's own voice then
    }
  }
}

function grouped(voices) {
  const groups = new Map();
  for (const voice of voices) {
    const { language } = voice;
    groups.set(language, [...(groups.get(language) ?? []), voice]);
  }
  return groups;
}
