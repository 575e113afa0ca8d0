// Copies the page's address. Where the page is not served safely (plain http on a LAN) browsers lend no clipboard:
// there the address is selected in a field and copied as a person would.

/** @import { Component } from "../../../mor_core/page/strip/types" */

const SHOWN_MS = 2500;

/** @param {string} text */
async function copy(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return true;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/** @param {Component<{ label: string, copied: string }>} component */
export default function render({ parentElement, data }) {
  const button = /** @type {HTMLElement} */ (parentElement.querySelector(".copy-link"));
  const said = /** @type {HTMLElement} */ (parentElement.querySelector(".said"));
  button.setAttribute("aria-label", data.label);
  button.title = data.label;
  button.onclick = async () => {
    const address = window.location.href;
    const done = await copy(address).catch(() => false);
    said.textContent = done ? data.copied : address;
    setTimeout(() => { said.textContent = ""; }, SHOWN_MS);
  };
}
