// Sets the colours before anything is painted; the button goes through system, light and dark.
(() => {
  const words = { system: "as the system has them", light: "light", dark: "dark" };
  const marks = { system: "◐", light: "☀", dark: "☾" };
  const names = Object.keys(words);
  const root = document.documentElement;
  let theme = localStorage.getItem("pointsman-theme");
  if (!names.includes(theme)) theme = "system";
  root.dataset.theme = theme;

  function show(button) {
    root.dataset.theme = theme;
    button.textContent = marks[theme];
    button.setAttribute("aria-label", `Colours: ${words[theme]}`);
    button.title = button.getAttribute("aria-label");
    window.dispatchEvent(new Event("themechange"));
  }

  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    show(button);
    button.addEventListener("click", () => {
      theme = names[(names.indexOf(theme) + 1) % names.length];
      localStorage.setItem("pointsman-theme", theme);
      show(button);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(button));
  });
})();
