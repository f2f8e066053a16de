// Starts the page: one view at a time, by the address's fragment.

import { forgetKey, read } from "./api.js";
import { byId } from "./el.js";
import { view } from "./place.js";

const VIEWS = ["overview", "simulator", "live", "playground"];

function complain(words) {
  byId("problem").textContent = words;
  byId("problem").hidden = !words;
}

const makers = {
  overview: async (about) => new (await import("./overview.js")).Overview(about, complain),
  simulator: async (about) => new (await import("./simulator.js")).Simulator(about, complain),
  live: async (about) => {
    for (const part of byId("live").querySelectorAll(":scope > *, .title p")) {
      part.hidden = about.admin ? part.id === "live-closed" : !part.matches(".title, #live-closed");
    }
    return about.admin ? new (await import("./live.js")).Live(about) : {};
  },
  playground: async (about) => new (await import("./playground.js")).Playground(about),
};
const made = {};

async function show(about) {
  const views = about.admin ? VIEWS : VIEWS.slice(1);
  const wanted = views.includes(view()) ? view() : views[0];
  document.querySelector('nav a[href="#overview"]').hidden = !about.admin;
  document.title = `${document.querySelector(`nav a[href="#${wanted}"]`).textContent} · Pointsman`;
  for (const name of VIEWS) {
    byId(name).hidden = name !== wanted;
    const link = document.querySelector(`nav a[href="#${name}"]`);
    if (name === wanted) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (name !== wanted && made[name]) (await made[name]).leave?.();
  }
  made[wanted] ??= makers[wanted](about);
  scrollTo(0, 0);
  (await made[wanted]).enter?.();
}

try {
  const about = await read("/api/about");
  // The link past the head of the page leads to no view, and leaves none.
  addEventListener("hashchange", () => location.hash === "#main" || show(about).catch((error) => complain(error.message)));
  byId("change-key").hidden = !about.keys;
  byId("change-key").addEventListener("click", forgetKey);
  await show(about);
} catch (error) {
  complain(error.message);
}
