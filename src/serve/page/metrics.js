// The strip of live numbers, from the server's Prometheus text. Shows what is there and leaves out what is not.
import { byId, el, plural, short } from "./dom.js";

const kPause = 1500;     // milliseconds between two looks
const kHistory = 40;     // points of the small curve

// {name: [{labels, value}]}
export function parseMetrics(text) {
  const out = {};
  for (const line of text.split("\n")) {
    if (!line || line.startsWith("#")) continue;
    const match = /^([\w:]+)(?:\{(.*)\})?\s+(\S+)/.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      .map(([, name, value]) => [name, value]));
    (out[match[1]] ??= []).push({ labels, value: Number(match[3]) });
  }
  return out;
}

const sum = (list) => list?.reduce((total, { value }) => total + value, 0);
// Of several families, of which any may be missing.
const sums = (...lists) => sum(lists.some(Boolean) ? lists.flatMap((list) => list ?? []) : undefined);
const most = (list) => list && Math.max(...list.map(({ value }) => value));
const labelled = (list, name, value) => list?.filter(({ labels }) => labels[name] === value);

function curve(points) {
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg"), line = document.createElementNS(ns, "polyline");
  svg.setAttribute("class", "curve");
  svg.setAttribute("viewBox", `0 0 ${kHistory - 1} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const top = Math.max(...points, 1);
  line.setAttribute("points", points.map((v, i) => `${i},${(9.5 - 9 * v / top).toFixed(2)}`).join(" "));
  svg.append(line);
  return svg;
}

function meter(share) {
  const bar = el("span", { class: "meter", "aria-hidden": "true" }, el("span"));
  bar.firstChild.style.width = `${Math.round(100 * Math.min(1, share))}%`;
  return bar;
}

let before = null;  // {at, tokens, prompt, steps}
const history = Array(kHistory).fill(0);

// One number of the strip.
const item = (label, value, extra, title = label) =>
  el("span", { class: "metric", title }, el("span", { class: "label" }, label), extra,
     el("span", { class: "value" }, value));

function draw(metrics) {
  const now = { at: performance.now(), tokens: sum(metrics["sglang:generation_tokens_total"]),
                prompt: sum(metrics["sglang:prompt_tokens_total"]), steps: sum(metrics["cairn:image_steps_total"]) };
  const rate = (name) => before?.[name] === undefined || now[name] === undefined ? undefined
    : Math.max(0, (now[name] - before[name]) * 1000 / (now.at - before.at));
  const items = [];
  const running = sums(metrics["sglang:num_running_reqs"], metrics["cairn:num_running_images"]);
  const queue = sums(metrics["sglang:num_queue_reqs"], metrics["cairn:num_queue_images"]);
  if (running !== undefined) items.push(item("running", short(running)));
  if (queue !== undefined) items.push(item("queue", short(queue)));
  const speed = rate("tokens") ?? sum(metrics["sglang:gen_throughput"]);
  if (speed !== undefined) {
    history.push(speed);
    history.shift();
    items.push(item("tokens/s", short(Math.round(speed)), curve(history), "tokens written a second"));
  }
  const prompt = rate("prompt");
  if (prompt !== undefined)
    items.push(item("prompt/s", short(Math.round(prompt)), null, "prompt tokens read a second"));
  const used = most(metrics["sglang:token_usage"]), hits = most(metrics["sglang:cache_hit_rate"]);
  if (used !== undefined) items.push(item("KV cache", `${(100 * used).toFixed(0)}%`, meter(used), "KV cache in use"));
  if (hits !== undefined)
    items.push(item("prefix hits", `${(100 * hits).toFixed(0)}%`, meter(hits), "prompt tokens found in the KV cache"));
  const pictures = sum(metrics["cairn:image_requests_total"]);
  if (pictures !== undefined) items.push(item("picture requests", short(pictures)));
  const steps = rate("steps"), all = now.steps;
  if (steps !== undefined) items.push(item("steps/s", short(Math.round(steps)), null, "denoising steps a second"));
  const cached = sum(labelled(metrics["cairn:image_steps_total"], "verdict", "cached"));
  if (all > 0 && cached !== undefined)
    items.push(item("steps skipped", `${(100 * cached / all).toFixed(0)}%`, meter(cached / all),
                    `${plural(cached, "step")} from the step cache, of ${short(all)}`));
  before = now;
  show(true, items);
}

function show(reachable, items) {
  const state = el("span", { class: reachable ? "state" : "state lost" }, reachable ? "live" : "not reachable");
  byId("strip").replaceChildren(state, ...items);
}

async function look() {
  let pause = kPause;
  if (document.visibilityState === "visible") {
    try {
      const response = await fetch("/metrics");
      if (response.status === 404) return void (byId("strip").hidden = true);  // a server without metrics
      if (response.ok) draw(parseMetrics(await response.text()));
    } catch {
      show(false, []);
      before = null;
      pause = 3 * kPause;
    }
  }
  setTimeout(look, pause);
}

export const startMetrics = look;
