/**
 * Detections as plain objects: filtering, non-maximum suppression, counts.
 *
 * @typedef {object} Detection
 * @property {string} label
 * @property {number} classId
 * @property {number} confidence 0..1
 * @property {[number, number, number, number]} box centre x, centre y, width, height in pixels of
 *   the image
 * @typedef {{width: number, height: number}} Size in pixels
 */

/**
 * How much of their joint area two boxes share, 0..1 (intersection over union).
 *
 * With an exponent, minus (squared distance of the centres / squared diagonal of the box around
 * both) ** exponent, which is Darknet's DIoU; lengths are then in parts of the image's sides.
 *
 * @param {Detection["box"]} a
 * @param {Detection["box"]} b
 * @param {number | null} diouBeta
 * @param {Size} size of the image
 * @returns {number}
 */
function overlap([ax, ay, aw, ah], [bx, by, bw, bh], diouBeta, size) {
  const width = Math.min(ax + aw / 2, bx + bw / 2) - Math.max(ax - aw / 2, bx - bw / 2);
  const height = Math.min(ay + ah / 2, by + bh / 2) - Math.max(ay - ah / 2, by - bh / 2);
  const shared = Math.max(0, width) * Math.max(0, height);
  const iou = shared / (aw * ah + bw * bh - shared);
  if (diouBeta === null) return iou;
  const around = [
    (Math.max(ax + aw / 2, bx + bw / 2) - Math.min(ax - aw / 2, bx - bw / 2)) / size.width,
    (Math.max(ay + ah / 2, by + bh / 2) - Math.min(ay - ah / 2, by - bh / 2)) / size.height,
  ];
  const diagonal = around[0] ** 2 + around[1] ** 2;
  const distance = ((ax - bx) / size.width) ** 2 + ((ay - by) / size.height) ** 2;
  return diagonal ? iou - (distance / diagonal) ** diouBeta : iou;
}

/**
 * Keep of overlapping boxes of one class the most confident; the most confident comes first.
 *
 * @param {Detection[]} found sorted by falling confidence
 * @param {number} largest overlap that is allowed, 0..1; 0 keeps all
 * @param {number | null} diouBeta exponent of DIoU; null: by IoU
 * @param {Size} size of the image
 * @returns {Detection[]}
 */
export function suppress(found, largest, diouBeta, size) {
  if (largest === 0) return found;
  /** @type {Map<number, Detection[]>} */
  const keptByClass = new Map();
  return found.filter((detection) => {
    const kept = keptByClass.get(detection.classId) ?? [];
    if (kept.some((other) => overlap(other.box, detection.box, diouBeta, size) > largest)) return false;
    kept.push(detection);
    keptByClass.set(detection.classId, kept);
    return true;
  });
}

/**
 * Choose what is shown of everything that was found.
 *
 * @param {Detection[]} found sorted by falling confidence
 * @param {{threshold: number, nms: number, diouBeta: number | null, size: Size,
 *   hidden: Set<string>}} options
 * @returns {{shown: Detection[], counts: Map<string, number>}} what is shown, and how many there
 *   are of each class, hidden ones too
 */
export function choose(found, { threshold, nms, diouBeta, size, hidden }) {
  const end = found.findIndex((detection) => !(detection.confidence > threshold));
  const kept = suppress(end < 0 ? found : found.slice(0, end), nms, diouBeta, size);
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const { label } of kept) counts.set(label, (counts.get(label) ?? 0) + 1);
  const shown = hidden.size ? kept.filter(({ label }) => !hidden.has(label)) : kept;
  return { shown, counts };
}

/**
 * Sort by falling confidence.
 *
 * @param {Detection[]} found
 * @returns {Detection[]}
 */
export function sorted(found) {
  return found.sort((a, b) => b.confidence - a.confidence);
}

/**
 * The colours of a class: one that differs from those of its neighbours, and that of text on it.
 *
 * @param {number} classId
 * @returns {{fill: string, text: string}} CSS colours
 */
export function colours(classId) {
  const hue = (classId * 137.508 + 5) % 360; // the golden angle
  const isLight = hue > 35 && hue < 195; // yellow to cyan
  return { fill: `hsl(${Math.round(hue)} 85% ${isLight ? 55 : 42}%)`, text: isLight ? "#000" : "#fff" };
}
