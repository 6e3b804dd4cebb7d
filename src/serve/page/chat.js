// The conversation: what was said, the settings, and the answer that is being written.
import { call, events } from "./api.js";
import { MessageView } from "./chat_view.js";
import { curlJson } from "./curl.js";
import { byId, el, grow, load, options, save, say } from "./dom.js";

const kNumbers = ["temperature", "top_p", "top_k", "max_tokens", "seed"];
const kIdeas = ["What is 27 + 58?", "What is the capital of France?", "Tell me a short story about a lighthouse.",
                "Answer as JSON: name and age in “Ada is 36.”"];

// {role, content}; of answers also reasoning, model, settings, stats, error
let messages = load("chat", []).filter((m) => typeof m?.content === "string");
let views = [];
let running = null;  // the AbortController of the answer under way
let pinned = true;   // the log follows its end
let showCurl = () => {};

const log = byId("log"), area = byId("say"), model = byId("chat-model"), form = byId("settings-form");

function settings() {
  const out = { system: form.elements.system.value.trim() };
  for (const name of kNumbers) if (form.elements[name].value !== "") out[name] = Number(form.elements[name].value);
  return out;
}

// The request whose answer is messages[at].
function request(at, modelId, set) {
  const { system, ...numbers } = set;
  const said = messages.slice(0, at).map(({ role, content }) => ({ role, content }));
  return { model: modelId, messages: system ? [{ role: "system", content: system }, ...said] : said, ...numbers,
           stream: true, stream_options: { include_usage: true } };
}

function keep() {
  // A conversation too long for the browser's storage loses its oldest turns there, not on the screen.
  for (let from = 0; from <= messages.length && !save("chat", messages.slice(from)); from += 2);
}

function follow() {
  if (pinned) log.scrollTop = log.scrollHeight;
  byId("to-end").hidden = pinned;
}

function viewOf(message) {
  return new MessageView(message, {
    edit: (text) => resend(messages.indexOf(message), text),
    again: () => again(messages.indexOf(message)),
    curl: () => {
      const at = messages.indexOf(message);
      showCurl(curlJson("/v1/chat/completions", request(at, message.model, message.settings ?? {})));
    },
  });
}

function draw() {
  views = messages.map(viewOf);
  byId("messages").replaceChildren(...views.map((view) => view.node));
  byId("welcome").hidden = messages.length > 0;
  follow();
}

function add(message) {
  messages.push(message);
  views.push(viewOf(message));
  byId("messages").append(views.at(-1).node);
  byId("welcome").hidden = true;
}

function busy(on) {
  byId("send").hidden = on;
  byId("stop").hidden = !on;
}

// Takes the events of an answer into the message; `changed` is called after each.
async function receive(message, body, controller, changed) {
  const began = performance.now(), seconds = () => (performance.now() - began) / 1000;
  const stats = message.stats;
  let pieces = 0, last = 0;
  const response = await call("/v1/chat/completions", { body, signal: controller.signal });
  for await (const { data } of events(response)) {
    const choice = data.choices?.[0], delta = choice?.delta ?? {};
    if (delta.reasoning_content || delta.content) {
      last = seconds();
      stats.ttft ??= last;
      if (delta.content && !message.content && message.reasoning) stats.thought = last - stats.ttft;
      message.reasoning += delta.reasoning_content ?? "";
      message.content += delta.content ?? "";
      ++pieces;
    }
    if (choice?.finish_reason) stats.finish = choice.finish_reason;
    if (data.usage) {
      stats.tokens = data.usage.completion_tokens;
      stats.prompt = data.usage.prompt_tokens;
      stats.cached = data.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
    // Until the usage comes, a piece counts as a token.
    const tokens = stats.tokens ?? pieces;
    if (tokens > 1 && last > stats.ttft) stats.rate = (tokens - 1) / (last - stats.ttft);
    changed();
  }
  stats.seconds = seconds();
}

async function answer() {
  const set = settings(), at = messages.length;
  const message = { role: "assistant", content: "", reasoning: "", model: model.value, settings: set, stats: {} };
  const controller = running = new AbortController();
  add(message);
  const view = views.at(-1);
  view.update(true);
  pinned = true;
  follow();
  busy(true);
  let due = false;
  const changed = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      if (running !== controller) return;
      view.update(true);
      follow();
    });
  };
  try {
    await receive(message, request(at, message.model, set), controller, changed);
    say(`Answer: ${message.content.slice(0, 500)}`);
  } catch (error) {
    if (error.name === "AbortError") message.stats.stopped = true;
    else message.error = error.message;
  }
  if (running === controller) {
    running = null;
    busy(false);
  }
  if (!messages.includes(message)) return;
  view.update(false);
  follow();
  keep();
}

