// Makes pictures: sends what the form says, and feeds the cards of the gallery with what comes back.
import { call, events } from "./api.js";
import { byId, plural, say } from "./dom.js";
import { Card, startViewer } from "./gallery.js";
import { fillForm, readForm, setImageModels, startForm, useFile } from "./picture_form.js";

const kMostCards = 300;

const gallery = byId("gallery");
let running = null;
let showCurl = () => {};

function counted() {
  const cards = gallery.childElementCount;
  byId("gallery-count").textContent = cards ? plural(cards, "picture") : "";
  byId("gallery-clear").hidden = cards === 0;
  byId("gallery-empty").hidden = cards > 0;
}

const actions = {
  reuse(card) {
    fillForm(card.request.body, card.seed);
    byId("p-prompt").focus();
    say("The settings are in the form", true);
  },
  input(file) {
    useFile(file);
    byId("p-strength").focus();
    say("The next picture starts from this one", true);
  },
  curl: (text) => showCurl(text),
  removed: counted,
};

function busy(on) {
  byId("make").hidden = on;
  byId("make-stop").hidden = !on;
}

function formData({ body, file }) {
  const data = new FormData();
  data.set("image", file, file.name);
  for (const [name, value] of Object.entries(body))
    data.set(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  return data;
}

async function receive(request, cards, signal) {
  const response = request.file
    ? await call("/v1/images/edits", { body: formData(request), signal })
    : await call("/v1/images/generations", { body: request.body, signal });
  for await (const { event, data } of events(response, false)) {
    const kind = (event || data.type || "").split(".")[1];
    const card = cards[data.index ?? 0];
    if (!card) continue;
    if (kind === "progress") card.progress(data);
    else if (kind === "partial_image") card.preview(data);
    else if (kind === "completed") card.complete(data);
  }
}

async function generate() {
  if (running) return say("Pictures are being made: Esc stops them", true);
  const request = readForm();
  if (!request) return;
  const controller = running = new AbortController();
  const cards = Array.from({ length: request.body.n }, () => new Card(request, actions));
  for (const card of cards) card.node.card = card;
  gallery.prepend(...cards.map((card) => card.node));
  [...gallery.children].slice(kMostCards).forEach((node) => node.card.remove());
  counted();
  busy(true);
  // On a phone the results stand below the form.
  cards[0].node.scrollIntoView({ block: "nearest", behavior: "smooth" });
  let fault = "The server sent no picture.", stopped = false;
  try {
    await receive(request, cards, controller.signal);
  } catch (error) {
    stopped = error.name === "AbortError";
    fault = stopped ? "Stopped." : error.message;
  }
  const left = cards.filter((card) => !card.done);
  for (const card of left) card.fail(fault, stopped);
  say(left.length ? fault : `${plural(cards.length, "picture")} of ${request.body.prompt}: done`);
  running = null;
  busy(false);
}

export const picture = {
  running: () => running !== null,
  stop: () => running?.abort(),
  focus: () => byId("p-prompt").focus(),
  setModels: setImageModels,

  start(onCurl) {
    showCurl = onCurl;
    startForm(generate);
    startViewer();
    byId("make-stop").addEventListener("click", () => {
      picture.stop();
      byId("p-prompt").focus();
    });
    byId("gallery-clear").addEventListener("click", () => {
      if (running) return say("Pictures are being made: Esc stops them", true);
      if (gallery.childElementCount > 3 && !confirm("Remove all pictures? They are kept nowhere else.")) return;
      for (const node of [...gallery.children]) node.card.remove();
    });
    counted();
  },
};
