// Talks to the server that the page came from: calls, the API key, and streams of events.

// What a failed call says. `status` is 0 when the server could not be reached.
export class CallError extends Error {
  constructor(message, status, param = null) {
    super(message);
    this.status = status;
    this.param = param;
  }
}

let memory = "";  // the key, where the browser keeps nothing

export function apiKey() {
  try {
    return sessionStorage.getItem("cairn.key") ?? memory;
  } catch {
    return memory;
  }
}

export function setApiKey(key) {
  memory = key;
  try {
    sessionStorage.setItem("cairn.key", key);
  } catch {
    // Kept in memory then, until the page goes.
  }
}

let ask = async () => false;
// `asker(message)` asks the user for a key, stores it and returns true; false when the user would rather not.
export function onKeyWanted(asker) {
  ask = asker;
}

async function errorOf(response) {
  let message = `the server answered ${response.status}`, param = null;
  try {
    const { error } = await response.json();
    message = error.message ?? message;
    param = error.param ?? null;
  } catch {
    // Not in the API's form: the status has to do.
  }
  return new CallError(message, response.status, param);
}

// A response whose status is 2xx. `body`: an object to send as JSON, or a FormData. Throws CallError, or the abort.
export async function call(path, { body, signal, quiet = false } = {}) {
  for (;;) {
    const headers = {};
    if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
    const isForm = body instanceof FormData;
    if (body && !isForm) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method: body ? "POST" : "GET", headers, signal,
                                     body: body && !isForm ? JSON.stringify(body) : body });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new CallError("The server cannot be reached.", 0);
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    if (response.status !== 401 || quiet || !(await ask(error.message))) throw error;
  }
}

// The server-sent events of a response, as {event, data}. An `error` member is thrown, and so is an end without the
// "[DONE]" of language routes; those of pictures just end, and know by their pictures whether they are complete.
export async function* events(response, wantsDone = true) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", event = "", data = [], done = false;
  try {
    while (!done) {
      const piece = await reader.read().catch((error) => {
        if (error.name === "AbortError") throw error;
        throw new CallError("The connection broke before the answer was complete.", 0);
      });
      if (piece.done) break;
      const lines = (rest + piece.value).split("\n");
      rest = lines.pop();
      for (const raw of lines) {
        const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
        if (line.startsWith("event:")) event = line.slice(6).trim();
        else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        if (line !== "" || !data.length) continue;
        const text = data.join("\n"), name = event;
        data = [];
        event = "";
        if (text === "[DONE]") {
          done = true;
          break;
        }
        const value = JSON.parse(text);
        if (value.error) throw new CallError(value.error.message ?? "The request failed.", 0, value.error.param);
        yield { event: name, data: value };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  if (wantsDone && !done) throw new CallError("The answer ended before it was complete.", 0);
}

// The server's models, in two lists.
export async function models(quiet) {
  const { data } = await (await call("/v1/models", { quiet })).json();
  const isImage = (model) => (model.kind ? model.kind === "image" : !model.max_model_len);
  return { language: data.filter((model) => !isImage(model)), image: data.filter(isImage) };
}
