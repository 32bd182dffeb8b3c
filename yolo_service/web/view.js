/**
 * Images with boxes on canvases.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {{left: number, top: number, right: number, bottom: number}} Rectangle in pixels
 */
import { colours } from "./detections.js";

const FONT_PIXELS = 13;
const MAX_EXPORT_LINE = 400; // an image of 400 pixels gets lines of one pixel

/**
 * Draw boxes, and over all of them the labels that have room; the most confident come first.
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
  const ordered = [...shown].reverse().filter((detection) => detection !== marked);
  if (marked) ordered.push(marked);
  const places = ordered.map(({ box: [x, y, width, height] }) => ({
    left: (x - width / 2) * scale,
    top: (y - height / 2) * scale,
    width: width * scale,
    height: height * scale,
  }));
  ordered.forEach(({ classId }, index) => {
    const { left, top, width, height } = places[index];
    context.lineWidth = (ordered[index] === marked ? 4 : 2) * unit;
    context.strokeStyle = colours(classId).fill;
    context.strokeRect(left, top, width, height);
  });
  /** @type {Rectangle[]} */
  const taken = [];
  for (let index = ordered.length - 1; index >= 0; index--) {
    drawLabel(context, ordered[index], places[index], unit, taken);
  }
}

/**
 * Draw a label, unless it would cover one that was drawn before.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Detection} detection
 * @param {{left: number, top: number}} place of the box
 * @param {number} unit
 * @param {Rectangle[]} taken where labels are; gets this one
 */
function drawLabel(context, { label, classId, confidence }, { left, top }, unit, taken) {
  const text = `${label || `class ${classId}`} ${Math.round(confidence * 100)} %`;
  const width = context.measureText(text).width + 8 * unit;
  const height = (FONT_PIXELS + 6) * unit;
  const x = Math.min(Math.max(left - unit, 0), Math.max(context.canvas.width - width, 0));
  const y = top >= height ? top - height : Math.max(top, 0);
  const own = { left: x, top: y, right: x + width, bottom: y + height };
  if (taken.some((other) => overlaps(own, other))) return;
  taken.push(own);
  const { fill, text: colour } = colours(classId);
  context.fillStyle = fill;
  context.fillRect(x, y, width, height);
  context.fillStyle = colour;
  context.fillText(text, x + 4 * unit, y + height / 2);
}

/**
 * @param {Rectangle} a
 * @param {Rectangle} b
 */
function overlaps(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
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
    const context = this.#context(this.#image);
    context.fillStyle = "#fff"; // what is transparent must not show the image before
    context.fillRect(0, 0, width, height);
    context.drawImage(source, 0, 0, width, height);
  }

  /** @returns {ImageData} the pixels of the image */
  pixels() {
    return this.#context(this.#image).getImageData(0, 0, this.#image.width, this.#image.height);
  }

  /**
   * @param {number} quality 0..1
   * @returns {Promise<Blob>} the image as JPEG
   */
  frame(quality) {
    return toBlob(this.#image, "image/jpeg", quality);
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
function toBlob(canvas, type, quality) {
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error("The image is too large for this browser."));
    canvas.toBlob(done, type, quality);
  });
}
