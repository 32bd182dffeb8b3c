/**
 * Where images are computed: by the service, or on this device.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./server.js").ModelInfo} ModelInfo
 */
import { controls } from "./controls.js";
import { Device, ModelChanged } from "./device.js";
import { Server } from "./server.js";

export class Place {
  #device = new Device();
  #server;
  #say;
  /** @type {Promise<void>} ends when a change of model or place is done */
  #settled = Promise.resolve();
  #computesHere = false;

  /**
   * @param {Server} server
   * @param {(text: string) => void} say
   */
  constructor(server, say) {
    this.#server = server;
    this.#say = say;
  }

  /** @returns {Promise<boolean>} whether images are computed on this device, after any change */
  async isHere() {
    await this.#settled;
    return this.#computesHere;
  }

  /**
   * Detect on this device.
   *
   * @param {ImageData} image
   * @param {number} threshold
   * @returns {Promise<Detection[]>}
   */
  detect(image, threshold) {
    return this.#device.detect(image, threshold);
  }

  /**
   * Compute with a model where the switch says; images wait until it is loaded.
   *
   * @param {ModelInfo} model
   */
  async use(model) {
    this.#device.close(); // ends a load that is under way
    const change = this.#settled.then(() => this.#change(model));
    this.#settled = change.catch(() => {});
    await change;
  }

  /** @param {ModelInfo} model */
  async #change(model) {
    this.#computesHere = false;
    const why = await whyNotHere(model);
    controls.device.disabled = why !== "";
    if (why) controls.device.checked = false;
    controls.place.textContent = `Images are sent to this service, and nowhere else. ${why}`.trim();
    if (!controls.device.checked) return;
    this.#say("The model is loaded …");
    const { runtime, milliseconds } = await this.#load(model);
    this.#computesHere = true;
    controls.place.textContent =
      `Images stay on this device: nothing is sent. ${runtime === "webgpu" ? "WebGPU" : "WebAssembly"} ` +
      `takes ${Math.round(milliseconds)} ms for an image.`;
  }

  /** @param {ModelInfo} info */
  async #load({ name, classes, input, resize }) {
    const url = new URL(`models/${encodeURIComponent(name)}/onnx`, location.href).href;
    const model = { url, classes, input: input ?? { width: 0, height: 0 }, resize: resize ?? "stretch" };
    try {
      return await this.#device.load(model, this.#server.headers);
    } catch (error) {
      if (!(error instanceof ModelChanged)) controls.device.checked = false;
      throw error;
    }
  }
}

/**
 * @param {ModelInfo} model
 * @returns {Promise<string>} a sentence, or nothing if the model can compute on this device
 */
async function whyNotHere(model) {
  if (!model.public) {
    return "This model may not be handed out (public: true in its model.yaml allows it).";
  }
  const runtime = await fetch("web/runtime/ort.wasm.min.mjs", { method: "HEAD" }).catch(() => null);
  return runtime?.ok ? "" : "This service was installed without the runtime for browsers.";
}
