// Pictures on the screen: while they are made, when they are done, and enlarged.
import { curlForm, curlJson, intoFile } from "./curl.js";
import { byId, copy, duration, el, icon, iconButton, say } from "./dom.js";

const kPngStart = "iVBORw0KGgo";  // base64 of the first bytes of every PNG

function blobOf(base64) {
  const type = base64.startsWith(kPngStart) ? "image/png" : base64.startsWith("/9j/") ? "image/jpeg" : "image/webp";
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; ++i) bytes[i] = text.charCodeAt(i);
  return new Blob([bytes], { type });
}

// A row of one bar a step: tall where it was computed, low where the cache knew the answer, a dot where it is to come.
class Steps {
  constructor() {
    this.node = el("div", { class: "steps", role: "img", "aria-label": "No step yet" });
    this.computed = this.cached = 0;
  }

  total(count) {
    while (this.node.childElementCount < count) this.node.append(el("i", { class: "cell" }));
    while (this.node.childElementCount > count) this.node.lastChild.remove();
  }

  set(at, computed) {
    const cell = this.node.children[at];
    if (!cell || cell.classList.length > 1) return;
    cell.classList.add(computed ? "computed" : "cached");
    computed ? ++this.computed : ++this.cached;
    this.node.setAttribute("aria-label",
                           `${this.computed + this.cached} of ${this.node.childElementCount} steps: ` +
                           `${this.computed} computed, ${this.cached} from the cache`);
  }

  // The whole row from a trace such as "1101001".
  trace(text) {
    this.computed = this.cached = 0;
    this.node.replaceChildren();
    this.total(text.length);
    [...text].forEach((verdict, at) => this.set(at, verdict !== "0"));
  }
}

// One picture of a request. `request`: {body, file}; `actions`: {reuse(card), input(file), curl(text), removed(card)}
export class Card {
  constructor(request, actions) {
    this.request = request;
    this.actions = actions;
    this.steps = new Steps();
    this.image = el("img", { alt: `Picture of: ${request.body.prompt}`, hidden: true });
    this.count = el("span", { class: "count" }, "waiting");
    this.open = el("button", { type: "button", class: "frame", disabled: true, "aria-label": "Enlarge the picture",
                               onclick: () => show(this) }, this.image, this.count);
    const [width, height] = request.body.size.split("x").map(Number);
    this.open.style.aspectRatio = `${width} / ${height}`;
    this.image.classList.toggle("crisp", Math.max(width, height) <= 96);
    this.facts = el("p", { class: "facts" });
    this.foot = el("div", { class: "actions" });
    this.node = el("article", { class: "card making", "aria-busy": "true", "aria-label": request.body.prompt },
                   this.open, this.steps.node, el("p", { class: "title" }, request.body.prompt), this.facts, this.foot);
    if (request.body.num_inference_steps) this.steps.total(request.body.num_inference_steps);
  }

  picture(base64) {
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.blob = blobOf(base64);
    this.image.src = URL.createObjectURL(this.blob);
    this.image.hidden = false;
  }

  progress({ step, steps, computed }) {
    this.steps.total(steps);
    this.steps.set(step - 1, computed);
    this.count.textContent = `${step}/${steps}`;
  }

  preview({ b64_json }) {
    this.picture(b64_json);
    this.node.classList.add("preview");
  }

  complete({ b64_json, seed, cache, seconds }) {
    this.picture(b64_json);
    if (cache?.trace) this.steps.trace(cache.trace);
    Object.assign(this, { seed, cache, seconds, done: true });
    this.node.classList.remove("making", "preview");
    this.node.setAttribute("aria-busy", "false");
    this.open.disabled = false;
    this.count.remove();
    this.facts.textContent = this.factList().map(([, value]) => value).slice(0, 4).join(" · ");
    this.foot.replaceChildren(...this.buttons());
  }

  // `stopped`: as the user wished, which is no error.
  fail(message, stopped) {
    this.node.classList.remove("making");
    this.node.setAttribute("aria-busy", "false");
    this.count.remove();
    if (stopped) this.facts.textContent = message;
    else this.facts.replaceWith(el("p", { class: "error", role: "alert" }, message));
    this.foot.replaceChildren(
      iconButton("again", "Put the settings back", () => this.actions.reuse(this)),
      iconButton("close", "Remove", () => this.remove()));
  }

