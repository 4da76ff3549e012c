// Draws the figures that the server built. A figure has no theme of its own: text and grid lines take the page's colours.
(() => {
  const drawn = new Map();
  const CONFIG = { displayModeBar: false, responsive: true };

  // Plotly reads sRGB only, and Tabler's variables are oklch: a probe resolves them and a canvas translates.
  const probe = document.body.appendChild(Object.assign(document.createElement("span"), { hidden: true }));
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  function rgb(name) {
    probe.style.color = `var(${name})`;
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return `rgba(${r},${g},${b},${a / 255})`;
  }

  function themed(figure) {
    const ink = rgb("--tblr-body-color");
    const soft = rgb("--tblr-secondary");
    const line = rgb("--tblr-border-color");
    const surface = rgb("--tblr-bg-surface");
    const axis = { gridcolor: line, linecolor: line, zeroline: false, showline: false, ticks: "", tickfont: { color: soft, size: 11 }, automargin: true, fixedrange: true };
    const layout = {
      ...figure.layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      hoverlabel: { bgcolor: surface, bordercolor: line, font: { color: ink, size: 12 } },
      xaxis: { ...axis, showgrid: false, ...figure.layout.xaxis }, yaxis: { ...axis, ...figure.layout.yaxis },
      shapes: [...(figure.layout.shapes || []), ...marker(soft)], transition: { duration: 0 },
    };
    const data = figure.data.map((trace) => trace.meta !== "ink" ? trace : {
      ...trace, line: { ...trace.line, color: ink }, marker: { ...trace.marker, color: ink },
      ...(trace.error_y ? { error_y: { ...trace.error_y, color: ink } } : {}),
    });
    return { data, layout };
  }

  // The round that the page looks back at.
  function marker(colour) {
    const state = document.getElementById("live-state");
    if (!state || !state.dataset.past) return [];
    const x = Number(state.dataset.viewed);
    return [{ type: "line", x0: x, x1: x, yref: "paper", y0: 0, y1: 1, line: { color: colour, width: 1, dash: "dot" } }];
  }

  // A chart is drawn when it is in sight: a run that moves eight times a second must leave the page responsive.
  const insight = new Set();
  const stale = new Set();
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const name = target.dataset.figure;
      if (isIntersecting) { insight.add(name); draw(name); } else insight.delete(name);
    }
  }, { rootMargin: "120px" });

  function draw(name, anyway) {
    const element = document.querySelector(`[data-figure="${name}"]`);
    if (!element || !window.Plotly || !stale.has(name) || !(anyway || insight.has(name))) return;
    stale.delete(name);
    const { data, layout } = themed(drawn.get(name));
    Plotly.react(element, data, layout, CONFIG);
  }

  function show(figures) {
    for (const [name, figure] of Object.entries(figures)) {
      if (JSON.stringify(drawn.get(name)) === JSON.stringify(figure)) continue;
      drawn.set(name, figure);
      stale.add(name);
    }
    for (const element of document.querySelectorAll("[data-figure]")) observer.observe(element);
    for (const name of drawn.keys()) draw(name);
    whenIdle(settle);
  }

  // Charts out of sight get a first drawing one by one while nothing else happens, so that no print or capture shows a frame.
  const whenIdle = window.requestIdleCallback ? (act) => requestIdleCallback(act, { timeout: 1500 }) : (act) => setTimeout(act, 200);
  const settled = new Set();
  function settle() {
    const name = [...drawn.keys()].find((key) => !settled.has(key));
    if (!name) return;
    settled.add(name);
    draw(name, true);
    whenIdle(settle);
  }

  function redraw() {
    for (const name of drawn.keys()) { stale.add(name); draw(name); }
  }

  window.charts = { show, redraw };
  // Paper is white: charts are drawn in the light theme's ink while the page is printed, whatever the screen's theme.
  let screen = null;
  function forPaper(printing) {
    const root = document.documentElement;
    if (printing === (screen !== null)) return;
    if (printing) { screen = root.dataset.bsTheme; root.dataset.bsTheme = "light"; } else { root.dataset.bsTheme = screen; screen = null; }
    for (const name of drawn.keys()) { stale.add(name); draw(name, printing); }
  }
  window.addEventListener("beforeprint", () => forPaper(true));
  window.addEventListener("afterprint", () => forPaper(false));
  matchMedia("print").addEventListener("change", (event) => forPaper(event.matches));
  document.addEventListener("theme-changed", () => requestAnimationFrame(redraw));
  const first = document.getElementById("figures");
  if (first) show(JSON.parse(first.textContent));
})();
