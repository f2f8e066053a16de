// uPlot in the page's colours: one place for axes, fonts, resizing and themes.

import { el } from "./el.js";
import { number, percent } from "./numbers.js";

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Tick marks with as many digits as their distance needs.
const digits = (step) => (String(step).split(".")[1] ?? "").length;
export const numbers = (u, values, axis, space, step) => values.map((value) => number(value, digits(step)));
export const percents = (u, values, axis, space, step) => values.map((value) => percent(value, Math.max(0, digits(step) - 2)));

function axis(words, values, size) {
  const font = "12px system-ui, sans-serif";
  return {
    stroke: colour("faint"), font, labelFont: font, label: words, labelSize: words ? 18 : 0, labelGap: 0, size, gap: 4, values,
    grid: { stroke: colour("grid"), width: 1 }, ticks: { stroke: colour("grid"), width: 1, size: 4 },
  };
}

// A chart that is made again when the colours change. `describe` gives uPlot's series, bands, scales and hooks.
export class Chart {
  constructor(element, describe) {
    this.element = element;
    this.describe = describe;
    this.data = null;
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(element);
    window.addEventListener("themechange", () => this.make());
  }

  size() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  // New data; with `whole`, new series as well.
  show(data, { whole = false, words } = {}) {
    this.data = data;
    if (words) this.label(words);
    if (whole || !this.plot) this.make();
    else this.plot.setData(data);
  }

  label(words) {
    this.element.setAttribute("role", "img");
    this.element.setAttribute("aria-label", words);
  }

  redraw() {
    this.plot?.redraw(false);
  }

  clear(words) {
    this.plot?.destroy();
    this.plot = this.data = null;
    this.element.replaceChildren(words);
    this.element.classList.add("empty");
  }

  make() {
    if (!this.data || !this.element.clientWidth) return;
    this.plot?.destroy();
    this.element.classList.remove("empty");
    this.element.replaceChildren();
    const { x, y, tip, hooks, ...rest } = this.describe();
    const bubble = el("div", { class: "tip", hidden: true, "aria-hidden": "true" });
    this.plot = new uPlot({
      ...this.size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, x: true, y: false },
      hooks: { ...hooks, setCursor: [(u) => point(u, bubble, tip)] },
      padding: [10, 24, 0, 0],
      axes: [axis(x.words, x.values, 34), axis(y.words, y.values, y.size ?? 50)],
      ...rest,
    }, this.data, this.element);
    this.plot.over.append(bubble);
  }
}

// What is at the cursor, in numbers, on the side of it where there is room.
function point({ cursor, over }, bubble, tip) {
  const words = cursor.idx == null || cursor.left < 0 ? "" : tip(cursor.idx);
  bubble.hidden = !words;
  if (!words) return;
  bubble.textContent = words;
  const room = over.clientWidth - bubble.offsetWidth;
  bubble.style.left = `${Math.max(0, Math.min(room, cursor.left < over.clientWidth / 2 ? cursor.left + 10 : cursor.left - bubble.offsetWidth - 10))}px`;
}

// Marks on a finished drawing, in the chart's own coordinates.
export function pen(u) {
  const { ctx } = u;
  const at = (x, y) => [u.valToPos(x, "x", true), u.valToPos(y, "y", true)];
  const scale = devicePixelRatio;
  return {
    line(from, to, { stroke, width = 1.5, dash = [] }) {
      ctx.save();
      ctx.beginPath();
      ctx.moveTo(...at(...from));
      ctx.lineTo(...at(...to));
      ctx.strokeStyle = stroke;
      ctx.lineWidth = width * scale;
      ctx.setLineDash(dash.map((part) => part * scale));
      ctx.stroke();
      ctx.restore();
    },
    dot(place, { fill, ring, radius = 5 }) {
      ctx.save();
      ctx.beginPath();
      ctx.arc(...at(...place), radius * scale, 0, 2 * Math.PI);
      ctx.fillStyle = fill;
      ctx.fill();
      if (ring) {
        ctx.strokeStyle = ring;
        ctx.lineWidth = 2 * scale;
        ctx.stroke();
      }
      ctx.restore();
    },
    words(text, place, { fill, dx = 0, dy = 0, align = "left" }) {
      ctx.save();
      ctx.font = `${12 * scale}px system-ui, sans-serif`;
      ctx.fillStyle = fill;
      ctx.textAlign = align;
      const [x, y] = at(...place);
      ctx.fillText(text, x + dx * scale, y + dy * scale);
      ctx.restore();
    },
  };
}
