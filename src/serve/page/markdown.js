// Shows the Markdown that models write: paragraphs, headings, lists, quotes, tables, code, and emphasis inside of them.
// Builds nodes and never markup, so that nothing a model says can become part of the page's code.
import { copy, el, iconButton } from "./dom.js";

const kInline = [
  { open: /^(`+)([^]*?[^`])\1(?!`)/, make: (m) => el("code", {}, m[2].trim() || m[2]) },
  { open: /^\*\*(?=\S)([^]*?\S)\*\*/, make: (m) => el("strong", {}, inline(m[1])) },
  { open: /^__(?=\S)([^]*?\S)__(?!\w)/, make: (m) => el("strong", {}, inline(m[1])), word: true },
  { open: /^~~(?=\S)([^]*?\S)~~/, make: (m) => el("s", {}, inline(m[1])) },
  { open: /^\*(?=[^\s*])([^*]*?[^\s*])\*(?!\*)/, make: (m) => el("em", {}, inline(m[1])) },
  { open: /^_(?=[^\s_])([^_]*?[^\s_])_(?!\w)/, make: (m) => el("em", {}, inline(m[1])), word: true },
  { open: /^\[([^\]\n]+)\]\(([^)\s]+)\)/, make: (m) => link(m[1], m[2]) },
];

function link(text, target) {
  let url = null;
  try {
    url = new URL(target);
  } catch {
    // A path of no site: shown as it was written.
  }
  if (!url || !["http:", "https:", "mailto:"].includes(url.protocol)) return `[${text}](${target})`;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, inline(text));
}

function inline(text) {
  const out = [];
  let plain = "";
  for (let at = 0; at < text.length;) {
    const c = text[at];
    if (c === "\\" && /[\\`*_~[\]#>-]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
      continue;
    }
    let found = null;
    if ("`*_~[".includes(c)) {
      const rest = text.slice(at);
      for (const rule of kInline) {
        const match = rule.word && /\w/.test(text[at - 1] ?? "") ? null : rule.open.exec(rest);
        if (match) {
          found = { node: rule.make(match), length: match[0].length };
          break;
        }
      }
    }
    if (found) {
      if (plain) out.push(plain);
      plain = "";
      out.push(found.node);
      at += found.length;
    } else if (c === "`") {
      const run = /^`+/.exec(text.slice(at))[0];
      plain += run;
      at += run.length;
    } else {
      plain += c;
      at += 1;
    }
  }
  if (plain) out.push(plain);
  return out;
}

function codeBlock(code, language) {
  return el("div", { class: "code" },
            el("div", { class: "code-head" }, el("span", {}, language || "code"),
               iconButton("copy", "Copy the code", () => copy(code, "Code copied"))),
            el("pre", { tabindex: "0" }, el("code", {}, code)));
}

const kItem = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const kFence = /^\s{0,3}(`{3,}|~{3,})\s*([^\s`]*)[^`]*$/;
const kRule = /^\s{0,3}([-*_])(\s*\1){2,}\s*$/;
const kHeading = /^\s{0,3}(#{1,6})\s+(.*?)\s*#*$/;
const isTable = (lines, at) =>
  lines[at].includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(lines[at + 1] ?? "") &&
  lines[at + 1].includes("|");
const starts = (line) => kItem.test(line) || kFence.test(line) || kRule.test(line) || kHeading.test(line) ||
  line.startsWith(">");

function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => cell.trim());
}

function table(lines, at) {
  const head = cells(lines[at]), rows = [];
  let end = at + 2;
  for (; end < lines.length && lines[end].includes("|"); ++end) rows.push(cells(lines[end]));
  const row = (kind, list) => el("tr", {}, head.map((_, i) => el(kind, {}, inline(list[i] ?? ""))));
  const node = el("div", { class: "table", tabindex: "0" },
                  el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, rows.map((r) => row("td", r)))));
  return { node, end };
}

// The list that begins at `at`: deeper lines belong to the item above them.
function list(lines, at, depth) {
  const first = kItem.exec(lines[at]);
  const indent = first[1].length, ordered = /\d/.test(first[2]);
  const node = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(first[2], 10) } : {});
  let end = at;
  while (end < lines.length) {
    const item = kItem.exec(lines[end]);
    if (!item || item[1].length !== indent || /\d/.test(item[2]) !== ordered) break;
    const inside = [item[3]];
    for (++end; end < lines.length; ++end) {
      const line = lines[end], lead = line.length - line.trimStart().length;
      const follows = lines[end + 1] ?? "";
      if (line.trim() === "" ? !(follows.trim() && follows.length - follows.trimStart().length > indent)
                             : lead <= indent) break;
      inside.push(line.slice(Math.min(lead, indent + 2)));
    }
    node.append(el("li", {}, blocks(inside, depth + 1, true)));
    if ((lines[end] ?? "x").trim() === "" && kItem.test(lines[end + 1] ?? "")) ++end;
  }
  return { node, end };
}

// `tight`: the first paragraph stands without a <p>, as in a list's item.
function blocks(lines, depth = 0, tight = false) {
  const out = [];
  for (let at = 0; at < lines.length;) {
    const line = lines[at], fence = kFence.exec(line), heading = kHeading.exec(line);
    if (line.trim() === "") {
      ++at;
    } else if (fence) {
      const code = [];
      const closes = (l) => l.trim().startsWith(fence[1]) && l.trim().replaceAll(fence[1][0], "") === "";
      for (++at; at < lines.length && !closes(lines[at]); ++at) code.push(lines[at]);
      ++at;
      out.push(codeBlock(code.join("\n"), fence[2]));
    } else if (heading) {
      out.push(el(`h${Math.min(heading[1].length + 2, 6)}`, {}, inline(heading[2])));
      ++at;
    } else if (kRule.test(line)) {
      out.push(el("hr"));
      ++at;
    } else if (line.startsWith(">") && depth < 8) {
      const inside = [];
      for (; at < lines.length && lines[at].startsWith(">"); ++at) inside.push(lines[at].replace(/^> ?/, ""));
      out.push(el("blockquote", {}, blocks(inside, depth + 1)));
    } else if (kItem.test(line) && depth < 8) {
      const { node, end } = list(lines, at, depth);
      out.push(node);
      at = end;
    } else if (isTable(lines, at)) {
      const { node, end } = table(lines, at);
      out.push(node);
      at = end;
    } else {
      const text = [line];
      for (++at; at < lines.length && lines[at].trim() && !starts(lines[at]) && !isTable(lines, at); ++at)
        text.push(lines[at]);
      const inner = inline(text.join("\n"));
      out.push(...(tight && out.length === 0 ? inner : [el("p", {}, inner)]));
    }
  }
  return out;
}

// The nodes of a Markdown text. An unclosed code block goes to the end, as it does while the text still streams.
export function markdown(text) {
  return blocks(text.replaceAll("\r\n", "\n").split("\n"));
}
