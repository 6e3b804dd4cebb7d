// The command lines that ask the server for what the page asked it for.
import { apiKey } from "./api.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function lines(path, parts) {
  const all = [`curl -sS ${location.origin}${path}`];
  if (apiKey()) all.push('-H "Authorization: Bearer $CAIRN_API_KEY"');
  return [...all, ...parts].join(" \\\n  ");
}

export function curlJson(path, body) {
  const stream = body.stream ? ["-N"] : [];
  return lines(path, [...stream, "-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body))}`]);
}

// `fields` of a form, and the name of the picture's file.
export function curlForm(path, fields, file) {
  const value = (v) => (typeof v === "object" ? JSON.stringify(v) : String(v));
  return lines(path, [`-F image=@${quoted(file)}`,
                      ...Object.entries(fields).map(([name, v]) => `--form-string ${quoted(`${name}=${value(v)}`)}`)]);
}

export const intoFile = (curl, name) => `${curl} \\\n  | jq -r '.data[0].b64_json' | base64 -d > ${name}`;
