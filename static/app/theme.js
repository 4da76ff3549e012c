// Runs before the first paint, so that no page flashes in the other theme. "auto" follows the system.
(() => {
  const stored = () => { try { return localStorage.getItem("theme") || "auto"; } catch { return "auto"; } };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const choice = stored();
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
    document.documentElement.setAttribute("data-bs-theme", theme);
    document.documentElement.dataset.themeChoice = choice;
    document.dispatchEvent(new CustomEvent("theme-changed", { detail: theme }));
  };
  window.chooseTheme = (choice) => {
    try { localStorage.setItem("theme", choice); } catch { /* private mode: this page only */ }
    document.documentElement.dataset.themeChoice = choice;
    apply();
  };
  dark.addEventListener("change", apply);
  window.addEventListener("storage", (event) => { if (event.key === "theme") apply(); });
  apply();
})();
