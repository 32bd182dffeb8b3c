/**
 * What Darknet does with an image before the network, and with boxes after it.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./detections.js").Size} Size
 * @typedef {{x: number, y: number, width: number, height: number}} Placement
 */

/**
 * Where an image lies in the network's input.
 *
 * @param {Size} image
 * @param {Size} net
 * @param {"stretch" | "letterbox"} resize
 * @returns {Placement} in pixels of the input
 */
export function placement(image, net, resize) {
  if (resize === "stretch") return { x: 0, y: 0, width: net.width, height: net.height };
  let { width, height } = net;
  if (Math.fround(net.width / image.width) < Math.fround(net.height / image.height)) {
    height = Math.max(1, Math.trunc((image.height * net.width) / image.width));
  } else {
    width = Math.max(1, Math.trunc((image.width * net.height) / image.height));
  }
  return {
    x: Math.trunc((net.width - width) / 2),
    y: Math.trunc((net.height - height) / 2),
    width,
    height,
  };
}

/**
 * Resize an image into the network's input, as Darknet does: corners are aligned, bilinear.
 *
 * @param {ImageData} image
 * @param {Size} net
 * @param {"stretch" | "letterbox"} resize
 * @returns {Float32Array} [3, net.height, net.width], red first, 0..1; what the image leaves free
 *   is 0.5
 */
export function resizeImage(image, net, resize) {
  const place = placement(image, net, resize);
  const plane = net.width * net.height;
  const out = new Float32Array(3 * plane).fill(0.5);
  const columns = axis(image.width, place.width);
  const rows = axis(image.height, place.height);
  const { data } = image;
  for (let row = 0; row < place.height; row++) {
    const above = rows.low[row] * image.width;
    const below = rows.high[row] * image.width;
    const down = rows.part[row];
    let at = (place.y + row) * net.width + place.x;
    for (let column = 0; column < place.width; column++, at++) {
      const left = columns.low[column];
      const right = columns.high[column];
      const across = columns.part[column];
      for (let channel = 0; channel < 3; channel++) {
        const top = mix(data, above + left, above + right, across, channel);
        const bottom = mix(data, below + left, below + right, across, channel);
        out[channel * plane + at] = (top + (bottom - top) * down) / 255;
      }
    }
  }
  return out;
}

/**
 * @param {Uint8ClampedArray} data
 * @param {number} first index of a pixel
 * @param {number} second index of another pixel
 * @param {number} part of the second
 * @param {number} channel
 */
function mix(data, first, second, part, channel) {
  const value = data[4 * first + channel];
  return value + (data[4 * second + channel] - value) * part;
}

/**
 * The two source lines of each line of the result, and the part of the second.
 *
 * @param {number} from lines of the image
 * @param {number} to lines of the result
 */
function axis(from, to) {
  const low = new Int32Array(to);
  const high = new Int32Array(to);
  const part = new Float32Array(to);
  const step = to > 1 ? Math.fround((from - 1) / (to - 1)) : 0;
  for (let line = 0; line < to; line++) {
    const position = Math.fround(line * step);
    low[line] = Math.min(Math.trunc(position), from - 1);
    high[line] = Math.min(low[line] + 1, from - 1);
    part[line] = position - low[line];
  }
  return { low, high, part };
}

/**
 * Make detections of the outputs of an exported graph.
 *
 * @param {Float32Array} boxes [M, 4], left, top, right, bottom in pixels of the network's input
 * @param {Float32Array} scores [M, classes]
 * @param {string[]} names of the classes
 * @param {number} threshold smallest confidence, exclusive
 * @param {Size} image
 * @param {Size} net
 * @param {"stretch" | "letterbox"} resize
 * @returns {Detection[]} boxes in pixels of the image, not suppressed and not sorted
 */
export function detections(boxes, scores, names, threshold, image, net, resize) {
  const place = placement(image, net, resize);
  const scaleX = image.width / place.width;
  const scaleY = image.height / place.height;
  const left = resize === "letterbox" ? (net.width - place.width) / 2 : 0;
  const top = resize === "letterbox" ? (net.height - place.height) / 2 : 0;
  /** @type {Detection[]} */
  const found = [];
  for (let index = 0; index < scores.length; index++) {
    const confidence = scores[index];
    if (!(confidence > threshold)) continue;
    const classId = index % names.length;
    const at = ((index - classId) / names.length) * 4;
    const [x0, y0, x1, y1] = boxes.subarray(at, at + 4);
    /** @type {Detection["box"]} */
    const box = [
      ((x0 + x1) / 2 - left) * scaleX,
      ((y0 + y1) / 2 - top) * scaleY,
      (x1 - x0) * scaleX,
      (y1 - y0) * scaleY,
    ];
    found.push({ label: names[classId], classId, confidence, box });
  }
  return found;
}
