// Follows a run. The server sends whole drawings, numbered; the newest wins, and a reload would show the same.
// The indicator says what is true: when the portal last looked, not whether a socket happens to be open.
(() => {
  const page = document.getElementById("live");
  if (!page) return;
  const indicator = document.getElementById("connection");
  const DELAYED_S = 12;
  let socket = null;
  let newest = 0;
  let fresh = Date.now();
  let attempts = 0;
  let chartsKey = page.dataset.charts;
  let looking = page.dataset.askedRound || "";
  let refused = false;
  let queued = [];
  let morphing = false;

  function say(state, seconds) {
    const word = indicator.dataset[state].replace("{n}", seconds ?? "");
    indicator.dataset.state = state;
    const place = indicator.querySelector(".connection-word");
    if (place.textContent !== word) place.textContent = word;
  }

  function tell() {
    if (refused) return say("closed");
    const age = Math.round((Date.now() - fresh) / 1000);
    if (!socket || socket.readyState !== WebSocket.OPEN) say(attempts ? "reconnecting" : "connecting");
    else if (age > DELAYED_S) say("delayed", age);
    else say("live");
  }

  async function draw(message) {
    if (message.seq < newest) return;
    newest = message.seq;
    if (morphing) { queued.push(message); return; }
    morphing = true;
    for (const [name, html] of Object.entries(message.html)) await put(page.querySelector(`[data-part="${name}"]`), html);
    for (const [name, list] of Object.entries(message.lists)) await arrange(page.querySelector(`[data-list="${name}"]`), list);
    if (message.charts) await drawCharts(message.charts, message.charts_key);
    else if (message.html.state) window.charts.redraw();
    follow();
    morphing = false;
    if (queued.length) draw(queued.shift());
  }

  function localised(html) {
    const drawing = document.createElement("div");
    drawing.innerHTML = html;
    window.shell.localise(drawing);
    return drawing;
  }

  async function put(place, html) {
    await htmx.swap({ target: place, text: localised(html).innerHTML, swap: "innerMorph" });
  }

  // A list's new and changed items, and the order of all of them where that changed.
  async function arrange(place, list) {
    const added = {};
    for (const [id, html] of Object.entries(list.items)) {
      const known = document.getElementById(id);
      if (known) await htmx.swap({ target: known, text: localised(html).innerHTML, swap: "outerMorph" });
      else added[id] = localised(html).firstElementChild;
    }
    if (!list.order) return;
    let next = place.firstElementChild;
    for (const id of list.order) {
      const item = added[id] || document.getElementById(id);
      if (item === next) next = next.nextElementSibling;
      else place.insertBefore(item, next);
    }
    while (next) { const gone = next; next = next.nextElementSibling; gone.remove(); }
  }

  async function drawCharts(charts, key) {
    chartsKey = key;
    await put(document.getElementById("charts"), charts.html);
    window.charts.show(charts.figures);
    document.dispatchEvent(new CustomEvent("versioned")); // what else the page shows of a version asks for itself
  }

  function follow() {
    const state = document.getElementById("live-state").dataset.state;
    for (const element of document.querySelectorAll("[data-when]")) element.hidden = !element.dataset.when.split(" ").includes(state);
    tick();
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-elapsed-since]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - new Date(element.dataset.elapsedSince)) / 1000));
      const text = window.shell.duration(seconds);
      if (element.textContent !== text) element.textContent = text;
    }
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = new URLSearchParams({ lang: document.documentElement.lang, charts: chartsKey, round: looking });
    const opened = socket = new WebSocket(`${scheme}://${location.host}${page.dataset.socket}?${query}`);
    newest = 0;
    queued = [];
    socket.addEventListener("open", () => { attempts = 0; fresh = Date.now(); tell(); });
    socket.addEventListener("message", (event) => {
      if (opened !== socket) return;
      const message = JSON.parse(event.data);
      fresh = Date.now() - 1000 * (message.beat || 0);
      if (message.html) draw(message);
      tell();
    });
    socket.addEventListener("close", (event) => {
      refused = event.code === 4403 || event.code === 4404;
      attempts += 1;
      tell();
      if (refused) return;
      setTimeout(connect, Math.min(500 * 2 ** attempts, 10000) * (0.5 + Math.random() / 2));
    });
  }

  function look(round, push) {
    looking = round;
    if (push) history.pushState({ round }, "", round ? `?round=${round}` : location.pathname);
    socket.send(JSON.stringify({ round }));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-look]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || socket?.readyState !== WebSocket.OPEN) return;
    event.preventDefault();
    if (!link.classList.contains("disabled")) look(link.dataset.look, true);
  });
  window.addEventListener("popstate", () => {
    const round = new URLSearchParams(location.search).get("round") || "";
    if (socket?.readyState === WebSocket.OPEN) look(round, false); else location.reload();
  });
  window.addEventListener("online", () => { if (socket?.readyState === WebSocket.CLOSED) connect(); });
  setInterval(() => { tell(); tick(); }, 1000);
  window.liveSocket = { drop: () => socket.close(), get state() { return indicator.dataset.state; } };
  follow();
  connect();
})();
