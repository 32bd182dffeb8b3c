/** The page: what its controls do. */
import { Camera, FrameRate } from "./camera.js";
import { controls, element } from "./controls.js";
import { choose } from "./detections.js";
import { Device } from "./device.js";
import { copy, decoded, download, onFile } from "./files.js";
import { withKey } from "./key.js";
import { toCsv, toCurl, toJson, toOpex, toPython } from "./formats.js";
import { Results } from "./results.js";
import { Server } from "./server.js";
import { View } from "./view.js";

/**
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./server.js").ModelInfo} ModelInfo
 * @typedef {{source: CanvasImageSource, width: number, height: number}} Frame
 */

const LOWEST_THRESHOLD = 0.05; // also the lowest of the slider: what is above comes in one request
const CAMERA_QUALITY = 0.9;

class Page {
  #server = new Server();
  #device = new Device();
  #camera = new Camera(element("video", HTMLVideoElement));
  #view = new View(element("image", HTMLCanvasElement), element("overlay", HTMLCanvasElement));
  #results = new Results(
    element("detections", HTMLOListElement),
    element("classes", HTMLDivElement),
    (detection) => this.#view.mark(detection),
    (label, on) => this.#toggle(label, on),
  );
  /** @type {ModelInfo[]} */
  #models = [];
  /** @type {Detection[]} everything above the lowest threshold, by falling confidence */
  #found = [];
  /** @type {Detection[]} */
  #shown = [];
  /** @type {Set<string>} */
  #hidden = new Set();
  /** @type {Blob | null} the file of the image; null for a frame of the camera, or no image */
  #file = null;
  #name = "";
  /** @type {AbortController} of the request whose answer is waited for */
  #request = new AbortController();
  #isScheduled = false;

  async start() {
    this.#listen();
    await this.#try(async () => {
      this.#models = (await withKey(this.#server, () => this.#server.models())).filter(({ error }) => !error);
      controls.model.replaceChildren(...this.#models.map(option));
      await this.#useModel();
      this.#say("Ready.");
    });
  }

  #listen() {
    controls.file.addEventListener("change", () => {
      this.#open(controls.file.files?.[0]);
      controls.file.value = ""; // so that the same file can be chosen again
    });
    controls.sample.addEventListener("click", () => this.#try(() => this.#openSample()));
    controls.address.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(() => this.#openUrl(controls.url.value));
    });
    controls.camera.addEventListener("click", () => this.#try(() => this.#toggleCamera()));
    controls.model.addEventListener("change", () => this.#try(() => this.#changeModel()));
    controls.device.addEventListener("change", () => this.#try(() => this.#changePlace()));
    for (const slider of [controls.threshold, controls.nms]) {
      slider.addEventListener("input", () => this.#schedule());
    }
    onFile(controls.drop, (file) => this.#open(file));
    controls.save.addEventListener("click", (event) => {
      const { save, copy } = /** @type {HTMLElement} */ (event.target).dataset;
      if (save) this.#try(() => this.#save(save));
      if (copy) this.#try(() => this.#copy(copy));
    });
  }

  get #model() {
    const found = this.#models.find(({ name }) => name === controls.model.value);
    if (!found) throw new Error("The service has no model that works. See its log, or /models.");
    return found;
  }

  // Images

  /** @param {File | undefined} file */
  #open(file) {
    if (file) this.#try(() => this.#openFile(file, file.name));
  }

  async #openSample() {
    const answer = await fetch("web/sample.jpg");
    await this.#openFile(await answer.blob(), "sample.jpg");
  }

  /** @param {string} url */
  async #openUrl(url) {
    this.#say("The service downloads the image …");
    const blob = await withKey(this.#server, () => this.#server.download(url, this.#model.name));
    await this.#openFile(blob, new URL(url).pathname.split("/").pop() || "image");
  }

  /**
   * @param {Blob} file
   * @param {string} name
   */
  async #openFile(file, name) {
    if (this.#camera.isOn) this.#stopCamera();
    const image = await decoded(file, name);
    this.#file = file;
    this.#name = name;
    this.#setFrame({ source: image, width: image.width, height: image.height });
    this.#use([]);
    await this.#detect();
  }

  /** @param {Frame} frame */
  #setFrame({ source, width, height }) {
    controls.invite.hidden = true;
    controls.canvases.hidden = false;
    controls.drop.classList.remove("empty");
    this.#view.setImage(source, width, height);
  }

  // Detection

  /** Detect in the image that is shown; an earlier request that still runs is given up. */
  async #detect() {
    if (controls.canvases.hidden) return; // there is no image yet
    this.#request.abort();
    this.#request = new AbortController();
    const { signal } = this.#request;
    this.#say("Detecting …");
    const began = performance.now();
    const found = await this.#detected(signal);
    if (signal.aborted) return;
    this.#use(found);
    this.#say(`${this.#summary()} in ${Math.round(performance.now() - began)} ms.`);
  }

  /**
   * @param {AbortSignal} [signal]
   * @returns {Promise<Detection[]>} what is in the image that is shown
   */
  async #detected(signal) {
    if (controls.device.checked) return this.#device.detect(this.#view.pixels(), LOWEST_THRESHOLD);
    const file = this.#file ?? (await this.#view.frame(CAMERA_QUALITY));
    const options = { model: this.#model.name, threshold: LOWEST_THRESHOLD };
    return withKey(this.#server, () => this.#server.detect(file, options, signal));
  }

  /** @param {Detection[]} found */
  #use(found) {
    this.#found = found;
    this.#update();
  }

  /** Update at the next frame of the screen, however often a slider moves until then. */
  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      this.#update();
    });
  }

  #update() {
    const threshold = Number(controls.threshold.value);
    const nms = Number(controls.nms.value);
    controls.thresholdValue.textContent = threshold.toFixed(2);
    controls.nmsValue.textContent = nms === 0 ? "off" : nms.toFixed(2);
    const diouBeta = this.#model.diou_beta;
    const options = { threshold, nms, diouBeta, size: this.#view.size, hidden: this.#hidden };
    const { shown, counts } = choose(this.#found, options);
    this.#shown = shown;
    this.#view.show(shown);
    this.#results.show(shown, counts, this.#hidden);
    controls.summary.textContent = this.#summary();
    controls.save.hidden = controls.canvases.hidden;
  }

  #summary() {
    const count = this.#shown.length;
    return `${count} ${count === 1 ? "detection" : "detections"}`;
  }

  /**
   * @param {string} label
   * @param {boolean} on
   */
  #toggle(label, on) {
    if (on) this.#hidden.delete(label);
    else this.#hidden.add(label);
    this.#update();
  }

  // Model and place

  async #changeModel() {
    this.#hidden.clear();
    this.#use([]);
    await this.#useModel();
    await this.#detect();
  }

  /** Show what the chosen model finds, with its own thresholds, and load it where it computes. */
  async #useModel() {
    const { name, classes, input, license, description, threshold, nms } = this.#model;
    const size = input ? `${input.width} × ${input.height}` : "";
    const facts = [description || classList(classes), size, license ? `licence: ${license}` : ""];
    controls.modelAbout.textContent = facts.filter(Boolean).join(" · ");
    controls.about.textContent = `${name} finds ${classList(classes)}`;
    controls.threshold.value = String(threshold ?? 0.25);
    controls.nms.value = String(nms ?? 0.45);
    this.#update();
    await this.#usePlace();
  }

  async #changePlace() {
    await this.#usePlace();
    await this.#detect();
  }

  /** Load the model on this device if it shall compute, and say what becomes of images. */
  async #usePlace() {
    const why = await this.#whyNotHere();
    controls.device.disabled = why !== "";
    if (why) controls.device.checked = false;
    if (!controls.device.checked) {
      this.#device.close();
      controls.place.textContent = `Images are sent to this service, and nowhere else. ${why}`.trim();
      return;
    }
    this.#say("The model is loaded …");
    const { runtime, milliseconds } = await this.#loadHere();
    controls.place.textContent =
      `Images stay on this device: nothing is sent. ${runtime === "webgpu" ? "WebGPU" : "WebAssembly"} ` +
      `takes ${Math.round(milliseconds)} ms for an image.`;
  }

  async #loadHere() {
    const { name, classes, input, resize } = this.#model;
    const url = new URL(`models/${encodeURIComponent(name)}/onnx`, location.href).href;
    const model = { url, classes, input: input ?? { width: 0, height: 0 }, resize: resize ?? "stretch" };
    try {
      return await this.#device.load(model, this.#server.headers);
    } catch (error) {
      controls.device.checked = false;
      controls.place.textContent = "Images are sent to this service, and nowhere else.";
      throw error;
    }
  }

  /** @returns {Promise<string>} a sentence, or nothing if the model can compute on this device */
  async #whyNotHere() {
    if (!this.#model.public) {
      return "This model may not be handed out (public: true in its model.yaml allows it).";
    }
    const runtime = await fetch("web/runtime/ort.wasm.min.mjs", { method: "HEAD" }).catch(() => null);
    return runtime?.ok ? "" : "This service was installed without the runtime for browsers.";
  }

  // Camera

  async #toggleCamera() {
    if (this.#camera.isOn) {
      this.#stopCamera();
      return;
    }
    this.#say("The browser asks for the camera …");
    await this.#camera.start();
    controls.camera.setAttribute("aria-pressed", "true");
    await this.#watch();
  }

  #stopCamera() {
    this.#camera.stop();
    controls.camera.setAttribute("aria-pressed", "false");
  }

  /** Detect in one frame after another: never more than one at a time. */
  async #watch() {
    const rate = new FrameRate();
    this.#file = null;
    this.#name = "camera.jpg";
    try {
      while (this.#camera.isOn) {
        const began = performance.now();
        const { source, width, height } = this.#camera.frame;
        this.#setFrame({ source, width, height });
        const found = await this.#detected();
        if (!this.#camera.isOn) return;
        this.#use(found);
        const latency = Math.round(performance.now() - began);
        this.#say(`${rate.count().toFixed(1)} frames a second, ${latency} ms each, ${this.#summary()}.`);
        await nextFrame();
      }
    } finally {
      this.#stopCamera();
    }
  }

  // Files and commands

  get #result() {
    const { width, height } = this.#view.size;
    return {
      name: this.#name,
      width,
      height,
      model: this.#model.name,
      threshold: Number(controls.threshold.value),
      nms: Number(controls.nms.value),
      shown: this.#shown,
    };
  }

  /** @param {string} kind */
  async #save(kind) {
    const stem = this.#name.replace(/\.[^.]*$/, "") || "image";
    const result = this.#result;
    /** @type {Record<string, () => [string, BlobPart | Promise<Blob>, string]>} */
    const files = {
      png: () => [`${stem}-detections.png`, this.#view.annotated(), "image/png"],
      json: () => [`${stem}.json`, toJson(result), "application/json"],
      csv: () => [`${stem}.csv`, toCsv(result), "text/csv"],
      opex: () => [`${stem}.opex.json`, toOpex(result, new Date()), "application/json"],
    };
    const [name, content, type] = files[kind]();
    download(name, new Blob([await content], { type }));
    this.#say(`Saved as ${name}.`);
  }

  /** @param {string} kind */
  async #copy(kind) {
    const needsKey = "X-API-Key" in this.#server.headers;
    const text = (kind === "curl" ? toCurl : toPython)(this.#result, location.href, needsKey);
    if (!(await copy(text))) throw new Error("The browser does not allow this page to copy.");
    this.#say("Copied.");
  }

  // What is said

  /** @param {string} text */
  #say(text) {
    controls.status.classList.remove("error");
    controls.status.textContent = text;
  }

  /**
   * Do something, and say what went wrong.
   *
   * @param {() => Promise<unknown>} action
   */
  async #try(action) {
    try {
      await action();
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return;
      controls.status.classList.add("error");
      controls.status.textContent = error instanceof Error ? error.message : String(error);
    }
  }
}

/** @param {ModelInfo} model */
function option({ name, default: isDefault }) {
  return new Option(name, name, isDefault, isDefault);
}

/** @param {string[]} classes */
function classList(classes) {
  const some = classes.slice(0, 6).join(", ");
  return classes.length > 6 ? `${some} and ${classes.length - 6} more` : some;
}

/** @returns {Promise<number>} */
function nextFrame() {
  return new Promise(requestAnimationFrame);
}

new Page().start();
