// Copies what the pages use from node_modules to static/vendor, so that a clone runs offline and without node.
// Source maps are not shipped; VENDORED.json says what each file is and its SHA-256, which a test checks.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const modules = process.argv[2] ?? join(import.meta.dirname, "node_modules");
const target = join(import.meta.dirname, "..", "static", "vendor");
const FILES = [
  ["@tabler/core", "dist/css/tabler.min.css", "tabler.min.css"],
  ["@tabler/core", "dist/js/tabler.min.js", "tabler.min.js"],
  ["htmx.org", "dist/htmx.min.js", "htmx.min.js"],
  ["plotly.js-basic-dist-min", "plotly-basic.min.js", "plotly-basic.min.js"],
  ["@fontsource-variable/inter", "files/inter-latin-wght-normal.woff2", "inter-latin.woff2"],
];

const about = (name) => JSON.parse(readFileSync(join(modules, name, "package.json"), "utf8"));
const record = {};

function put(file, text, name) {
  writeFileSync(join(target, file), text);
  const { version, license } = about(name);
  record[file] = { package: name, version, licence: license, sha256: createHash("sha256").update(text).digest("hex") };
}

const withoutSourceMap = (bytes) => bytes.toString("utf8").replace(/\n?\/[/*]# sourceMappingURL=.*$/m, "");

function licences() {
  const names = [...new Set(Object.values(record).map((item) => item.package))];
  return names.map((name) => {
    const file = readdirSync(join(modules, name)).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file ? readFileSync(join(modules, name, file), "utf8") : `${about(name).license}, see ${about(name).homepage}\n`;
    return `==== ${name} ====\n${text}`;
  }).join("\n");
}

function sprite() {
  const names = readFileSync(join(import.meta.dirname, "icons.txt"), "utf8").split("\n").filter(Boolean);
  const symbols = names.map((name) => {
    const svg = readFileSync(join(modules, "@tabler/icons/icons/outline", `${name}.svg`), "utf8");
    const drawing = svg.slice(svg.indexOf(">") + 1, svg.lastIndexOf("</svg>"));
    const shapes = drawing.replace(/<path stroke="none"[^>]*\/>/, "").replace(/\s*\n\s*/g, "");
    return `<symbol id="${name}" viewBox="0 0 24 24">${shapes}</symbol>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`;
}

mkdirSync(target, { recursive: true });
for (const [name, source, file] of FILES) {
  const bytes = readFileSync(join(modules, name, source));
  put(file, /\.(css|js)$/.test(file) ? withoutSourceMap(bytes) : bytes, name);
}
put("icons.svg", sprite(), "@tabler/icons");
writeFileSync(join(target, "LICENCES.txt"), licences());
writeFileSync(join(target, "VENDORED.json"), JSON.stringify(record, null, 2) + "\n");
