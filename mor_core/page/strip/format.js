// Formats numbers, colours and the text of a token, independently of the page and the run.

import { say } from "./words.js";

/** @import { Scales, Slot, TokenText } from "./types" */

/** @type {Record<string, string>} */
const VISIBLE = { " ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥", "\u00a0": "⍽" };

// The displayed text of a token: pieces of {text, mark}, where a mark stands for an invisible character.
/** @param {TokenText} token */
export function tokenPieces(token) {
  if (token.special) return [{ text: token.text, mark: false }];
  if (token.text.includes("\ufffd")) {
    const bytes = token.token_bytes.match(/../g) || [];
    return [{ text: bytes.map((b) => `<0x${b.toUpperCase()}>`).join(""), mark: false }];
  }
  const pieces = [];
  for (const character of token.text) {
    const isControl = character < " " || character === "\u007f";
    const shown = VISIBLE[character]
      || (isControl ? `<0x${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}>` : null);
    const last = pieces[pieces.length - 1];
    if (shown) pieces.push({ text: shown, mark: true });
    else if (last && !last.mark) last.text += character;
    else pieces.push({ text: character, mark: false });
  }
  return pieces.length ? pieces : [{ text: "∅", mark: true }];
}

/** @param {TokenText} token */
export function tokenLabel(token) {
  return tokenPieces(token).map((piece) => piece.text).join("");
}

// The label of a slot in one recursion, such as "R2 L1", is the same in all languages.
/** @param {Slot} slot */
export function slotLabel(slot) {
  return /^R\d/.test(slot.label) ? slot.label : say(`slot_${slot.stage}`, { number: slot.layer });
}

/** @param {number} logit */
export function sigmoid(logit) {
  return 1 / (1 + Math.exp(-logit));
}

/** @param {number | null | undefined} value  @param {number} digits */
export function fixed(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
}

/** @param {number} value  @param {string[]} units  @param {number} base */
function withUnit(value, units, base) {
  let index = 0;
  while (value >= base && index < units.length - 1) {
    value /= base;
    index += 1;
  }
  const digits = index === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[index]}`;
}

/** @param {number} flops */
export const formatFlops = (flops) => withUnit(flops, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP"], 1000);
/** @param {number} bytes */
export const formatBytes = (bytes) => withUnit(bytes, ["B", "KiB", "MiB", "GiB"], 1024);

/** @param {string} colour  @returns {number[]} */
function channels(colour) { // of #rrggbb, or of a colour from mix()
  if (colour.startsWith("rgb")) return (colour.match(/\d+/g) ?? []).map(Number);
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** @param {string} colour */
function luminance(colour) {
  const [red, green, blue] = channels(colour).map((value) => {
    const share = value / 255;
    return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Returns black or white, whichever contrasts more with the background.
/** @param {string} colour */
export function textOn(colour) {
  const light = luminance(colour);
  return 1.05 / (light + 0.05) >= (light + 0.05) / (luminance("#111111") + 0.05) ? "#ffffff" : "#111111";
}

/** @param {string} from  @param {string} to  @param {number} share */
export function mix(from, to, share) {
  const start = channels(from);
  const end = channels(to);
  return `rgb(${start.map((value, i) => Math.round(value + (end[i] - value) * share)).join(",")})`;
}

// The colour of a depth. Python sends scales up to a number of levels; for more levels the largest is interpolated.
/** @param {Scales} scales  @param {number} depth  @param {number} levels */
export function levelColour(scales, depth, levels) {
  if (scales[levels]) return scales[levels][depth - 1];
  const largest = scales[Math.max(...Object.keys(scales).map(Number))];
  const place = ((depth - 1) * (largest.length - 1)) / (levels - 1);
  const low = Math.min(Math.floor(place), largest.length - 2);
  return mix(largest[low], largest[low + 1], place - low);
}
