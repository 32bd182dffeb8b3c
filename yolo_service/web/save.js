/**
 * What leaves the page: files and commands.
 *
 * @typedef {import("./formats.js").Result} Result
 */
import { toCsv, toCurl, toJson, toOpex, toPython } from "./formats.js";

/**
 * Download what is shown.
 *
 * @param {string} kind png, json, csv or opex
 * @param {Result} result
 * @param {() => Promise<Blob>} annotated draws the boxes on the image
 * @returns {Promise<string>} the name of the file
 */
export async function saveAs(kind, result, annotated) {
  const stem = result.name.replace(/\.[^.]*$/, "") || "image";
  /** @type {Record<string, () => [string, BlobPart | Promise<Blob>, string]>} */
  const files = {
    png: () => [`${stem}-detections.png`, annotated(), "image/png"],
    json: () => [`${stem}.json`, toJson(result), "application/json"],
    csv: () => [`${stem}.csv`, toCsv(result), "text/csv"],
    opex: () => [`${stem}.opex.json`, toOpex(result, new Date()), "application/json"],
  };
  const [name, content, type] = files[kind]();
  download(name, new Blob([await content], { type }));
  return name;
}

/**
 * Copy the command that asks for what is shown.
 *
 * @param {string} kind curl or python
 * @param {Result} result
 * @param {boolean} needsKey
 * @throws {Error} a sentence, if the browser forbids it
 */
export async function copyAs(kind, result, needsKey) {
  const text = (kind === "curl" ? toCurl : toPython)(result, location.href, needsKey);
  if (!(await copy(text))) throw new Error("The browser does not allow this page to copy.");
}

/**
 * @param {string} name
 * @param {Blob} content
 */
function download(name, content) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether it is in the clipboard
 */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http from another machine there is only the old way.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}
