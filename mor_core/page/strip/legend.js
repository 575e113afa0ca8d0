// The legend above the text: for depth the count of each level, for other metrics the colour scale.

import { element, setText } from "./dom.js";
import { textOn } from "./format.js";
import { MAX_SURPRISE } from "./metrics.js";
import { currentLanguage, say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */

/** @param {HTMLElement} root  @param {Run} run  @param {View} view */
export function drawLegend(root, run, view) {
  if (view.metric.name === "depth") return drawDepthLegend(root, run, view);
  const signature = [run.id, view.metric.id, currentLanguage(), view.theme().text].join();
  if (root.dataset.for === signature) return undefined;
  root.dataset.for = signature;
  root.replaceChildren();
  if (view.metric.isLevel) {
    for (let level = 1; level <= run.numRecursions; level += 1) root.append(levelItem(view, level));
  } else {
    const ramp = element("span", "ramp");
    const stops = Array.from({ length: 9 }, (_, index) => view.metric.colour((view.metric.top * index) / 8));
    ramp.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
    const end = view.metric.name === "surprise" ? say("scale_more", { value: MAX_SURPRISE }) : String(view.metric.top);
    root.append(element("span", "legend-text", "0"), ramp, element("span", "legend-text", end));
  }
  root.append(element("span", "depth-hint", `${say(`hint_${view.metric.name}`)} ${say("hint_absent")}`));
  return undefined;
}

/** @param {View} view  @param {number} level */
function levelItem(view, level) {
  const item = element("span", "depth-item");
  const digit = element("b", "", String(level));
  digit.style.background = view.colourOf(level);
  digit.style.color = textOn(view.colourOf(level));
  item.append(digit);
  return item;
}

/** @param {HTMLElement} root  @param {Run} run  @param {View} view */
function drawDepthLegend(root, run, view) {
  const signature = `${run.id}:${run.numRecursions}:${currentLanguage()}`;
  if (root.dataset.for !== signature) {
    root.dataset.for = signature;
    root.replaceChildren();
    for (let depth = 1; depth <= run.numRecursions; depth += 1) {
      const item = element("span", "depth-item");
      const digit = element("b", "", String(depth));
      digit.style.background = view.colourOf(depth);
      digit.style.color = textOn(view.colourOf(depth));
      item.append(digit, element("span", ""));
      item.dataset.testid = `depth-count-${depth}`;
      root.append(item);
    }
    root.append(element("span", "depth-hint", say("digit_hint")));
  }
  const depths = run.depths();
  for (let depth = 1; depth <= run.numRecursions; depth += 1) {
    const count = depths.filter((value) => value === depth).length;
    const share = depths.length ? ` (${Math.round((100 * count) / depths.length)}%)` : "";
    setText(root.children[depth - 1].children[1], say(depth === 1 ? "depth_once" : "depth_count", { count, share }));
  }
}
