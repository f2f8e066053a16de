// Makes elements. Text is always text: nothing here, and nothing in the page, reads HTML.

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export function legend(id, entries) {
  byId(id).replaceChildren(...entries.map(([words, colour, shape = "line"]) => {
    const mark = el("span", { class: `mark ${shape}` });
    mark.style.color = colour;
    return el("span", {}, mark, words);
  }));
}

// Head and body of a table whose rows become lists of labelled figures where the page is narrow (`.stack` in views.css).
export function tableParts(head, rows, kind = "number") {
  return [el("thead", {}, el("tr", {}, ...head.map((words, k) => el("th", { scope: "col", class: k ? kind : null }, words)))),
    el("tbody", {}, ...rows.map(([first, ...cells]) => el("tr", {}, el("th", { scope: "row", "data-label": head[0] }, first),
      ...cells.map((words, k) => el("td", { class: kind, "data-label": head[k + 1] }, words)))))];
}

export function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, words]) => el("option", { value, selected: value === chosen }, words)));
}
