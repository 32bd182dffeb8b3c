/**
 * The list of detections, and the counts of classes with a switch for each.
 *
 * @typedef {import("./detections.js").Detection} Detection
 */
import { colours } from "./detections.js";

export class Results {
  #list;
  #classes;
  #onMark;
  #onToggle;
  /** @type {Detection[]} */
  #shown = [];
  #classesText = "";

  /**
   * @param {HTMLElement} list gets a row for each detection
   * @param {HTMLElement} classes gets a switch for each class
   * @param {(detection: Detection | null) => void} onMark a row is pointed at or focused
   * @param {(label: string, on: boolean) => void} onToggle a class is switched
   */
  constructor(list, classes, onMark, onToggle) {
    this.#list = list;
    this.#classes = classes;
    this.#onMark = onMark;
    this.#onToggle = onToggle;
    for (const type of ["pointerover", "focusin"]) {
      list.addEventListener(type, (event) => this.#onMark(this.#detectionAt(event)));
    }
    for (const type of ["pointerleave", "focusout"]) {
      list.addEventListener(type, () => this.#onMark(null));
    }
  }

  /**
   * @param {Detection[]} shown
   * @param {Map<string, number>} counts of all classes, hidden ones too
   * @param {Set<string>} hidden
   */
  show(shown, counts, hidden) {
    this.#shown = shown;
    const rows = this.#list.children;
    while (rows.length > shown.length) rows[rows.length - 1].remove();
    while (rows.length < shown.length) this.#list.append(newRow());
    shown.forEach((detection, index) => fillRow(/** @type {HTMLElement} */ (rows[index]), detection));
    this.#showClasses(counts, hidden);
  }

  /**
   * @param {Map<string, number>} counts
   * @param {Set<string>} hidden
   */
  #showClasses(counts, hidden) {
    const labels = [...new Set([...counts.keys(), ...hidden])].sort();
    const text = JSON.stringify(labels.map((label) => [label, counts.get(label), hidden.has(label)]));
    if (text === this.#classesText) return; // the switch that has the focus stays
    this.#classesText = text;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset.label;
    this.#classes.replaceChildren(
      ...labels.map((label) => this.#newSwitch(label, counts.get(label) ?? 0, !hidden.has(label))),
    );
    for (const box of this.#classes.querySelectorAll("input")) {
      if (focused !== undefined && box.dataset.label === focused) box.focus();
    }
  }

  /**
   * @param {string} label
   * @param {number} count
   * @param {boolean} on
   */
  #newSwitch(label, count, on) {
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = on;
    box.dataset.label = label;
    box.addEventListener("change", () => this.#onToggle(label, box.checked));
    const text = document.createElement("label");
    text.className = "chip";
    text.append(box, ` ${label} `, Object.assign(document.createElement("b"), { textContent: count }));
    return text;
  }

  /** @param {Event} event */
  #detectionAt(event) {
    const row = /** @type {HTMLElement} */ (event.target).closest("li");
    return row ? this.#shown[[...this.#list.children].indexOf(row)] : null;
  }
}

function newRow() {
  const row = document.createElement("li");
  row.tabIndex = 0;
  row.append(...["swatch", "name", "confidence", "size"].map((name) => span(name)));
  return row;
}

/** @param {string} name */
function span(name) {
  return Object.assign(document.createElement("span"), { className: name });
}

/**
 * @param {HTMLElement} row
 * @param {Detection} detection
 */
function fillRow(row, { label, classId, confidence, box }) {
  const key = `${label}|${confidence}|${box}`;
  if (row.dataset.key === key) return;
  row.dataset.key = key;
  row.dataset.label = label;
  row.dataset.confidence = String(confidence);
  row.dataset.box = box.map((value) => Number(value.toFixed(3))).join(",");
  const [swatch, name, percent, size] = /** @type {HTMLCollectionOf<HTMLElement>} */ (row.children);
  swatch.style.setProperty("background", colours(classId).fill);
  name.textContent = label || `class ${classId}`;
  percent.textContent = `${(confidence * 100).toFixed(1)} %`;
  size.textContent = `${Math.round(box[2])} × ${Math.round(box[3])}`;
}
