/**
 * A model that computes on this device, in a worker.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./worker.js").Model} Model
 */

/** Another model was loaded before this one had answered. */
export class ModelChanged extends Error {}

export class Device {
  /** @type {Worker | null} */
  #worker = null;
  #calls = 0;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();

  /**
   * Load a model; the one before it is forgotten.
   *
   * @param {Model} model
   * @param {Record<string, string>} headers of the request for the graph
   * @returns {Promise<{runtime: string, milliseconds: number}>} what computes, and its time for one
   *   image
   */
  load(model, headers) {
    this.close();
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#answer(data);
    this.#worker.onerror = ({ message }) => this.#end(new Error(message || "The worker cannot be started."));
    return this.#call({ load: { model, headers } });
  }

  /**
   * @param {ImageData} image
   * @param {number} threshold
   * @returns {Promise<Detection[]>} not suppressed, sorted by falling confidence
   */
  detect(image, threshold) {
    return this.#call({ detect: { image, threshold } }, [image.data.buffer]);
  }

  /** End the worker and free its memory. */
  close() {
    this.#end(new ModelChanged("The model was changed."));
  }

  /**
   * @param {object} call
   * @param {Transferable[]} transfer
   * @returns {Promise<any>}
   */
  #call(call, transfer = []) {
    const worker = this.#worker;
    if (!worker) return Promise.reject(new Error("No model is loaded on this device."));
    return new Promise((resolve, reject) => {
      const id = ++this.#calls;
      this.#waiting.set(id, { resolve, reject });
      worker.postMessage({ id, ...call }, transfer);
    });
  }

  /** @param {{id: number, result?: any, error?: string}} answer */
  #answer({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  /** @param {Error} error of the calls that wait */
  #end(error) {
    this.#worker?.terminate();
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
