/** The elements of index.html that the page reads and writes. */

/**
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

export const controls = {
  about: element("about", HTMLParagraphElement),
  address: element("address", HTMLFormElement),
  camera: element("camera", HTMLButtonElement),
  canvases: element("canvases", HTMLDivElement),
  device: element("device", HTMLInputElement),
  drop: element("drop", HTMLDivElement),
  file: element("file", HTMLInputElement),
  invite: element("invite", HTMLParagraphElement),
  key: element("key", HTMLInputElement),
  keyDialog: element("key-dialog", HTMLDialogElement),
  keyWhy: element("key-why", HTMLParagraphElement),
  model: element("model", HTMLSelectElement),
  modelAbout: element("model-about", HTMLParagraphElement),
  nms: element("nms", HTMLInputElement),
  nmsValue: element("nms-value", HTMLOutputElement),
  place: element("place", HTMLParagraphElement),
  sample: element("sample", HTMLButtonElement),
  save: element("save", HTMLDivElement),
  status: element("status", HTMLParagraphElement),
  summary: element("summary", HTMLHeadingElement),
  threshold: element("threshold", HTMLInputElement),
  thresholdValue: element("threshold-value", HTMLOutputElement),
  url: element("url", HTMLInputElement),
};
