// The toolbar above the text: the metric, the unit (token, word or line), and filters of tokens.

import { element } from "./dom.js";
import { METRICS, predictionDepth } from "./metrics.js";
import { currentLanguage, say } from "./words.js";

/** @import { Run } from "./run.js" */
/** @import { View } from "./strip.js" */
/** @import { Granularity, Token } from "./types" */

/** @type {Granularity[]} */
const GRANULARITIES = ["token", "word", "line"];

export class Filters {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    /** @type {Set<number | null>} */
    this.depths = new Set();
    this.tokenClass = "";
    this.differs = false;
  }

  clear() {
    this.depths = new Set();
    this.tokenClass = "";
    this.differs = false;
  }

  get isOn() {
    return this.depths.size > 0 || this.tokenClass !== "" || this.differs;
  }

  /** @param {Token} token */
  matches(token) {
    if (this.depths.size && !this.depths.has(token.recursion_depth)) return false;
    if (this.tokenClass !== "" && this.view.classOf(token) !== Number(this.tokenClass)) return false;
    return !this.differs || (token.lens.length > 0 && predictionDepth(token) !== token.recursion_depth);
  }
}

export class Toolbar {
  /** @param {HTMLElement} root  @param {View} view */
  constructor(root, view) {
    this.root = root;
    this.view = view;
    this.drawn = "";
  }

  /** @param {Run} run */
  draw(run) {
    const { view } = this;
    this.root.hidden = !view.hasTools || !run.header;
    if (this.root.hidden) return;
    const signature = [run.id, currentLanguage(), view.metric.id, view.granularity, run.tokens.length, view.classLabels.join(),
      [...view.filters.depths].join(), view.filters.tokenClass, view.filters.differs].join("|");
    if (signature === this.drawn) return;
    this.drawn = signature;
    const focused = /** @type {HTMLElement | null} */ (/** @type {ShadowRoot} */ (this.root.getRootNode()).activeElement)?.dataset.choice;
    this.root.replaceChildren(this.metrics(run), this.granularities(), this.filters(run));
    if (focused) /** @type {HTMLElement | null} */ (this.root.querySelector(`[data-choice="${focused}"]`))?.focus();
  }

  /** @param {string} label  @param {...HTMLElement} parts */
  group(label, ...parts) {
    const group = element("div", "tool-group");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    group.append(element("span", "tool-label", label), ...parts);
    return group;
  }

  /** @param {string} text  @param {string} choice  @param {boolean} isOn  @param {() => void} act */
  button(text, choice, isOn, act) {
    const button = element("button", "tool", text);
    button.type = "button";
    button.dataset.choice = choice;
    button.setAttribute("aria-pressed", String(isOn));
    button.onclick = act;
    return button;
  }

  /** @param {Run} run */
  metrics(run) {
    const { view } = this;
    const buttons = METRICS.map((name) => {
      const button = this.button(say(`metric_button_${name}`), `metric-${name}`, view.metric.name === name, () => view.setMetric(name));
      button.title = say(`hint_${name}`);
      if (name === "prediction" && !run.header.has_lens) {
        button.disabled = true;
        button.title = say("lens_none");
      }
      if (name === "score" && run.header.router.num_logits === 0) button.disabled = true;
      return button;
    });
    if (view.metric.name === "score") {
      for (let number = run.numRecursions; number >= 1; number -= 1) {
        const isOn = view.metric.row + 1 === number;
        buttons.splice(2, 0, this.button(`R${number}`, `metric-score-${number}`, isOn, () => view.setMetric(`score-${number}`)));
      }
    }
    return this.group(say("tool_show"), ...buttons);
  }

  granularities() {
    const { view } = this;
    return this.group(say("tool_by"), ...GRANULARITIES.map((name) => (
      this.button(say(`by_${name}`), `by-${name}`, view.granularity === name, () => view.setGranularity(name))
    )));
  }

  /** @param {Run} run */
  filters(run) {
    const { view } = this;
    const { filters } = view;
    const changed = () => view.filterChanged();
    /** @type {HTMLElement[]} */
    const parts = Array.from({ length: run.numRecursions }, (_, index) => (
      this.button(String(index + 1), `depth-${index + 1}`, filters.depths.has(index + 1), () => {
        if (!filters.depths.delete(index + 1)) filters.depths.add(index + 1);
        changed();
      })
    ));
    if (view.classLabels.length) parts.push(this.classes(filters, changed));
    const differs = this.button(say("filter_differs"), "differs", filters.differs, () => {
      filters.differs = !filters.differs;
      changed();
    });
    differs.disabled = !run.header.has_lens;
    differs.title = say(run.header.has_lens ? "filter_differs_help" : "lens_none");
    parts.push(differs);
    const group = this.group(say("tool_only"), ...parts);
    if (filters.isOn) {
      const shown = run.tokens.filter((token) => token && filters.matches(token)).length;
      const note = element("span", "tool-note", say("filter_count", { shown, total: run.tokens.length }));
      note.dataset.testid = "filter-count";
      group.append(note, this.button(say("filter_clear"), "clear", false, () => {
        filters.clear();
        changed();
      }));
    }
    return group;
  }

  /** @param {Filters} filters  @param {() => void} changed */
  classes(filters, changed) {
    const select = element("select", "tool");
    select.dataset.choice = "class";
    select.setAttribute("aria-label", say("filter_class"));
    const { present } = this.view;
    const options = [["", say("filter_class")], ...this.view.classLabels.map((label, index) => [String(index), label])];
    for (const [value, label] of options) {
      if (value !== "" && !present.has(Number(value))) continue;
      const option = element("option", "", label);
      option.value = value;
      select.append(option);
    }
    select.value = filters.tokenClass;
    select.onchange = () => {
      filters.tokenClass = select.value;
      changed();
    };
    return select;
  }
}
