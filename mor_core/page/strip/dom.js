// Helpers for DOM elements.

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [text]
 */
export function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** @param {Node} node  @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The scale at which an element is drawn relative to its CSS pixels, as in presenter mode.
/** @param {HTMLElement & { currentCSSZoom?: number }} node */
export function zoomOf(node) {
  return node.currentCSSZoom ?? 1;
}
