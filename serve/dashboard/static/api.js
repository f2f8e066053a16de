// Requests to this server, with the key that it may ask for. The key lives as long as the tab.

import { byId } from "./el.js";

const STORED = "pointsman-key";
let asking = null;

export async function request(path, { body, signal } = {}) {
  for (;;) {
    const headers = {};
    const key = sessionStorage.getItem(STORED);
    if (key) headers.authorization = `Bearer ${key}`;
    if (body) headers["content-type"] = "application/json";
    const answer = await fetch(path, {
      method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, credentials: "omit", cache: "no-store",
    });
    if (answer.status !== 401) return answer;
    await askForKey(key ? "That key is not valid here." : "");
  }
}

// For another key: the page begins anew, and asks for one.
export function forgetKey() {
  sessionStorage.removeItem(STORED);
  location.reload();
}

export async function read(path, given) {
  const answer = await request(path, given);
  if (!answer.ok) throw new Error(await whatIsWrong(answer));
  return answer.json();
}

export async function whatIsWrong(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}

function askForKey(problem) {
  asking ??= new Promise((resolve) => {
    const [dialog, form] = [byId("key-dialog"), byId("key-form")];
    byId("key-problem").textContent = problem;
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      sessionStorage.setItem(STORED, byId("key").value.trim());
      byId("key").value = "";
      dialog.close();
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}
