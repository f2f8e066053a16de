// What is looked at is in the address: the view, and after a question mark its filters or its operating point.

export const view = () => location.hash.slice(1).split("?")[0];
export const asked = () => new URLSearchParams(location.hash.split("?")[1] ?? "");

// Writes the address without a step in the history; empty values are left out.
export function remember(name, values) {
  if (view() !== name && !(view() === "" && name !== "")) return;
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined));
  history.replaceState(null, "", `#${name}${query.size ? `?${query}` : ""}`);
}
