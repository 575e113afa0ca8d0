// Hides words in presenter mode, wherever a word begins and ends among the tokens. The words come from Python. Only
// copies of the records are changed and drawn; the run itself is not changed.

/** @import { Choice, TokenText } from "./types" */

const BLOCK = "▇";
const WORDS_OF = /\p{L}+/gu;
/** @type {Set<string>} */
let hidden = new Set();
/** @type {Set<string>} */
let beginnings = new Set();
let longest = 0;

/** @param {string[]} found */
export function prepareHiddenWords(found) {
  hidden = new Set(found);
  // An unfinished word may become a hidden one, so it stays behind blocks until its end is known.
  beginnings = new Set(found.flatMap((word) => [...word].map((_, at) => word.slice(0, at + 1))));
  longest = Math.max(...found.map((word) => word.length));
}

// Returns the records with hidden words as blocks (the same object if none is hidden), and the number of hidden words.
/**
 * @template {TokenText & { alternatives?: Choice[], lens?: Choice[][] }} Shown
 * @param {Shown[]} records
 * @param {boolean} isOpen whether more text may follow
 * @param {Map<number, { token: Shown, copy: Shown }>} known the blocked copies so far, by place
 */
export function withHiddenWords(records, isOpen, known = new Map()) {
  /** @type {number[]} */
  const starts = [];
  let text = "";
  for (const token of records) {
    starts.push(text.length);
    text += token.special ? "\n" : token.text;
  }
  const isHidden = new Uint8Array(text.length);
  let count = 0;
  for (const { 0: word, index } of text.matchAll(WORDS_OF)) {
    const lower = word.toLowerCase();
    const isLast = isOpen && index + word.length === text.length;
    if (!hidden.has(lower) && !(isLast && beginnings.has(lower))) continue;
    isHidden.fill(1, index, index + word.length);
    if (hidden.has(lower)) count += 1;
  }
  const tokens = records.map((token, place) => {
    const end = starts[place] + token.text.length;
    const shown = token.special ? token.text : blocked(token.text, (at) => isHidden[starts[place] + at]);
    const alternatives = choicesAfter(text.slice(Math.max(0, starts[place] - longest), starts[place]), token.alternatives ?? []);
    const lens = (token.lens ?? []).map((choices) => choicesAfter(text.slice(Math.max(0, end - longest), end), choices));
    const isSame = shown === token.text && !alternatives.some(isBlocked) && !lens.flat().some(isBlocked);
    if (isSame) return token;
    const held = known.get(place);
    if (held && held.token === token && held.copy.text === shown) return held.copy;
    const copy = { ...token, text: shown, token_bytes: shown === token.text ? token.token_bytes : "", alternatives, lens };
    known.set(place, { token, copy });
    return copy;
  });
  return { tokens, count };
}

// Returns the alternatives after a text, hiding those that would complete a hidden word; the same list if none would.
/** @param {string} text  @param {Choice[]} choices */
function choicesAfter(text, choices) {
  const before = text.match(/\p{L}+$/u)?.[0] ?? "";
  const shown = choices.map((choice) => blocked(choice.text, hiddenIn(before, choice.text)));
  if (shown.every((choice, at) => choice === choices[at].text)) return choices;
  return choices.map((choice, at) => ({ ...choice, text: shown[at] }));
}

/** @type {(before: string, text: string) => (at: number) => boolean} */
function hiddenIn(before, text) {
  const spans = [...(before + text).matchAll(WORDS_OF)].filter(({ 0: word }) => hidden.has(word.toLowerCase()));
  return (at) => spans.some(({ 0: word, index }) => index <= before.length + at && before.length + at < index + word.length);
}

/** @param {Choice} choice */
function isBlocked(choice) {
  return choice.text.includes(BLOCK);
}

/** @param {string} text  @param {(at: number) => unknown} isHidden */
function blocked(text, isHidden) {
  let shown = "";
  for (let at = 0; at < text.length; at += 1) shown += isHidden(at) ? BLOCK : text[at];
  return shown;
}
