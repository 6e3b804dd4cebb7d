// One message of a conversation on the screen.
import { copy, duration, el, icon, iconButton, plural, short } from "./dom.js";
import { markdown } from "./markdown.js";

// "48.1 tokens/s · first token 23 ms · 128 tokens · …"
export function statsLine(stats) {
  const parts = [];
  if (stats.rate) parts.push(`${short(stats.rate)} tokens/s`);
  if (stats.ttft !== undefined) parts.push(`first token ${duration(stats.ttft)}`);
  if (stats.tokens) parts.push(plural(stats.tokens, "token"));
  if (stats.cached) parts.push(`prompt ${short(stats.prompt)}, ${short(stats.cached)} cached`);
  else if (stats.prompt) parts.push(`prompt ${short(stats.prompt)}`);
  if (stats.finish === "length") parts.push("cut at max tokens");
  if (stats.stopped) parts.push("stopped");
  return parts.join(" · ");
}

function thoughts(message, streaming) {
  if (!message.reasoning) return null;
  const still = streaming && !message.content;
  const label = still ? "Thinking…"
    : message.stats?.thought ? `Thought for ${duration(message.stats.thought)}` : "Thought";
  const node = el("details", { class: "thoughts" }, el("summary", {}, label),
                  el("div", { class: "prose" }, markdown(message.reasoning)));
  node.open = still;
  return node;
}

// `actions`: {edit(text), again(), curl()}, each only where it makes sense.
export class MessageView {
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.body = el("div", { class: "body" });
    this.foot = el("div", { class: "foot" });
    this.node = el("article", { class: `message ${message.role}`,
                                "aria-label": message.role === "user" ? "You" : "Answer" }, this.body, this.foot);
    this.update(false);
  }

  update(streaming) {
    const { message } = this;
    this.node.classList.toggle("streaming", streaming);
    this.node.setAttribute("aria-busy", String(streaming));
    if (message.role === "user") this.body.replaceChildren(el("div", { class: "bubble" }, message.content));
    else this.answer(streaming);
    this.footer(streaming);
  }

  answer(streaming) {
    const { message } = this;
    // What the reader opened or closed stays so while the text grows.
    const before = this.body.querySelector(":scope > .thoughts");
    const parts = [thoughts(message, streaming)];
    if (before && parts[0] && before.dataset.touched) parts[0].open = before.open;
    if (before?.dataset.touched && parts[0]) parts[0].dataset.touched = "1";
    parts[0]?.querySelector("summary").addEventListener("click", () => { parts[0].dataset.touched = "1"; });
    if (message.content || streaming) {
      const prose = el("div", { class: "prose" }, markdown(message.content ?? ""));
      if (streaming && !message.reasoning && !message.content) prose.append(el("span", { class: "waiting" }));
      parts.push(prose);
    }
    if (message.error) parts.push(el("p", { class: "error", role: "alert" }, message.error));
    this.body.replaceChildren(...parts.filter(Boolean));
  }

  footer(streaming) {
    const { message, actions } = this;
    if (message.role === "user") {
      this.foot.replaceChildren(
        el("div", { class: "actions" }, iconButton("edit", "Edit and send again", () => this.edit()),
           iconButton("copy", "Copy the message", () => copy(message.content, "Message copied"))));
      return;
    }
    const stats = message.stats ? statsLine(message.stats) : "";
    const children = [el("span", { class: "stats" }, stats)];
    if (!streaming) {
      const buttons = [];
      if (message.content) buttons.push(iconButton("copy", "Copy the answer", () => copy(message.content,
                                                                                         "Answer copied")));
      buttons.push(iconButton("again", "Answer again", () => actions.again()));
      buttons.push(iconButton("code", "The same with curl", () => actions.curl()));
      children.push(el("div", { class: "actions" }, buttons));
    }
    this.foot.replaceChildren(...children);
  }

  edit() {
    const area = el("textarea", { value: this.message.content, "aria-label": "Edit the message", rows: "1" });
    const done = () => {
      this.update(false);
      this.node.querySelector("button")?.focus();
    };
    const send = () => {
      if (area.value.trim()) this.actions.edit(area.value.trim());
    };
    area.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Escape") {
        event.stopPropagation();
        done();
      } else if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    this.foot.replaceChildren();
    this.body.replaceChildren(
      el("div", { class: "editing" }, area,
         el("div", { class: "row" }, el("span", { class: "muted small" }, "Later messages will go."),
            el("span", { class: "spacer" }),
            el("button", { type: "button", class: "plain", onclick: done }, "Cancel"),
            el("button", { type: "button", class: "primary", onclick: send }, icon("send"), "Send"))));
    area.style.minHeight = `${Math.min(area.scrollHeight + 4, 320)}px`;
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  }
}
