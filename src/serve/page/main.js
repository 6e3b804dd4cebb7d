// The page as a whole: tabs, theme, keys, dialogs, and which models there are.
import { apiKey, models, onKeyWanted, setApiKey } from "./api.js";
import { chat } from "./chat.js";
import { byId, copy, icon, load, save, say } from "./dom.js";
import { startMetrics } from "./metrics.js";
import { picture } from "./picture.js";

const kViews = { chat, picture };
let shown = "chat";

function showTab(name, focus = false) {
  shown = name;
  for (const other of Object.keys(kViews)) {
    const tab = byId(`tab-${other}`), on = other === name;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
    byId(other).hidden = !on;
    if (on && focus) tab.focus();
  }
  save("tab", name);
  history.replaceState(null, "", `#${name}`);
}

function startTabs() {
  const names = Object.keys(kViews);
  for (const name of names) byId(`tab-${name}`).addEventListener("click", () => showTab(name));
  document.querySelector("[role=tablist]").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const at = Number.isFinite(by) ? (names.indexOf(shown) + by + names.length) % names.length
      : by < 0 ? 0 : names.length - 1;
    showTab(names[at], true);
  });
  addEventListener("hashchange", () => names.includes(location.hash.slice(1)) && showTab(location.hash.slice(1)));
}

function startTheme() {
  const button = byId("theme-button"), root = document.documentElement;
  const next = { auto: "light", light: "dark", dark: "auto" };
  const draw = () => {
    const theme = root.dataset.theme ?? "auto";
    const label = `Theme: ${theme === "auto" ? "as the system" : theme}`;
    button.replaceChildren(icon(theme));
    button.title = label;
    button.setAttribute("aria-label", label);
  };
  button.addEventListener("click", () => {
    const theme = next[root.dataset.theme ?? "auto"];
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      localStorage.setItem("cairn.theme", theme);
    } catch {
      // Holds until the page is left, then.
    }
    draw();
    say(button.title);
  });
  draw();
}

function startDialogs() {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
  }
  byId("curl-copy").addEventListener("click", () => copy(byId("curl-text").textContent));
  byId("help-button").addEventListener("click", () => byId("help-dialog").showModal());
  byId("key-button").addEventListener("click", () => askKey("Kept in this tab, and sent with every call."));
}

function showCurl(text) {
  byId("curl-text").textContent = text;
  byId("curl-dialog").showModal();
}

let asking = null;
// Whether the user gave a key; calls that fail together ask once.
function askKey(why) {
  byId("key-button").hidden = false;
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog"), form = byId("key-form"), field = byId("key-field");
    let given = false;
    byId("key-why").textContent = why;
    field.value = apiKey();
    form.onsubmit = (event) => {
      event.preventDefault();
      setApiKey(field.value.trim());
      given = true;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      asking = null;
      resolve(given);
    }, { once: true });
    dialog.showModal();
    field.select();
  });
  return asking;
}

function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.isComposing) return;
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (event.key === "Escape") {
      if (kViews[shown].running()) kViews[shown].stop();
      else if (!byId("settings").hidden && shown === "chat") byId("settings-close").click();
    } else if (typing || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    } else if (event.key === "/") {
      event.preventDefault();
      kViews[shown].focus();
    } else if (event.key === "?") {
      byId("help-dialog").showModal();
    }
  });
}

// Asks until the server answers: it may still be loading its weights.
async function loadModels() {
  const notice = byId("offline");
  for (let refused = false;;) {
    try {
      const { language, image } = await models(refused);
      notice.hidden = true;
      chat.setModels(language);
      picture.setModels(image);
      if (!language.length && image.length) showTab("picture");
      if (!image.length && language.length) showTab("chat");
      byId("tab-chat").disabled = !language.length;
      byId("tab-picture").disabled = !image.length;
      if (matchMedia("(pointer: fine)").matches) kViews[shown].focus();
      return;
    } catch (error) {
      refused = error.status === 401;  // asked once; the key button asks again
      notice.textContent = `${error.message} ${error.status === 401 ? "The key button above takes one. " : ""}` +
        "Trying again…";
      notice.hidden = false;
    }
    await new Promise((resolve) => setTimeout(resolve, asking ? 1000 : 3000));
    if (asking) await asking;
  }
}

startTabs();
startTheme();
startDialogs();
startKeys();
onKeyWanted(askKey);
byId("key-button").hidden = !apiKey();
chat.start(showCurl);
picture.start(showCurl);
const wanted = location.hash.slice(1);
showTab(wanted in kViews ? wanted : load("tab", "chat") === "picture" ? "picture" : "chat");
loadModels();
startMetrics();
