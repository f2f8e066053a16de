// An evaluation of any number of candidates in the shape of one of a pair: its rows have points by threshold. The share
// is how far spending goes from the cheapest candidate's to the reference's.

export function asRows({ candidates, routers }) {
  return Object.entries(routers).map(([name, report]) => {
    const usd = report.curve.map((point) => 1000 * point.usd);
    const single = Object.fromEntries(report.singles.map((one) => [one.model, one]));
    const reference = 1000 * single[candidates[0]].usd;
    const cheapest = Math.min(...report.singles.map((one) => 1000 * one.usd));
    const best = single[candidates[0]].quality;
    const measured = report.curve[0].quality_error !== undefined; // older reports have none
    const column = (format) => report.curve.map((point, k) => format(point, usd[k]));
    return {
      name,
      dollars: report,
      points: {
        threshold: column((point) => point.threshold),
        share: column((point, cost) => (reference > cheapest ? (cost - cheapest) / (reference - cheapest) : 0)),
        quality: column((point) => point.quality),
        quality_error: measured ? column((point) => point.quality_error) : null,
        retained: best > 0 ? column((point) => point.quality / best) : null,
        retained_error: measured && best > 0 ? column((point) => point.quality_error / best) : null,
        usd,
        saving: reference > 0 ? column((point, cost) => 1 - cost / reference) : null,
      },
    };
  });
}
