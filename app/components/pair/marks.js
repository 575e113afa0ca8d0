// Elements that both components of this folder draw: a token with its value, the runs' letters, a legend of values.

import { element } from "../../../mor_core/page/strip/dom.js";
import { fixed, textOn, tokenPieces } from "../../../mor_core/page/strip/format.js";
import { say } from "../../../mor_core/page/strip/words.js";

/** @import { TokenNode } from "../../../mor_core/page/strip/types" */
/** @import { Valued } from "./types" */

export const SIDES = ["A", "B"];

/** @param {Valued} token  @param {Record<string, string>} colours */
export function tokenMark(token, colours) {
  const node = element("span", token.special ? "token special" : "token");
  node.append(element("span", "text"), element("span", "digit"));
  writeToken(node, token);
  node.dataset.testid = "pair-token";
  paintToken(node, token, colours);
  return node;
}

/** @param {TokenNode} node  @param {Valued} token */
export function writeToken(node, token) { // also called again when presenter mode hides a word
  if (node.written === token.text) return;
  node.written = token.text;
  node.children[0].replaceChildren(...tokenPieces(token).map((piece) => element("span", piece.mark ? "mark" : "", piece.text)));
}

/** @param {TokenNode} node  @param {Valued} token  @param {Record<string, string>} colours */
export function paintToken(node, token, colours) {
  const colour = token.value === null ? undefined : colours[token.value];
  node.classList.toggle("pending", token.value === null);
  node.dataset.value = token.value === null ? "" : String(token.value);
  node.style.setProperty("--token-colour", colour || "transparent");
  node.style.setProperty("--token-text", colour ? textOn(colour) : "inherit");
  node.children[1].textContent = token.value === null ? "?" : String(token.value);
}

/** @param {number} side */
export function sideLetter(side) {
  const node = element("b", `letter side-${side}`, SIDES[side]);
  node.setAttribute("aria-hidden", "true");
  return node;
}

/** @param {Record<string, string>} colours  @param {string} unit */
export function valueLegend(colours, unit) {
  return Object.entries(colours).map(([value, colour]) => {
    const item = element("span", "legend-item");
    const digit = element("b", "value", value);
    digit.style.background = colour;
    digit.style.color = textOn(colour);
    item.append(digit, say(`${value === "1" ? "one" : "count"}_${unit}`, { count: value }));
    return item;
  });
}

// Formats a difference with its sign.
/** @param {number} value  @param {number} [digits] */
export function signed(value, digits = 0) {
  return value > 0 ? `+${fixed(value, digits)}` : fixed(value, digits);
}
