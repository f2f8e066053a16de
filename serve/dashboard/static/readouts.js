// The numbers at the operating point, each with its 95 % interval where outcomes are known.

import { byId, el } from "./el.js";
import { dollars, number, percent } from "./numbers.js";

const Z = 1.96;

export class Readouts {
  constructor() {
    this.cards = ["share", "usd", "saving", "retained"].map((name) => {
      const card = { value: el("div", { class: "value", "data-figure": name }), title: el("h3"), note: el("p"), more: el("p") };
      byId("readouts").append(el("div", { class: "card" }, card.title, card.value, card.note, card.more));
      return card;
    });
    this.later = null;
  }

  show({ point, threshold, pricedBy, row, roles, evaluation, k }) {
    const [share, usd, saving, quality] = this.cards;
    const within = (figure, format, low = -Infinity, high = Infinity) => figure === null || figure[1] === null ? "" :
      `${format(Math.max(low, figure[0] - Z * figure[1]))} to ${format(Math.min(high, figure[0] + Z * figure[1]))}`;
    fill(share, roles.share, percent(point.share[0]), within(point.share, percent, 0, 1), roles.many ? "cheapest to reference" : "of prompts like these");
    const asked = row.dollars?.curve[k].asked?.map((part, i) => [evaluation.candidates[i], part]).filter(([, part]) => part > 0);
    byId("asked").hidden = !asked;
    byId("asked").textContent = asked ? `Asked at this point: ${asked.map(([name, part]) => `${name} ${percent(part)}`).join(", ")}` : "";
    fill(usd, "Cost per 1,000", dollars(point.usd[0]), within(point.usd, dollars, 0), pricedBy);
    fill(saving, "Saved", percent(point.saving?.[0]), within(point.saving, percent), `against ${roles.always}`);
    if (point.quality && evaluation.expected) {
      fill(quality, "Expected quality", percent(point.retained?.[0] ?? null), `of ${roles.reference}'s`, "not measured");
    } else if (point.quality) {
      fill(quality, "Quality retained", percent(point.retained?.[0] ?? null), within(point.retained, percent),
        `${number(point.quality[0], 3)}` + (point.recovered ? `, ${percent(point.recovered[0], 0)} of the gap` : " on average"));
    } else {
      fill(quality, "Quality retained", "not known", "no outcomes here", "look at an evaluation");
    }
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      byId("said").textContent = `Threshold ${threshold}: ${roles.spent(percent(point.share[0]))}, ${dollars(point.usd[0])} for 1,000 prompts` +
        (point.retained ? `, ${percent(point.retained[0])} of ${roles.reference}'s quality${evaluation.expected ? ", as expected" : ""}` : "") + ".";
    }, 400);
  }
}

function fill(card, title, value, note, more) {
  card.title.textContent = title;
  card.value.textContent = value;
  card.note.textContent = note || "\u00a0";
  card.more.textContent = more || "\u00a0";
}
