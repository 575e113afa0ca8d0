// Warns about a prompt unlike the training text: characters without a token of their own split into single bytes.

import { setText } from "./dom.js";
import { fixed } from "./format.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
const MOST_BYTES = 0.3;

/** @param {Run} run */
function shareOfBytes(run) {
  const prompt = run.records.filter((token) => token && !token.special && token.phase === "prefill");
  const bytes = prompt.filter((token) => token.token_bytes.length === 2 || token.text.includes("\ufffd"));
  return prompt.length ? bytes.length / prompt.length : 0;
}

/** @param {HTMLElement} root  @param {Run} run */
export function drawForeignNote(root, run) {
  const share = shareOfBytes(run);
  root.hidden = share <= MOST_BYTES;
  setText(root, root.hidden ? "" : say("foreign_note", { share: fixed(100 * share, 0) }));
}
