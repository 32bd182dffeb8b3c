/**
 * The worker in which a model computes on this device. It loads the exported graph from the service
 * once and sends nothing.
 *
 * @typedef {import("./detections.js").Detection} Detection
 * @typedef {import("./detections.js").Size} Size
 * @typedef {object} Model
 * @property {string} url of the graph
 * @property {string[]} classes
 * @property {Size} input
 * @property {"stretch" | "letterbox"} resize
 * @typedef {{id: number, load?: {model: Model, headers: Record<string, string>},
 *   detect?: {image: ImageData, threshold: number}}} Call
 */
import { detections, resizeImage } from "./darknet.js";
import { sorted } from "./detections.js";

const RUNTIME = new URL("./runtime/", import.meta.url).href;
const TIMED_RUNS = 3;

/** @type {{session: any, ort: any, model: Model} | null} */
let loaded = null;

/**
 * Load a model with the faster of the runtimes that this device has.
 *
 * @param {Model} model
 * @param {Record<string, string>} headers of the request for the graph
 * @returns {Promise<{runtime: string, milliseconds: number}>}
 */
async function load(model, headers) {
  loaded = null;
  const answer = await fetch(model.url, { headers });
  if (!answer.ok) throw new Error(`The model cannot be loaded: the service answered ${answer.status}.`);
  const graph = new Uint8Array(await answer.arrayBuffer());
  const candidates = [await open("wasm", graph, model)];
  if (await hasGpu()) {
    try {
      candidates.push(await open("webgpu", graph, model));
    } catch (error) {
      console.info("WebGPU is not used:", error);
    }
  }
  candidates.sort((a, b) => a.milliseconds - b.milliseconds);
  const [best, ...others] = candidates;
  for (const other of others) await other.session.release();
  loaded = { session: best.session, ort: best.ort, model };
  return { runtime: best.runtime, milliseconds: best.milliseconds };
}

/** Whether there is a GPU that is not computed by the processor. */
async function hasGpu() {
  const gpu = /** @type {any} */ (navigator).gpu;
  const adapter = await gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter));
}

/**
 * @param {"wasm" | "webgpu"} runtime
 * @param {Uint8Array} graph
 * @param {Model} model
 */
async function open(runtime, graph, model) {
  const ort = await import(`${RUNTIME}ort.${runtime}.min.mjs`);
  ort.env.wasm.wasmPaths = RUNTIME;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;
  const session = await ort.InferenceSession.create(graph, { executionProviders: [runtime] });
  const { width, height } = model.input;
  const images = new ort.Tensor("float32", new Float32Array(3 * width * height), [1, 3, height, width]);
  await session.run({ images }); // the first run compiles
  const began = performance.now();
  for (let run = 0; run < TIMED_RUNS; run++) await session.run({ images });
  return { runtime, ort, session, milliseconds: (performance.now() - began) / TIMED_RUNS };
}

/**
 * Detect in an image with the model that is loaded.
 *
 * @param {ImageData} image
 * @param {number} threshold
 * @returns {Promise<Detection[]>} not suppressed, sorted by falling confidence
 */
async function detect(image, threshold) {
  if (!loaded) throw new Error("No model is loaded.");
  const { session, ort, model } = loaded;
  const { width, height } = model.input;
  const pixels = resizeImage(image, model.input, model.resize);
  const images = new ort.Tensor("float32", pixels, [1, 3, height, width]);
  const { boxes, scores } = await session.run({ images });
  const found = detections(
    boxes.data,
    scores.data,
    model.classes,
    threshold,
    image,
    model.input,
    model.resize,
  );
  return sorted(found);
}

self.onmessage = async (/** @type {MessageEvent<Call>} */ { data }) => {
  try {
    const { id } = data;
    const result = data.load
      ? await load(data.load.model, data.load.headers)
      : data.detect && (await detect(data.detect.image, data.detect.threshold));
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error instanceof Error ? error.message : error) });
  }
};
