/** The question for the API key. */
import { controls } from "./controls.js";
import { Server, ServiceError } from "./server.js";

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
      server.useKey(await askForKey());
    }
  }
}

/** @returns {Promise<string>} */
function askForKey() {
  const { keyDialog: dialog, key } = controls;
  key.value = "";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.onclose = () =>
      key.value ? resolve(key.value) : reject(new Error("Without its API key the service answers nothing."));
  });
}
