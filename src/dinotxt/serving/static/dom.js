// Finding and making elements. Text goes in as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export function element(kind, properties = {}) {
  return Object.assign(document.createElement(kind), properties);
}
