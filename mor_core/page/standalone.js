// A standalone page of one run. The page holds words and run as JSON, and no server is told of the reader's actions.

import { prepareHiddenWords } from "./strip/hidden.js";
import render from "./strip/strip.js";
import { prepareWords } from "./strip/words.js";

const { words, hidden, data } = JSON.parse(document.getElementById("run-data")?.textContent ?? "");
prepareWords(words);
prepareHiddenWords(hidden);
const parentElement = /** @type {HTMLElement} */ (document.getElementById("run"));
render({ parentElement, data, setStateValue() {}, setTriggerValue() {} });
