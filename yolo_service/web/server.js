/**
 * The service's routes, as the page calls them.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {object} ModelInfo
 * @property {string} name
 * @property {boolean} default
 * @property {string | null} error
 * @property {string[]} classes
 * @property {{width: number, height: number} | null} input
 * @property {number | null} threshold
 * @property {number | null} nms
 * @property {"stretch" | "letterbox" | null} resize
 * @property {number | null} diou_beta
 * @property {boolean} public
 * @property {string | null} license
 * @property {string | null} description
 */

const KEY = "api-key";

/** What the service answered instead of a result, in words for people. */
export class ServiceError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Server {
  /** The headers that an API key needs. */
  get headers() {
    const key = sessionStorage.getItem(KEY);
    return /** @type {Record<string, string>} */ (key ? { "X-API-Key": key } : {});
  }

  /** @param {string} key is kept until the tab is closed */
  useKey(key) {
    sessionStorage.setItem(KEY, key);
  }

  /** @returns {Promise<ModelInfo[]>} */
  async models() {
    return (await (await this.#ask("models")).json()).models;
  }

  /**
   * Detect in an image file.
   *
   * @param {Blob} image
   * @param {{model: string, threshold: number}} options
   * @param {AbortSignal} [signal]
   * @returns {Promise<Detection[]>} not suppressed, sorted by falling confidence
   */
  async detect(image, { model, threshold }, signal) {
    const form = new FormData();
    form.append("image_file", image, "image");
    form.append("model", model);
    form.append("threshold", String(threshold));
    form.append("nms", "0");
    form.append("format", "objects");
    const answer = await this.#ask("detect", { method: "POST", body: form, signal });
    const { detections } = await answer.json();
    return detections.map((/** @type {any} */ found) => ({
      label: found.label,
      classId: found.class_id,
      confidence: found.confidence,
      box: [found.box.x, found.box.y, found.box.width, found.box.height],
    }));
  }

  /**
   * Have the service download an image: a page may not load images of other addresses.
   *
   * @param {string} url
   * @param {string} model
   * @param {AbortSignal} signal
   * @returns {Promise<Blob>} a PNG with the pixels of the image, on which nothing is drawn
   */
  async download(url, model, signal) {
    const query = new URLSearchParams({ url, model, threshold: "1" });
    const options = { headers: { Accept: "image/png" }, signal };
    return (await this.#ask(`annotate?${query}`, options)).blob();
  }

  /**
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   */
  async #ask(path, options = {}) {
    const headers = { ...options.headers, ...this.headers };
    let answer;
    try {
      answer = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      throw new ServiceError(0, "The service does not answer. Check whether it still runs.");
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({}));
    throw new ServiceError(answer.status, problem.detail || problem.title || `Error ${answer.status}.`);
  }
}
