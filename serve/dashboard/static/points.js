// What thresholds give, read from an evaluation's points. Nothing is computed here that the evaluation knows.

const NEAR = 1e-9;

// The first point at or above a threshold: what holds there holds at the threshold, if it is a multiple of 0.001.
export function pointAt(points, threshold) {
  let [low, high] = [0, points.threshold.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points.threshold[middle] >= threshold - NEAR) high = middle;
    else low = middle + 1;
  }
  return low;
}

export function nearest(values, wanted) {
  let best = 0;
  for (let k = 1; k < values.length; k++) if (Math.abs(values[k] - wanted) < Math.abs(values[best] - wanted)) best = k;
  return best;
}

// A threshold as it can be asked for: one of the points, or a multiple of 0.001.
export function asked(points, threshold) {
  const clipped = Math.min(1, Math.max(0, threshold));
  const exact = points.threshold[pointAt(points, clipped)];
  return Math.abs(exact - clipped) < 1e-6 ? exact : Math.round(1000 * clipped) / 1000;
}

// Thresholds from just below the lowest win rate to just above the highest.
export function span(points) {
  const inner = points.threshold.filter((t) => t > 0 && t < 1);
  if (!inner.length) return [0, 1];
  return [Math.floor(100 * inner[0]) / 100, Math.ceil(100 * inner.at(-1)) / 100];
}

// `prices` are of the reference (strong) and the cheapest (weak).
export function dollarsOf(points, prices) {
  return points.usd ?? points.share.map((share) => share * prices.strong + (1 - share) * prices.weak);
}

// Every figure at one point as [value, standard error]; null where it is not known.
export function figuresAt(points, k, prices) {
  const figure = (name) => (points[name] ? [points[name][k], points[`${name}_error`]?.[k] ?? null] : null);
  const share = figure("share");
  let [usd, saving] = [figure("usd"), figure("saving")];
  if (!usd) {
    const apart = Math.abs(prices.strong - prices.weak);
    usd = [dollarsOf({ share: [share[0]] }, prices)[0], share[1] === null ? null : share[1] * apart];
    saving = prices.strong > 0 ? [1 - usd[0] / prices.strong, usd[1] / prices.strong] : null;
  }
  return { share, usd, saving, quality: figure("quality"), retained: figure("retained"), recovered: figure("recovered") };
}

// Shares of the prompts in equal bins of win rates.
export function bins(points, n = 40) {
  const [low, high] = span(points);
  const width = Math.max(1, Math.round((1000 * (high - low)) / n)) / 1000;
  const above = (threshold) => (threshold > 1 ? 0 : points.share[pointAt(points, threshold)]);
  const found = [];
  for (let from = low; from < high - NEAR; from = Math.round(1000 * (from + width)) / 1000) {
    found.push({ from, to: from + width, share: above(from) - above(Math.round(1000 * (from + width)) / 1000) });
  }
  return found;
}
