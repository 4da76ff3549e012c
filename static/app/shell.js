// What every page does in the browser: times in the reader's zone, copy buttons, theme choice, confirmations.
(() => {
  const page = document.documentElement.lang;
  // en is the page's language, en-GB the reader's own way to write a date in it.
  const language = navigator.languages.find((own) => own.split("-")[0] === page.split("-")[0]) || page;
  const words = JSON.parse(document.getElementById("shell-words")?.textContent || "{}");
  const sameDay = (instant) => instant.toDateString() === new Date().toDateString();
  const absolute = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
  const minute = new Intl.DateTimeFormat(language, { timeStyle: "short" });
  const short = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  const STEPS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function ago(instant) {
    const seconds = Math.round((instant - Date.now()) / 1000);
    const [unit, size] = STEPS.find(([, size]) => Math.abs(seconds) >= size) || STEPS[3];
    return relative.format(Math.trunc(seconds / size), unit);
  }

  // A live fragment is drawn by the server in UTC; each drawing is put into the reader's zone before it is seen.
  function localise(root) {
    for (const element of root.querySelectorAll("time[data-instant]")) {
      const instant = new Date(element.dateTime);
      const style = element.dataset.instant;
      const text = style === "ago" ? ago(instant) : style === "clock" ? clock.format(instant) : style === "short" && sameDay(instant) ? minute.format(instant)
        : style === "long" ? absolute.format(instant) : short.format(instant);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  // The same words as the server's duration_text.
  function duration(seconds) {
    const [days, hours, minutes] = [86400, 3600, 60].map((size) => Math.floor(seconds / size));
    const [pattern, one, two] = seconds < 60 ? [words.seconds, seconds] : seconds < 3600 ? [words.minutes, minutes, seconds % 60]
      : seconds < 86400 ? [words.hours, hours, minutes % 60] : [words.days, days, hours % 24];
    return pattern.replace("{1}", one).replace("{2}", two);
  }

  async function copy(button) {
    await navigator.clipboard.writeText(button.dataset.copy);
    const before = button.getAttribute("aria-label");
    button.classList.add("copied");
    button.setAttribute("aria-label", words.copied);
    setTimeout(() => { button.classList.remove("copied"); button.setAttribute("aria-label", before); }, 1500);
  }

  function markTheme() {
    const choice = document.documentElement.dataset.themeChoice;
    for (const item of document.querySelectorAll("[data-choose-theme]")) {
      const chosen = item.dataset.chooseTheme === choice;
      item.classList.toggle("active", chosen);
      item.setAttribute("aria-pressed", String(chosen));
    }
  }

  document.addEventListener("click", (event) => {
    const copied = event.target.closest("[data-copy]");
    if (copied) { event.preventDefault(); copy(copied); }
    const theme = event.target.closest("[data-choose-theme]");
    if (theme) { window.chooseTheme(theme.dataset.chooseTheme); markTheme(); }
  });
  document.addEventListener("change", (event) => {
    if (event.target.closest("[data-submit-on-change]")) event.target.form.requestSubmit();
  });
  // A form is sent once: a second click on a slow line must not ask twice.
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    if (event.target.dataset.sent) { event.preventDefault(); return; }
    event.target.dataset.sent = "yes";
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      const box = document.getElementById("search-box");
      if (box && box.offsetParent) { event.preventDefault(); box.focus(); }
    }
  });
  document.addEventListener("htmx:after:swap", () => localise(document));
  window.shell = { localise, duration };
  localise(document);
  markTheme();
  setInterval(() => localise(document), 10000);
})();