function submit(text) {
  if (!model.value) return say("This server has no language model", true);
  if (!form.reportValidity()) return byId("settings").hidden && toggleSettings(true);
  if (messages.at(-1)?.role === "assistant" && !messages.at(-1).content) {
    messages.length -= 2;  // a turn without an answer would only confuse the next one
    draw();
  }
  add({ role: "user", content: text });
  keep();
  answer();
}

// From messages[at] on, all goes.
function cutTo(at) {
  running?.abort();
  running = null;
  messages.length = at;
  draw();
}

function again(at) {
  if (at < 1) return;
  cutTo(at);
  answer();
}

function resend(at, text) {
  if (at < 0) return;
  cutTo(at);
  submit(text);
  area.focus();
}

function toggleSettings(on = byId("settings").hidden) {
  byId("settings").hidden = !on;
  byId("settings-button").setAttribute("aria-expanded", String(on));
  save("settings.open", on);
  if (on) form.elements.system.focus();
}

export const chat = {
  running: () => running !== null,
  stop: () => running?.abort(),
  focus: () => area.focus(),

  setModels(list) {
    options(model, list.map((m) => [m.id, m.id]), load("model", list[0]?.id));
    model.disabled = !list.length;
    area.disabled = !list.length;
    const about = () => {
      const card = list.find((m) => m.id === model.value);
      byId("welcome-model").textContent = card
        ? `${card.id}, with a context of ${Number(card.max_model_len).toLocaleString("en")} tokens`
        : "This server has no language model.";
      if (card) form.elements.max_tokens.max = card.max_model_len;
    };
    model.onchange = () => {
      save("model", model.value);
      about();
    };
    about();
  },

  start(onCurl) {
    showCurl = onCurl;
    const kept = load("settings", {});
    for (const name of ["system", ...kNumbers]) form.elements[name].value = kept[name] ?? "";
    form.addEventListener("input", () => save("settings", settings()));
    form.addEventListener("reset", () => setTimeout(() => save("settings", settings())));
    form.addEventListener("submit", (event) => event.preventDefault());

    byId("chat-ideas").append(...kIdeas.map((text) =>
      el("button", { type: "button", class: "chip", onclick: () => submit(text) }, text)));
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = area.value.trim();
      if (!text || running) return;
      area.value = "";
      grow(area);
      submit(text);
    });
    area.addEventListener("input", () => grow(area));
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        byId("composer").requestSubmit();
      } else if (event.key === "ArrowUp" && !area.value && !running) {
        const last = views.findLast((view) => view.message.role === "user");
        if (last) event.preventDefault();
        last?.edit();
      }
    });
    byId("stop").addEventListener("click", () => {
      chat.stop();
      area.focus();
    });
    byId("clear").addEventListener("click", () => {
      if (messages.length > 2 && !confirm("Begin a new conversation? This one will be forgotten.")) return;
      cutTo(0);
      busy(false);
      keep();
      area.focus();
    });
    byId("settings-button").addEventListener("click", () => toggleSettings());
    byId("settings-close").addEventListener("click", () => {
      toggleSettings(false);
      byId("settings-button").focus();
    });
    byId("to-end").addEventListener("click", () => {
      pinned = true;
      follow();
    });
    log.addEventListener("scroll", () => {
      pinned = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
      byId("to-end").hidden = pinned;
    });
    if (load("settings.open", false) && matchMedia("(min-width: 64rem)").matches) {
      byId("settings").hidden = false;
      byId("settings-button").setAttribute("aria-expanded", "true");
    }
    draw();
  },
};
