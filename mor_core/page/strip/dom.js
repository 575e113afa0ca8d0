// Elements of the page.

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

// How much larger than its CSS pixels an element is drawn, as in presenter mode.
/** @param {HTMLElement & { currentCSSZoom?: number }} node */
export function zoomOf(node) {
  return node.currentCSSZoom ?? 1;
}
