/**
 * Images with boxes on canvases.
 *
 * @typedef {import("./detections.js").Detection} Detection
 */
import { colour } from "./detections.js";

const FONT_PIXELS = 13;
const MAX_EXPORT_LINE = 400; // an image of 400 pixels gets lines of one pixel

/**
 * Draw boxes and labels.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Detection[]} shown
 * @param {number} scale pixels of the canvas for a pixel of the image
 * @param {number} unit pixels of the canvas for a pixel of the page
 * @param {Detection | null} marked is drawn last and thicker
 */
function drawBoxes(context, shown, scale, unit, marked) {
  context.font = `600 ${FONT_PIXELS * unit}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  // The most confident come first in the list, and last on the canvas, where they cover others.
  for (const detection of [...shown].reverse()) {
    if (detection !== marked) drawBox(context, detection, scale, unit, 2);
  }
  if (marked) drawBox(context, marked, scale, unit, 4);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Detection} detection
 * @param {number} scale
 * @param {number} unit
 * @param {number} line width in pixels of the page
 */
function drawBox(context, { label, classId, confidence, box }, scale, unit, line) {
  const [x, y, width, height] = box.map((value) => value * scale);
  const left = x - width / 2;
  const top = y - height / 2;
  context.lineWidth = line * unit;
  context.strokeStyle = context.fillStyle = colour(classId);
  context.strokeRect(left, top, width, height);
  const text = `${label} ${Math.round(confidence * 100)} %`;
  const textWidth = context.measureText(text).width + 8 * unit;
  const textHeight = (FONT_PIXELS + 6) * unit;
  const inside = Math.min(Math.max(left - context.lineWidth / 2, 0), context.canvas.width - textWidth);
  const above = top - textHeight;
  const at = above >= 0 ? above : Math.max(top, 0);
  context.fillRect(inside, at, textWidth, textHeight);
  context.fillStyle = "#fff";
  context.fillText(text, inside + 4 * unit, at + textHeight / 2);
}

/** The image that is looked at, with its boxes. The boxes are sharp at every zoom. */
export class View {
  #image;
  #overlay;
  /** @type {Detection[]} */
  #shown = [];
  /** @type {Detection | null} */
  #marked = null;

  /**
   * @param {HTMLCanvasElement} image
   * @param {HTMLCanvasElement} overlay lies over ``image`` in the page
   */
  constructor(image, overlay) {
    this.#image = image;
    this.#overlay = overlay;
    new ResizeObserver(() => this.#draw()).observe(image);
  }

  /** Width and height of the image in pixels. */
  get size() {
    return { width: this.#image.width, height: this.#image.height };
  }

  /**
   * Show another image, without boxes.
   *
   * @param {CanvasImageSource} source
   * @param {number} width in pixels
   * @param {number} height in pixels
   */
  setImage(source, width, height) {
    if (this.#image.width !== width) this.#image.width = width;
    if (this.#image.height !== height) this.#image.height = height;
    this.#context(this.#image).drawImage(source, 0, 0, width, height);
  }

  /** @returns {ImageData} the pixels of the image */
  pixels() {
    return this.#context(this.#image).getImageData(0, 0, this.#image.width, this.#image.height);
  }

  /** @param {Detection[]} shown */
  show(shown) {
    this.#shown = shown;
    this.#draw();
  }

  /** @param {Detection | null} detection is drawn thicker */
  mark(detection) {
    this.#marked = detection;
    this.#draw();
  }

  /** @returns {Promise<Blob>} the image in its own size with its boxes, as PNG */
  annotated() {
    const canvas = document.createElement("canvas");
    canvas.width = this.#image.width;
    canvas.height = this.#image.height;
    const context = this.#context(canvas);
    context.drawImage(this.#image, 0, 0);
    const unit = Math.max(1, Math.max(canvas.width, canvas.height) / (2 * MAX_EXPORT_LINE));
    drawBoxes(context, this.#shown, 1, unit, null);
    return toBlob(canvas, "image/png");
  }

  #draw() {
    const unit = window.devicePixelRatio;
    const { clientWidth, clientHeight } = this.#image;
    this.#overlay.width = Math.round(clientWidth * unit);
    this.#overlay.height = Math.round(clientHeight * unit);
    const scale = this.#overlay.width / this.#image.width;
    const marked = this.#marked && this.#shown.includes(this.#marked) ? this.#marked : null;
    drawBoxes(this.#context(this.#overlay), this.#shown, scale, unit, marked);
  }

  /** @param {HTMLCanvasElement} canvas */
  #context(canvas) {
    const options = { willReadFrequently: canvas === this.#image };
    return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", options));
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {string} type
 * @param {number} [quality]
 * @returns {Promise<Blob>}
 */
export function toBlob(canvas, type, quality) {
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error("The image is too large for this browser."));
    canvas.toBlob(done, type, quality);
  });
}
