// Tokens of a lesson: to pick by click, Space or Enter, or shown with depths and marks. Redrawn only on changed data.

import { element } from "../../../mor_core/page/strip/dom.js";
import { textOn, tokenLabel, tokenPieces } from "../../../mor_core/page/strip/format.js";

/** @import { Component, TokenText } from "../../../mor_core/page/strip/types" */
/** @typedef {TokenText & { position: number }} LessonToken */
/**
 * @typedef {object} LessonData
 * @property {"pick" | "show"} mode
 * @property {string} run
 * @property {string} label
 * @property {LessonToken[]} tokens
 * @property {number[]} picked
 * @property {number} most
 * @property {(number | null)[]} depths
 * @property {string[]} colours
 * @property {Record<string, "hit" | "miss" | "changed">} marks by position
 * @property {Record<string, string>} words
 */

const SIGNS = { hit: "✓", miss: "✗", changed: "↕" };
const DRAWN = new WeakMap();

/** @param {LessonToken} token  @param {number} index  @param {LessonData} data  @param {Set<number>} picked */
function drawToken(token, index, data, picked) {
  const node = element(data.mode === "pick" ? "button" : "span", "token");
  node.dataset.testid = "lesson-token";
  node.dataset.position = String(token.position);
  const text = element("span", "text");
  for (const piece of tokenPieces(token)) text.append(element("span", piece.mark ? "mark" : "", piece.text));
  const digit = element("span", "digit");
  const labels = [tokenLabel(token)];
  if (data.mode === "pick") {
    node.setAttribute("type", "button");
    setPicked(node, picked.has(token.position));
    digit.textContent = "?";
  } else {
    const depth = data.depths[index];
    const mark = data.marks[token.position];
    node.setAttribute("role", "listitem");
    node.dataset.depth = depth === null ? "" : String(depth);
    digit.textContent = (depth ?? "\u00a0") + (mark ? SIGNS[mark] : "");
    if (depth) {
      const colour = data.colours[depth - 1];
      node.style.setProperty("--token-colour", colour);
      node.style.setProperty("--token-text", textOn(colour));
      labels.push(`${data.words.depth} ${depth}`);
    }
    if (mark) {
      node.dataset.mark = mark;
      labels.push(data.words[mark]);
    }
  }
  node.setAttribute("aria-label", labels.join(", "));
  node.append(text, digit);
  return node;
}

/** @param {HTMLElement} node  @param {boolean} isPicked */
function setPicked(node, isPicked) {
  node.classList.toggle("picked", isPicked);
  node.setAttribute("aria-pressed", String(isPicked));
}

/** @param {Component<LessonData>} component */
export default function render(component) {
  const { data, parentElement, setStateValue } = component;
  const root = /** @type {HTMLElement} */ (parentElement.querySelector(".lesson-tokens"));
  root.setAttribute("aria-label", data.label);
  root.setAttribute("role", data.mode === "pick" ? "group" : "list");
  const { picked: ignored, ...drawn } = data; // the element already shows its own picks
  const signature = JSON.stringify(drawn);
  if (DRAWN.get(root) === signature) return;
  DRAWN.set(root, signature);
  const picked = new Set(data.picked);
  root.replaceChildren(...data.tokens.map((token, index) => drawToken(token, index, data, picked)));
  root.onclick = (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const node = /** @type {HTMLElement | null} */ (target.closest("button[data-position]"));
    if (!node || data.mode !== "pick") return;
    const position = Number(node.dataset.position);
    if (!picked.delete(position)) {
      if (picked.size >= data.most) return;
      picked.add(position);
    }
    setPicked(node, picked.has(position));
    setStateValue("picks", { run: data.run, positions: [...picked] });
  };
}