  remove() {
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    const near = this.node.nextElementSibling ?? this.node.previousElementSibling;
    if (this.node.contains(document.activeElement)) (near?.querySelector("button") ?? byId("p-prompt")).focus();
    this.node.remove();
    this.actions.removed(this);
  }

  // Name and value of what is known of the picture, the most telling first.
  factList() {
    const { body } = this.request, steps = this.steps.node.childElementCount, out = [];
    if (this.seconds !== undefined) out.push(["Time", duration(this.seconds)]);
    const cached = this.steps.cached ? `, ${this.steps.cached} cached` : "";
    if (steps) out.push(["Steps", `${steps} steps${cached}`]);
    out.push(["Size", body.size.replace("x", "×")]);
    if (this.seed !== undefined) out.push(["Seed", `seed ${this.seed}`]);
    if (body.guidance_scale !== undefined) out.push(["Guidance", String(body.guidance_scale)]);
    if (body.true_cfg_scale !== undefined) out.push(["True CFG", String(body.true_cfg_scale)]);
    if (body.strength !== undefined) out.push(["Strength", String(body.strength)]);
    if (this.cache?.tag) out.push(["Cache", this.cache.tag]);
    out.push(["Model", body.model]);
    return out;
  }

  curl() {
    const { stream, partial_images, ...body } = this.request.body;
    body.n = 1;
    if (this.seed !== undefined) body.seed = this.seed;
    const { file } = this.request;
    return intoFile(file ? curlForm("/v1/images/edits", body, file.name) : curlJson("/v1/images/generations", body),
                    this.fileName());
  }

  fileName() {
    const words = this.request.body.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40)
      .replace(/^-|-$/g, "");
    const ending = { "image/jpeg": "jpg", "image/webp": "webp" }[this.blob.type] ?? "png";
    return `${words || "picture"}${this.seed === undefined ? "" : `-${this.seed}`}.${ending}`;
  }

  buttons() {
    const name = this.fileName();
    return [
      el("a", { class: "ghost", href: this.image.src, download: name, title: "Download", "aria-label": "Download" },
         icon("save")),
      iconButton("again", "Use these settings again", () => this.actions.reuse(this)),
      iconButton("input", "Start from this picture",
                 () => this.actions.input(new File([this.blob], name, { type: this.blob.type }))),
      iconButton("code", "The same with curl", () => this.actions.curl(this.curl())),
      iconButton("close", "Remove", () => this.remove()),
    ];
  }
}

let shown = null;

// The picture large, in a dialog; arrow keys go to its neighbours.
function show(card) {
  const dialog = byId("viewer");
  shown = card;
  const steps = new Steps();
  steps.total(card.steps.node.childElementCount);
  [...card.steps.node.children].forEach((cell, at) => steps.set(at, cell.classList.contains("computed")));
  const [width] = card.request.body.size.split("x").map(Number);
  const image = el("img", { src: card.image.src, alt: card.image.alt, class: card.image.classList.contains("crisp")
    ? "crisp" : "" });
  image.style.width = `${Math.min(Math.max(width * Math.max(1, Math.floor(512 / width)), 256), 1024)}px`;
  dialog.replaceChildren(
    el("div", { class: "row viewer-head" },
       iconButton("left", "The one before (←)", () => step(-1)),
       iconButton("right", "The next one (→)", () => step(1)),
       el("span", { class: "spacer" }),
       iconButton("copy", "Copy the prompt", () => copy(card.request.body.prompt, "Prompt copied")),
       ...card.buttons().slice(0, 2).map((button) => {
         button.addEventListener("click", () => button.tagName === "BUTTON" && dialog.close());
         return button;
       }),
       iconButton("close", "Close (Esc)", () => dialog.close())),
    el("div", { class: "viewer-body" }, image,
       el("div", { class: "viewer-side" }, el("h2", {}, card.request.body.prompt), steps.node,
          el("dl", {}, card.factList().map(([name, value]) => [el("dt", {}, name),
                                                                el("dd", {}, value.replace(/^seed /, ""))])))));
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const nodes = [...byId("gallery").children].filter((node) => node.card?.done);
  const next = nodes[nodes.indexOf(shown.node) + by];
  if (next) show(next.card);
  else say(by > 0 ? "This is the last picture" : "This is the first picture", true);
}

export function startViewer() {
  const dialog = byId("viewer");
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    shown?.open.focus();
    shown = null;
  });
}
