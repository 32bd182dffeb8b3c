/**
 * Detections as files and as commands.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {object} Result
 * @property {string} name of the image
 * @property {number} width of the image in pixels
 * @property {number} height of the image in pixels
 * @property {string} model
 * @property {number} threshold
 * @property {number} nms
 * @property {Detection[]} shown
 */

/** @param {Result} result */
export function toJson({ name, width, height, model, threshold, nms, shown }) {
  const detections = shown.map(({ label, classId, confidence, box }) => ({
    label,
    class_id: classId,
    confidence: rounded(confidence, 6),
    box: { x: rounded(box[0]), y: rounded(box[1]), width: rounded(box[2]), height: rounded(box[3]) },
  }));
  const document = { image: { name, width, height }, model, threshold, nms, detections };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** @param {Result} result */
export function toCsv({ name, shown }) {
  const rows = shown.map(({ label, confidence, box: [x, y, width, height] }) => [
    quoted(name),
    quoted(label),
    rounded(confidence, 6),
    ...[x - width / 2, y - height / 2, x + width / 2, y + height / 2].map((edge) => rounded(edge)),
  ]);
  const head = "file,label,confidence,left,top,right,bottom";
  return `${[head, ...rows.map((row) => row.join(","))].join("\n")}\n`;
}

/**
 * @param {Result} result
 * @param {Date} now
 */
export function toOpex({ name, width, height, shown }, now) {
  const objects = shown.map(({ label, confidence, box }) => {
    const [left, top, right, bottom] = pixelEdges(box, width, height);
    return {
      score: rounded(confidence, 6),
      label,
      bbox: { top, left, bottom, right },
      polygon: { points: [[left, top], [right, top], [right, bottom], [left, bottom]] },
    };
  });
  const digits = now.toISOString().replace(/[-:]/g, "").replace("T", "_").replace("Z", "");
  return `${JSON.stringify({ timestamp: `${digits}000`, id: name, objects }, null, 2)}\n`;
}

/**
 * The command that asks for what is shown.
 *
 * @param {Result} result
 * @param {string} address of the service
 * @param {boolean} needsKey
 */
export function toCurl({ name, model, threshold, nms }, address, needsKey) {
  const fields = [`image_file=@${curlQuoted(name)}`, `model=${model}`, `threshold=${threshold}`, `nms=${nms}`];
  const key = needsKey ? [`-H ${shellQuoted("X-API-Key: KEY")}`] : [];
  const parts = ["curl", ...key, ...fields.map((field) => `-F ${shellQuoted(field)}`)];
  return [...parts, shellQuoted(new URL("detect", address).href)].join(" ");
}

/**
 * @param {Result} result
 * @param {string} address of the service
 * @param {boolean} needsKey
 */
export function toPython({ name, model, threshold, nms }, address, needsKey) {
  const headers = needsKey ? '\n    headers={"X-API-Key": "KEY"},' : "";
  return `import requests

answer = requests.post(
    ${JSON.stringify(new URL("detect", address).href)},${headers}
    files={"image_file": open(${JSON.stringify(name)}, "rb")},
    data={"model": ${JSON.stringify(model)}, "threshold": ${threshold}, "nms": ${nms}},
)
answer.raise_for_status()
for label, confidence, (x, y, width, height) in answer.json():
    print(label, confidence, x, y, width, height)
`;
}

/**
 * Edges in whole pixels within the image.
 *
 * @param {Detection["box"]} box
 * @param {number} width
 * @param {number} height
 */
function pixelEdges([x, y, w, h], width, height) {
  /** @param {number} edge @param {number} last */
  const within = (edge, last) => Math.min(Math.max(Math.round(edge), 0), last);
  return [
    within(x - w / 2, width),
    within(y - h / 2, height),
    within(x + w / 2, width),
    within(y + h / 2, height),
  ];
}

/** @param {number} value @param {number} digits */
function rounded(value, digits = 2) {
  return Number(value.toFixed(digits));
}

/** @param {string} text */
function quoted(text) {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/**
 * A file's name as curl's option -F reads it.
 *
 * @param {string} name
 */
function curlQuoted(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, "\\$&")}"` : name;
}

/** @param {string} text */
function shellQuoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
