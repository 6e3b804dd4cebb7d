// Helpers for the document, for what the browser keeps, and for numbers. Text enters the document as text nodes only.
export const byId = (id) => document.getElementById(id);

// An element: `props` are listeners ("onclick"), properties ("value") or attributes; children are nodes or text.
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else if (["value", "checked", "disabled", "hidden"].includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// One of the symbols of index.html.
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// A button that shows an icon, and its label to those who hover or hear.
export function iconButton(name, label, onclick, text = "") {
  return el("button", { type: "button", class: text ? "ghost with-text" : "ghost", title: label,
                        "aria-label": label, onclick }, icon(name), text);
}

export function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`cairn.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

// False when the browser has no room for it, or forbids it.
export function save(name, value) {
  try {
    localStorage.setItem(`cairn.${name}`, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

// Says something to screen readers, and for a moment on the screen where `shown`.
export function say(text, shown = false) {
  byId("spoken").textContent = text;
  if (!shown) return;
  const toast = byId("toast");
  toast.textContent = text;
  toast.hidePopover();
  toast.showPopover();  // shown anew, it stands above a dialog that is open
  clearTimeout(say.timer);
  say.timer = setTimeout(() => toast.hidePopover(), 2200);
}

export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard outside of secure contexts (http on another host than localhost): the old way.
    const area = el("textarea", { value: text, class: "off-screen", "aria-hidden": "true" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("The browser does not allow copying here", true);
  }
  say(what, true);
}

// 0.0042 -> "4 ms", 1.234 -> "1.23 s", 75 -> "1 min 15 s"
export function duration(seconds) {
  if (seconds < 0.001) return "<1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

// 1234567 -> "1.23M"; small numbers keep a decimal where they have one.
export function short(n) {
  if (n >= 1e6) return `${(n / 1e6).toFixed(2)}M`;
  if (n >= 1e4) return `${(n / 1e3).toFixed(1)}k`;
  if (n >= 100 || Number.isInteger(n)) return String(Math.round(n));
  return n.toFixed(1);
}

export const plural = (n, noun) => `${short(n)} ${noun}${n === 1 ? "" : "s"}`;

// A text area as high as its text, up to what the style sheet allows.
export function grow(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + area.offsetHeight - area.clientHeight}px`;
}

// Fills a select with [value, text] pairs, keeping its choice where that is still there.
export function options(select, pairs, wanted) {
  select.replaceChildren(...pairs.map(([value, text]) => el("option", { value }, text)));
  const values = pairs.map(([value]) => value);
  if (values.includes(wanted)) select.value = wanted;
}
