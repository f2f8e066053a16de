// What people read for the models that are routed among: of two their parts, strong and weak; of more their names.

export function roles({ candidates, pair: [reference, cheapest] }) {
  if (candidates.length === 2) {
    return {
      many: false, reference: "the strong model", always: "always strong", to: "to strong", share: "Strong share",
      shareTitle: "Share of strong calls", percent: "Percent to strong", spent: (part) => `${part} to strong`,
    };
  }
  return {
    many: true, reference, always: `always ${reference}`, to: `to ${reference}`, share: "Share of spending",
    shareTitle: `Share of spending, from ${cheapest} (0) to ${reference} (100 %)`, percent: "Percent of spending",
    spent: (part) => `${part} of the way from ${cheapest}'s bill to ${reference}'s`,
  };
}
