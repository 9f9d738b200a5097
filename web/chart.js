// A small live chart: the last minutes of one figure, as a line over time.

const POINTS = 90;

export class Chart {
  #canvas;
  #values = [];

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** `value`: null where nothing is known. */
  add(value) {
    this.#values.push(value);
    if (this.#values.length > POINTS) this.#values.shift();
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = Math.min(2, devicePixelRatio || 1);
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const pen = this.#canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(this.#canvas);
    const most = Math.max(1, ...this.#values.filter((value) => value !== null));
    const x = (index) => width - (this.#values.length - 1 - index) * (width / (POINTS - 1));
    const y = (value) => height - 1.5 - (value / most) * (height - 4);
    pen.strokeStyle = style.getPropertyValue("--rule");
    pen.beginPath();
    pen.moveTo(0, height - 0.5);
    pen.lineTo(width, height - 0.5);
    pen.stroke();
    pen.strokeStyle = style.getPropertyValue("--rubric");
    pen.lineWidth = 1.5;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    this.#values.forEach((value, index) => {
      if (value !== null) pen[drawing ? "lineTo" : "moveTo"](x(index), y(value));
      drawing = value !== null;
    });
    pen.stroke();
  }
}
