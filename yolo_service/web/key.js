/** The question for the API key. */
import { controls } from "./controls.js";
import { Server, ServiceError } from "./server.js";

/** @type {Promise<string> | null} the question that is open */
let asked = null;

/**
 * Ask the service; if it wants an API key, ask the user for it and try again.
 *
 * @template T
 * @param {Server} server
 * @param {() => Promise<T>} ask
 * @returns {Promise<T>}
 */
export async function withKey(server, ask) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof ServiceError && error.status === 401)) throw error;
      asked ??= askForKey("X-API-Key" in server.headers).finally(() => (asked = null));
      server.useKey(await asked);
    }
  }
}

/**
 * @param {boolean} again another key was refused
 * @returns {Promise<string>}
 */
function askForKey(again) {
  const { keyDialog: dialog, key, keyWhy } = controls;
  key.value = dialog.returnValue = "";
  keyWhy.textContent = again
    ? "This is not the API key of the service. Try another one."
    : "This service asks for an API key. It is kept until this tab is closed.";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.onclose = () => {
      if (dialog.returnValue === "use") resolve(key.value);
      else reject(new Error("Without its API key the service answers nothing."));
    };
  });
}
