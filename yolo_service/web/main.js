/** The page: what its controls do. */
import { Camera, FrameRate } from "./camera.js";
import { controls, element } from "./controls.js";
import { choose } from "./detections.js";
import { ModelChanged } from "./device.js";
import { decoded, onFile } from "./files.js";
import { withKey } from "./key.js";
import { Place } from "./place.js";
import { Results } from "./results.js";
import { copyAs, saveAs } from "./save.js";
import { Server } from "./server.js";
import { View } from "./view.js";

/**
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./server.js").ModelInfo} ModelInfo
 * @typedef {{source: CanvasImageSource, width: number, height: number}} Frame
 */

const LOWEST_THRESHOLD = 0.05; // of the slider, unless a model's own is lower
const CAMERA_QUALITY = 0.9;

class Page {
  #server = new Server();
  #place = new Place(this.#server, (text) => this.#say(text));
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
  /** @type {AbortController} of the image that is brought; the camera is one */
  #opening = new AbortController();
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

  /** Give up the image that is being brought, and the camera, for another one. */
  #newOpening() {
    this.#opening.abort();
    this.#stopCamera();
    this.#opening = new AbortController();
    return this.#opening.signal;
  }

  async #openSample() {
    const signal = this.#newOpening();
    const answer = await fetch("web/sample.jpg", { signal });
    await this.#openFile(await answer.blob(), "sample.jpg", signal);
  }

  /** @param {string} url */
  async #openUrl(url) {
    const signal = this.#newOpening();
    this.#say("The service downloads the image …");
    const ask = () => this.#server.download(url, this.#model.name, signal);
    const blob = await withKey(this.#server, ask);
    await this.#openFile(blob, new URL(url).pathname.split("/").pop() || "image", signal);
  }

  /**
   * @param {Blob} file
   * @param {string} name
   * @param {AbortSignal} [signal] ends the opening
   */
  async #openFile(file, name, signal = this.#newOpening()) {
    const image = await decoded(file, name);
    if (signal.aborted) return;
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
    if (controls.canvases.hidden || this.#camera.isOn) return; // no image yet, or the next frame
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
    const threshold = Number(controls.threshold.min);
    if (await this.#place.isHere()) return this.#place.detect(this.#view.pixels(), threshold);
    const file = this.#file ?? (await this.#view.frame(CAMERA_QUALITY));
    const options = { model: this.#model.name, threshold };
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
    controls.threshold.min = String(Math.min(LOWEST_THRESHOLD, threshold ?? 1));
    controls.threshold.value = String(threshold ?? 0.25);
    controls.nms.value = String(nms ?? 0.45);
    this.#update();
    await this.#place.use(this.#model);
  }

  async #changePlace() {
    await this.#place.use(this.#model);
    await this.#detect();
  }

  // Camera

  async #toggleCamera() {
    if (this.#camera.isOn) {
      this.#stopCamera();
      return;
    }
    const signal = this.#newOpening();
    this.#say("The browser asks for the camera …");
    controls.camera.disabled = true;
    try {
      await this.#camera.start();
    } finally {
      controls.camera.disabled = false;
    }
    if (signal.aborted) return this.#camera.stop();
    controls.camera.setAttribute("aria-pressed", "true");
    await this.#watch(signal);
  }

  #stopCamera() {
    this.#opening.abort();
    this.#camera.stop();
    controls.camera.setAttribute("aria-pressed", "false");
  }

  /**
   * Detect in one frame after another: never more than one at a time.
   *
   * @param {AbortSignal} signal ends it
   */
  async #watch(signal) {
    const rate = new FrameRate();
    this.#file = null;
    this.#name = "camera.jpg";
    try {
      while (!signal.aborted) {
        await this.#watchFrame(rate, signal);
        await nextFrame();
      }
    } finally {
      if (!signal.aborted) this.#stopCamera();
    }
  }

  /**
   * @param {FrameRate} rate
   * @param {AbortSignal} signal
   */
  async #watchFrame(rate, signal) {
    const began = performance.now();
    const { source, width, height } = this.#camera.frame;
    this.#setFrame({ source, width, height });
    try {
      const found = await this.#detected();
      if (signal.aborted) return;
      this.#use(found);
      const latency = Math.round(performance.now() - began);
      this.#say(`${rate.count().toFixed(1)} frames a second, ${latency} ms each, ${this.#summary()}.`);
    } catch (error) {
      if (!(error instanceof ModelChanged)) throw error; // the next frame is for the other model
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
    this.#say(`Saved as ${await saveAs(kind, this.#result, () => this.#view.annotated())}.`);
  }

  /** @param {string} kind */
  async #copy(kind) {
    await copyAs(kind, this.#result, "X-API-Key" in this.#server.headers);
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
      const isGivenUp = error instanceof DOMException && error.name === "AbortError";
      if (isGivenUp || error instanceof ModelChanged) return;
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
