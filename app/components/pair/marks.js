// What both components of this folder draw: a token with its value, the letters of the two runs, a legend of values.

import { element } from "../../../mor_core/page/strip/dom.js";
import { fixed, textOn, tokenPieces } from "../../../mor_core/page/strip/format.js";
import { say } from "../../../mor_core/page/strip/words.js";

export const SIDES = ["A", "B"];

// A token is {text, token_bytes, special, value, depth, log_probability}; the value is in the unit that both runs share.
export function tokenMark(token, colours) {
  const node = element("span", token.special ? "token special" : "token");
  node.append(element("span", "text"), element("span", "digit"));
  writeToken(node, token);
  node.dataset.testid = "pair-token";
  paintToken(node, token, colours);
  return node;
}

export function writeToken(node, token) { // again where presenter mode hides a word
  if (node.written === token.text) return;
  node.written = token.text;
  node.firstChild.replaceChildren(...tokenPieces(token).map((piece) => element("span", piece.mark ? "mark" : "", piece.text)));
}

export function paintToken(node, token, colours) {
  const colour = colours[token.value];
  node.classList.toggle("pending", token.value === null);
  node.dataset.value = token.value === null ? "" : token.value;
  node.style.setProperty("--token-colour", colour || "transparent");
  node.style.setProperty("--token-text", colour ? textOn(colour) : "inherit");
  node.lastChild.textContent = token.value === null ? "?" : token.value;
}

export function sideLetter(side) {
  const node = element("b", `letter side-${side}`, SIDES[side]);
  node.setAttribute("aria-hidden", "true");
  return node;
}

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

// A number with its sign, as differences are written.
export function signed(value, digits = 0) {
  return value > 0 ? `+${fixed(value, digits)}` : fixed(value, digits);
}
