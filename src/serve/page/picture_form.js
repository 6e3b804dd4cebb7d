// The form that asks for pictures: what is in it, as a request, and back.
import { byId, el, grow, load, options, save } from "./dom.js";

const kKept = ["prompt", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed", "n", "cache",
               "previews", "options", "negative_prompt", "true_cfg_scale"];
const kCustom = "custom…";
const kIdeas = ["rocket", "panda face on a pink background", "pizza on a teal background", "owl"];

const form = byId("maker"), fields = form.elements;
let models = [];

const card = () => models.find((m) => m.id === fields.model.value);

function numbers(names, into) {
  for (const name of names) if (fields[name].value !== "") into[name] = Number(fields[name].value);
}

function showOptions() {
  byId("p-options-label").hidden = fields.cache.value !== kCustom;
  fields.options.setCustomValidity("");
}

function showFile() {
  const shown = byId("p-image-shown"), file = fields.image.files[0];
  if (shown.src) URL.revokeObjectURL(shown.src);
  shown.hidden = !file;
  if (file) shown.src = URL.createObjectURL(file);
  else shown.removeAttribute("src");
  if (file) byId("p-from").open = true;
}

// The limits and presets of the chosen model.
function showModel(restored = {}) {
  const model = card();
  if (!model) return;
  const multiple = model.size_multiple ?? 16;
  const [width, height] = (model.default_size ?? "1024x1024").split("x");
  for (const [field, own] of [[fields.width, width], [fields.height, height]]) {
    field.min = field.step = multiple;
    if (!field.value || field.value % multiple) field.value = own;
  }
  const presets = model.cache_presets ?? ["none", "default"];
  const wanted = restored.cache ?? (fields.cache.value || (presets.includes("default") ? "default" : presets[0]));
  options(fields.cache, [...presets, kCustom].map((name) => [name, name]), wanted);
  showOptions();
}

// What is asked for: {body, file}; null after telling the user what is wrong.
export function readForm() {
  if (fields.cache.value === kCustom) {
    let fault = "";
    try {
      const value = JSON.parse(fields.options.value || "{}");
      if (typeof value !== "object" || value === null || Array.isArray(value)) fault = "An object in braces, please.";
    } catch (error) {
      fault = `This is not JSON: ${error.message}`;
    }
    fields.options.setCustomValidity(fault);
  }
  fields.prompt.setCustomValidity(fields.prompt.value.trim() ? "" : "Describe the picture.");
  if (!form.reportValidity()) return null;
  const body = { model: fields.model.value, prompt: fields.prompt.value.trim(), n: Number(fields.n.value),
                 size: `${fields.width.value}x${fields.height.value}` };
  numbers(["num_inference_steps", "guidance_scale", "true_cfg_scale", "seed"], body);
  if (fields.negative_prompt.value.trim()) body.negative_prompt = fields.negative_prompt.value.trim();
  body.cache = fields.cache.value === kCustom ? JSON.parse(fields.options.value || "{}") : fields.cache.value;
  const file = fields.image.files[0] ?? null;
  if (file && fields.strength.value !== "") body.strength = Number(fields.strength.value);
  Object.assign(body, { response_format: "b64_json", stream: true, partial_images: Number(fields.previews.value) });
  return { body, file };
}

// Puts the settings of an earlier request back, with the seed that its picture came from.
export function fillForm(body, seed) {
  const [width, height] = body.size.split("x");
  const values = { ...body, width, height, seed: seed ?? body.seed ?? "", n: 1 };
  const preset = typeof body.cache === "string";
  if (!preset) values.options = JSON.stringify(body.cache);
  for (const name of ["prompt", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed", "n",
                      "options", "strength", "negative_prompt", "true_cfg_scale"])
    fields[name].value = values[name] ?? "";
  fields.cache.value = preset ? body.cache : kCustom;
  showOptions();
  grow(fields.prompt);
  keep();
}

export function useFile(file) {
  const list = new DataTransfer();
  list.items.add(file);
  fields.image.files = list.files;
  showFile();
}

function keep() {
  save("picture", Object.fromEntries(kKept.map((name) => [name, fields[name].value])));
}

export function setImageModels(list) {
  models = list;
  const kept = load("picture", {});
  options(fields.model, list.map((m) => [m.id, m.id]), kept.model);
  byId("make").disabled = !list.length;
  showModel(kept);
}

// `generate()` is called when the form is sent.
export function startForm(generate) {
  const kept = load("picture", {});
  for (const name of kKept)
    if (kept[name] !== undefined && !["model", "cache"].includes(name)) fields[name].value = kept[name];
  byId("p-more").open = Boolean(kept.negative_prompt || kept.true_cfg_scale);
  byId("picture-ideas").append(...kIdeas.map((text) =>
    el("button", { type: "button", class: "chip", onclick: () => {
      fields.prompt.value = text;
      keep();
      generate();
    } }, text)));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    generate();
  });
  form.noValidate = true;  // readForm() validates, and says more
  form.addEventListener("input", (event) => {
    event.target.setCustomValidity?.("");
    keep();
  });
  form.addEventListener("keydown", (event) => {
    const area = event.target instanceof HTMLTextAreaElement;
    if (event.key !== "Enter" || event.isComposing || event.shiftKey || !area) return;
    if (event.target === fields.options && !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    generate();
  });
  fields.prompt.addEventListener("input", () => grow(fields.prompt));
  fields.model.addEventListener("change", () => showModel());
  fields.cache.addEventListener("change", showOptions);
  fields.image.addEventListener("change", showFile);
  byId("p-image-clear").addEventListener("click", () => {
    fields.image.value = "";
    showFile();
  });
}
