/** Files that come into the page. */

/**
 * Take files that are dropped anywhere in the page, or pasted.
 *
 * @param {HTMLElement} target is marked while a file is over the page
 * @param {(file: File | undefined) => void} take
 */
export function onFile(target, take) {
  document.addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    target.classList.add("over");
  });
  document.addEventListener("dragleave", () => target.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    target.classList.remove("over");
    take(event.dataTransfer?.files[0]);
  });
}

/**
 * @param {Blob} file
 * @param {string} name
 * @returns {Promise<ImageBitmap>} upright, without colour conversion, as the service decodes it
 */
export async function decoded(file, name) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error(`${name} is no image that this browser can show. Choose a JPEG, PNG, GIF, WebP or BMP file.`);
  }
}
