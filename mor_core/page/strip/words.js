// Words in the viewer's language. They come from Python once, in all languages, so that switching sends nothing.

/** @import { Words } from "./types" */

/** @type {Words} */
let words = {};
let language = "en";

/** @param {Words} found */
export function prepareWords(found) {
  words = found;
}

export function currentLanguage() {
  return language;
}

/** @param {string} name */
export function setLanguage(name) {
  language = name;
}

/** @param {string} key  @param {object} [values] */
export function say(key, values = {}) {
  return words[key][language].replace(/\{(\w+)\}/g, (_, name) => String(/** @type {Record<string, unknown>} */ (values)[name]));
}
