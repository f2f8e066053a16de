// Numbers in words.

const fixed = (digits) => new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const cache = new Map();

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!cache.has(digits)) cache.set(digits, fixed(digits));
  return cache.get(digits).format(value);
}

export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${number(100 * value, digits)} %`);

export function dollars(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return `${value < 0 ? "−" : ""}$${number(size, size === 0 || size >= 0.995 ? 2 : size >= 0.01 ? 4 : 6)}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${number(value / 1000, 2)} s` : `${number(value, value < 10 ? 2 : 0)} ms`;
}

export const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");
export const moment = (at) => `${new Date(1000 * at).toISOString().slice(0, 10)} ${clock(at)}`;
