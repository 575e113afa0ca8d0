// The inspector of one token, under two headings: the computation at its position, and how the token was chosen.

import { element } from "./dom.js";
import { fixed, formatBytes, sigmoid, slotLabel, textOn, tokenLabel } from "./format.js";
import { attendSection, lensChoice, lensSection } from "./lens.js";
import { SCORE_HIGH, SCORE_LOW } from "./metrics.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Token } from "./types" */

/** @param {HTMLElement} root  @param {View} view  @param {Token | null} token  @param {boolean} isPinned */
export function drawInspector(root, view, token, isPinned) {
  const { run } = view;
  root.replaceChildren();
  root.dataset.position = token ? String(token.position) : "";
  if (!token) {
    root.append(
      element("p", "inspector-empty", say("inspector_empty")),
      keysHint(),
    );
    return;
  }
  const head = element("div", "inspector-head");
  const label = element("span", "inspector-token", tokenLabel(token));
  head.append(label, element("span", "inspector-pin", isPinned ? say("pinned") : ""));
  root.append(head, element("p", "inspector-sub", say("inspector_sub", {
    position: token.position, phase: say(`phase_${token.phase}`), id: token.token_id, bytes: token.token_bytes || "–",
  })));
  root.append(spentSection(view, token));
  if (run.header.has_lens || view.hasTools) root.append(lensSection(run, token));
  if (token.recursion_depth !== null) root.append(attendSection(view, token));
  root.append(chosenSection(token), keysHint());
}

function keysHint() {
  const hint = element("p", "inspector-keys");
  for (const [key, text] of [["J", "key_next"], ["K", "key_previous"], ["Esc", "key_unpin"], ["⇧ + click", "key_compare"]]) {
    hint.append(element("kbd", "", key), ` ${say(text)} `);
  }
  return hint;
}

/** @param {View} view  @param {Token} token */
function spentSection(view, token) {
  const { run } = view;
  const section = element("section");
  section.append(element("h4", "", say("spent_heading")));
  if (token.recursion_depth === null) {
    section.append(element("p", "", say("spent_nothing")));
    return section;
  }
  const depth = element("p", "inspector-depth");
  const digit = element("b", "", String(token.recursion_depth));
  const colour = view.colourOf(token.recursion_depth);
  digit.style.background = colour;
  digit.style.color = textOn(colour);
  depth.append(digit, ` ${say(token.special ? "spent_special" : "spent_depth", { total: run.numRecursions })}`);
  section.append(depth);
  for (let index = 0; index < run.numRecursions; index += 1) section.append(scoreRow(run, token, index));
  section.append(cacheRows(run, token));
  if (token.expert_idx.length) section.append(element("p", "inspector-note", say("experts", { list: token.expert_idx.join(" ") })));
  if (token.latency_s !== null) section.append(element("p", "inspector-note", say("step_time", { ms: fixed(token.latency_s * 1000, 1) })));
  return section;
}

/** @param {Run} run  @param {Token} token  @param {number} index */
function scoreRow(run, token, index) {
  const logit = token.router_logits[index] ?? null;
  if (logit !== null && run.header.router.chooses_once) return depthScoreRow(token, index, logit);
  const row = element("div", "score-row");
  const bar = element("span", logit === null ? "score-bar absent" : "score-bar");
  row.append(element("span", "score-name", `R${index + 1}`), bar);
  if (logit === null) {
    row.append(element("span", "score-value", say("not_computed")));
    return row;
  }
  const threshold = run.header.threshold_logits[index];
  const fill = element("i");
  fill.style.width = `${100 * sigmoid(logit)}%`;
  fill.style.background = logit >= (threshold ?? 0) ? SCORE_HIGH : SCORE_LOW;
  bar.append(fill);
  if (threshold !== null) {
    const tick = element("em");
    tick.style.left = `${100 * sigmoid(threshold)}%`;
    bar.append(tick);
  }
  const isEntered = (token.recursion_depth ?? 0) > index;
  const entered = say(isEntered ? "entered" : "left_out");
  row.append(element("span", "score-value", `${fixed(sigmoid(logit), 3)} (logit ${fixed(logit, 2)}) ${entered}`));
  return row;
}

/** @param {Token} token  @param {number} index  @param {number} logit */
function depthScoreRow(token, index, logit) { // token-choice: every depth has a score, and the largest is chosen
  const row = element("div", "score-row");
  const score = token.router_scores[index] ?? 0;
  const chosen = token.recursion_depth === index + 1;
  const bar = element("span", "score-bar");
  const fill = element("i");
  fill.style.width = `${100 * score}%`;
  fill.style.background = chosen ? SCORE_HIGH : SCORE_LOW;
  bar.append(fill);
  row.append(element("span", "score-name", `D${index + 1}`), bar);
  row.append(element("span", "score-value", `${fixed(score, 3)} (logit ${fixed(logit, 2)})${chosen ? ` ${say("chosen")}` : ""}`));
  return row;
}

/** @param {Run} run  @param {Token} token */
function cacheRows(run, token) {
  const box = element("div", "slots");
  const slots = run.header.cache_slots;
  slots.forEach((slot, index) => {
    const kept = token.cached_slots.includes(index);
    const chip = element("span", kept ? "slot kept" : "slot", `${kept ? "■" : "□"} ${slotLabel(slot)}`);
    box.append(chip);
  });
  const kept = token.cached_slots.length;
  const bytes = formatBytes(kept * run.header.kv_bytes_per_entry);
  box.append(element("p", "inspector-note", say("kept", { kept, slots: slots.length, bytes })));
  return box;
}

/** @param {Token} token */
function chosenSection(token) {
  const section = element("section");
  section.append(element("h4", "", say("chosen_heading")));
  if (token.log_probability === null) {
    section.append(element("p", "", say("chosen_given")));
    return section;
  }
  const probability = Math.exp(token.log_probability);
  section.append(element("p", "", say("chosen_probability", { probability: fixed(100 * probability, 1), entropy: fixed(token.entropy, 2) })
    + (token.phase === "prefill" ? ` · ${say("chosen_prompt")}` : "")));
  for (const candidate of token.alternatives) {
    section.append(lensChoice(candidate, candidate.token_id === token.token_id));
  }
  return section;
}
