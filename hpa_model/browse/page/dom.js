// Elements whose texts are texts: nothing here reads markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function byId(id) {
  return document.getElementById(id);
}

export function fill(select, options, value) {
  select.replaceChildren(...options.map(([key, text]) => make("option", { value: key }, text)));
  select.value = value;
}

// An id whose end stays to be seen where there is no room for all of it: copies differ in their last letters.
export function nameOf(id) {
  const end = id.length > 16 ? id.slice(-8) : "";
  return make("span", { class: "id", title: id }, make("span", {}, id.slice(0, id.length - end.length)), end ? make("b", {}, end) : null);
}

export function percent(share) {
  return `${(100 * share).toFixed(0)} %`;
}

export function count(n, word) {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}
