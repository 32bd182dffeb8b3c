/** The camera of the device, one frame at a time. */

const BLOCKED =
  "The browser lets a page use the camera only over https, or on the machine that runs the service. " +
  "Open this page as http://localhost, or put the service behind https.";

export class Camera {
  #video;
  /** @type {MediaStream | null} */
  #stream = null;

  /** @param {HTMLVideoElement} video plays what the camera records; it is not shown */
  constructor(video) {
    this.#video = video;
  }

  get isOn() {
    return this.#stream !== null;
  }

  /**
   * Ask for the camera and wait for its first frame.
   *
   * @throws {Error} a sentence that says why there is none
   */
  async start() {
    if (!navigator.mediaDevices) throw new Error(BLOCKED);
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: "environment", width: { ideal: 1280 } },
      });
    } catch (error) {
      throw new Error(reason(/** @type {DOMException} */ (error)));
    }
    this.#video.srcObject = this.#stream;
    try {
      await this.#video.play();
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#video.srcObject = null;
  }

  /** The frame that the camera shows now; it changes. */
  get frame() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    return { source: this.#video, width, height };
  }
}

/** @param {DOMException} error */
function reason(error) {
  if (error.name === "NotAllowedError") {
    return "The browser does not allow this page the camera. Allow it in the address bar and try again.";
  }
  if (error.name === "NotFoundError") return "This device has no camera.";
  return `The camera cannot be used: ${error.message}. Another program may be using it.`;
}

/** How many frames come a second, over the last ones. */
export class FrameRate {
  /** @type {number[]} */
  #times = [];

  /** @returns {number} frames a second, with the one that has come now */
  count() {
    this.#times.push(performance.now());
    if (this.#times.length > 30) this.#times.shift();
    const seconds = (this.#times[this.#times.length - 1] - this.#times[0]) / 1000;
    return seconds ? (this.#times.length - 1) / seconds : 0;
  }
}
