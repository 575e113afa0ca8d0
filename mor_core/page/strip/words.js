// Words in the viewer's language. They come from Python once, in all languages, so that switching sends nothing.

let words = {};
let language = "en";

export function prepareWords(found) {
  words = found;
}

export function currentLanguage() {
  return language;
}

export function setLanguage(name) {
  language = name;
}

export function say(key, values = {}) {
  return words[key][language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
