// What the buttons of alarms and advice do; each says what became of it, where there is something to say.

import { read } from "./api.js";

export const actions = {
  async copy({ text }) {
    try {
      await navigator.clipboard.writeText(text);
      return "Copied";
    } catch {
      return "Select it below: no page may copy here";
    }
  },
  async post({ path, body }) {
    await read(path, { body });
  },
  async view({ path }) {
    location.hash = path;
  },
};
