// One prompt, the decision on it, and the answers of all candidates side by side.

import { read, request, whatIsWrong } from "./api.js";
import { byId, el } from "./el.js";
import { events } from "./events.js";
import { milliseconds, number, percent } from "./numbers.js";
import { reasons } from "./reasons.js";
import { scale } from "./scale.js";

export class Playground {
  constructor(about) {
    const fields = ["auto", ...about.routers.flatMap(({ name }) => [`router-${name}`, `router-${name}-30pct`])];
    byId("fields").replaceChildren(...fields.map((value) => el("option", { value })));
    byId("ask-field").value = "auto";
    const many = (this.many = about.candidates.length > 2);
    if (many) document.querySelector("#ask button").textContent = `Ask all ${about.candidates.length}`;
    if (many) byId("about-asking").textContent = `Try a prompt. All ${about.candidates.length} candidates are asked: this costs what as many answers cost.`;
    this.answers = (many ? about.candidates : about.pair).map((model, k) => {
      const made = { tag: el("span", { class: "tag", hidden: true }, "chosen"), text: el("div", { class: "text" }), note: el("p", { class: "faint" }) };
      const kind = k ? "weak" : "strong";
      const role = many ? (k ? "candidate" : "reference") : kind;
      byId("answers").append(el("article", { class: "panel answer" },
        el("h3", {}, el("span", { class: kind }, role), el("span", {}, model), made.tag), made.text, made.note));
      return { ...made, model };
    });
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask();
    });
    byId("prompt").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
    });
  }

  leave() {
    this.stop?.abort();
  }

  enter() {
    const field = byId("model-field").textContent;
    if (field !== "router-mf" && byId("ask-field").value === "auto") byId("ask-field").value = field;
  }

  async ask() {
    this.stop?.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    const prompt = byId("prompt").value;
    for (const answer of this.answers) {
      answer.tag.hidden = true;
      answer.text.textContent = "";
      answer.note.textContent = "waiting";
    }
    await Promise.allSettled([this.decide(prompt, signal), ...this.answers.map((answer) => this.stream(answer, prompt, signal))]);
  }

  async decide(prompt, signal) {
    const verdict = byId("verdict");
    try {
      const decision = await read("/v1/route", { body: { model: byId("ask-field").value || "auto", prompt, explain: true }, signal });
      for (const answer of this.answers) answer.tag.hidden = answer.model !== decision.model;
      const known = decision.win_rate != null && decision.threshold != null;
      verdict.replaceChildren(
        el("p", { class: "big" }, "Goes to ", el("strong", {}, decision.model)),
        known && !this.many ? scale(decision.win_rate, decision.threshold) : "",
        el("p", {}, known && this.many
          ? `Of ${decision.candidates.length} candidates ${decision.model} loses least, in quality and bill together, at the threshold of ${number(decision.threshold, 3)} (router ${decision.router}).`
          : known ? `The ${decision.router} router gives the strong model's answer a chance of ${percent(decision.win_rate)} to be preferred, ` +
            `${decision.win_rate >= decision.threshold ? "at or above" : "below"} the threshold of ${percent(decision.threshold)}.`
          : decision.reason),
        decision.policy ? el("p", { class: "faint" }, `The threshold comes from: ${decision.policy}`) : "",
        reasons(decision.explanation),
      );
    } catch (error) {
      if (!signal.aborted) verdict.replaceChildren(el("p", { class: "bad" }, error.message));
    }
  }

  async stream(answer, prompt, signal) {
    const began = performance.now();
    let first = null;
    try {
      const body = { model: answer.model, stream: true, messages: [{ role: "user", content: prompt }] };
      const reply = await request("/v1/chat/completions", { body, signal });
      if (!reply.ok) throw new Error(await whatIsWrong(reply));
      for await (const data of events(reply)) {
        if (data === "[DONE]") break;
        const chunk = JSON.parse(data);
        if (chunk.error) throw new Error(chunk.error.message);
        const piece = chunk.choices?.[0]?.delta?.content ?? "";
        if (piece) first ??= performance.now() - began;
        answer.text.append(piece);
      }
      answer.note.textContent = `first words after ${milliseconds(first)}, all after ${milliseconds(performance.now() - began)}`;
    } catch (error) {
      if (signal === this.stop.signal) answer.note.textContent = signal.aborted ? "stopped" : error.message;
    }
  }
}
