// The steps of a lesson as a row of buttons, also controlled by keyboard and slide clicker.

/** @import { Component } from "../../../mor_core/page/strip/types" */
/** @typedef {{ list: string, labels: string[], current: number, step: string }} BarData */

/** @type {Record<string, string>} */
const KEYS = { PageDown: "next", ArrowRight: "next", PageUp: "back", ArrowLeft: "back" };
const TYPED = "input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable=true]";
const TAKES_ARROWS = `${TYPED}, input, [role=slider], [role=radio], [role=radiogroup], [role=tab], [role=option], [role=menuitem]`;
/** @type {WeakMap<HTMLElement, { step: string | null }>} */
const STATES = new WeakMap();

/** @param {KeyboardEvent} event */
function press(event) {
  const name = KEYS[event.key];
  if (!name || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const target = /** @type {HTMLElement & { type?: string }} */ (event.composedPath()[0]);
  const isArrow = event.key.startsWith("Arrow");
  if (target.matches?.(isArrow ? TAKES_ARROWS : TYPED) && target.type !== "range") return;
  if (isArrow && target.type === "range") return;
  event.preventDefault(); // else the page would scroll or a slider would move
  event.stopPropagation();
  const button = /** @type {HTMLElement | null} */ (document.querySelector(`.st-key-learn_${name} button:not([disabled])`));
  button?.click();
}

/** @param {Component<BarData>} component */
export default function render(component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = /** @type {HTMLElement} */ (parentElement.querySelector(".lesson-bar"));
  let state = STATES.get(parentElement);
  if (!state) {
    state = { step: null };
    STATES.set(parentElement, state);
    document.addEventListener("keydown", press, true);
  }
  root.setAttribute("aria-label", data.list);
  root.replaceChildren(...data.labels.map((label, index) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.dataset.testid = "lesson-step";
    if (index === data.current) button.setAttribute("aria-current", "step");
    if (index < data.current) item.className = "passed";
    button.onclick = () => setTriggerValue("go", index);
    item.append(button);
    return item;
  }));
  if (state.step !== null && state.step !== data.step) {
    document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0); // a new step starts at the page's top
  }
  state.step = data.step;
  return () => {
    if (parentElement.isConnected) return; // Streamlit also cleans up after a superseded call; the element stays
    document.removeEventListener("keydown", press, true);
    STATES.delete(parentElement);
  };
}
