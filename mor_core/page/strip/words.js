// Texts in the viewer's language. Python sends them once, in all languages, so that switching needs no request.

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
