// Two sections of the inspector: the predictions of early exits, and the positions that the token can attend to.

import { element } from "./dom.js";
import { fixed, tokenLabel } from "./format.js";
import { predictionDepth } from "./metrics.js";
import { attendable } from "./run.js";
import { say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Choice, Token } from "./types" */

/** @param {Run} run  @param {Token} token */
export function lensSection(run, token) {
  const section = element("section");
  section.dataset.testid = "lens";
  section.append(element("h4", "", say("lens_heading")));
  if (!token.lens.length) {
    section.append(element("p", "inspector-note", say(token.recursion_depth === null ? "lens_later" : "lens_none")));
    return section;
  }
  const found = predictionDepth(token);
  const final = token.lens[token.lens.length - 1][0].token_id;
  token.lens.forEach((choices, index) => {
    const row = element("div", "lens-row");
    row.append(element("b", "lens-name", `R${index + 1}`));
    const list = element("div", "lens-list");
    for (const choice of choices) list.append(lensChoice(choice, choice.token_id === final));
    row.append(list);
    section.append(row);
  });
  const left = token.lens.length < run.numRecursions ? ` ${say("lens_left", { depth: token.recursion_depth })}` : "";
  section.append(element("p", "lens-finding", say("lens_finding", { found }) + left));
  section.append(element("p", "inspector-note", say("lens_caveat")));
  return section;
}

/** @param {Choice} choice  @param {boolean} isFinal */
export function lensChoice(choice, isFinal) {
  const row = element("div", isFinal ? "candidate taken" : "candidate");
  const bar = element("span", "candidate-bar");
  const fill = element("i");
  fill.style.width = `${100 * choice.probability}%`;
  bar.append(fill);
  const shown = { text: choice.text, token_bytes: "", special: choice.text.startsWith("<|") };
  row.append(element("span", "candidate-text", tokenLabel(shown)), bar, element("span", "candidate-value", `${fixed(100 * choice.probability, 1)}%`));
  return row;
}

/** @param {View} view  @param {Token} token */
export function attendSection(view, token) {
  const { run } = view;
  const section = element("section");
  section.dataset.testid = "attend";
  section.append(element("h4", "", say("attend_heading")));
  if (!token.cached_slots.length) {
    section.append(element("p", "inspector-note", say("attend_no_cache")));
    return section;
  }
  let again = 0;
  for (let recursion = 1; recursion <= run.numRecursions; recursion += 1) {
    const row = element("button", "attend-row");
    row.type = "button";
    row.dataset.recursion = String(recursion);
    row.append(element("b", "", `R${recursion}`));
    if (recursion > (token.recursion_depth ?? 0)) {
      row.disabled = true;
      row.append(element("span", "", say("attend_left")));
    } else {
      const seen = attendable(run, token.position, recursion);
      again = seen.again;
      const bar = element("span", "candidate-bar");
      const fill = element("i");
      fill.style.width = `${(100 * seen.found.length) / seen.of}%`;
      bar.append(fill);
      row.append(bar, element("span", "", say("attend_count", { count: seen.found.length, total: seen.of })));
      row.setAttribute("aria-pressed", String(view.attending === recursion));
      row.onmouseenter = () => view.list.attend(new Set(seen.found));
      row.onmouseleave = () => view.showAttending();
      row.onclick = () => view.attend(view.attending === recursion ? null : recursion);
    }
    section.append(row);
  }
  section.append(element("p", "inspector-note", say("attend_note") + (again ? ` ${say("attend_again", { again })}` : "")));
  return section;
}
