// A run as a page of its own: words and run stand in the page as JSON, and nobody is told of what the reader does.

import { prepareHiddenWords } from "./strip/hidden.js";
import render from "./strip/strip.js";
import { prepareWords } from "./strip/words.js";

const { words, hidden, data } = JSON.parse(document.getElementById("run-data")?.textContent ?? "");
prepareWords(words);
prepareHiddenWords(hidden);
const parentElement = /** @type {HTMLElement} */ (document.getElementById("run"));
render({ parentElement, data, setStateValue() {}, setTriggerValue() {} });
