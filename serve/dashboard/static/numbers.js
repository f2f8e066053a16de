// Numbers in words. Units stay on the line of their number.

const fixed = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const compact = new Intl.NumberFormat("en", { notation: "compact", minimumFractionDigits: 2, maximumFractionDigits: 2 });
const cache = new Map();

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!cache.has(digits)) cache.set(digits, fixed(digits));
  return cache.get(digits).format(value).replace("-", "−");
}

export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${number(100 * value, digits)}\u00a0%`);

// With as many digits as a column of such amounts needs.
export function dollars(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const sign = value < 0 ? "−$" : "$";
  if (size >= 999_999.5) return sign + compact.format(size);
  if (size > 0 && size <= 5e-7) return `${value < 0 ? "> −" : "< "}$0.000001`;
  return sign + number(size, size === 0 || size >= 0.995 ? 2 : size >= 0.01 ? 4 : 6);
}

// For sentences, cards and axes, as `core/dollars.py` has it: cents, below a dollar three digits, no noughts at the end.
export function money(value) {
  const size = Math.abs(value);
  if (!(size > 5e-7 && size < 0.995)) return dollars(value);
  return ((value < 0 ? "−$" : "$") + number(Number(size.toPrecision(3)), 6)).replace(/(\.\d\d\d*?)0+$/, "$1");
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 999.5 ? `${number(value / 1000, 2)}\u00a0s` : `${number(value, value < 9.995 ? 2 : 0)}\u00a0ms`;
}

export const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");
export const moment = (at) => `${new Date(1000 * at).toLocaleDateString("sv")} ${clock(at)}`;

// A loss in [-1, 1] as a change of quality in points.
export function points(loss) {
  const value = -100 * loss;
  return `${Math.abs(value) < 0.05 ? "±" : value < 0 ? "−" : "+"}${number(Math.abs(value), 1)}\u00a0points`;
}

// A number without the noise of its last digits.
export const plain = (value) => Number(Number(value).toPrecision(6));
