// Where samples come from: the server, or the data that a page on a disk has.

import { openLocal } from "./local.js";
import { listFilters } from "./state.js";

export async function openSource() {
  if (globalThis.hpaBrowse) return openLocal(globalThis.hpaBrowse);
  const catalog = await ask("api/catalog");
  return {
    catalog,
    list: (query, first, n) => ask(`api/samples?${words(query, { first, n })}`),
    sample: (index, query) => ask(`api/sample/${index}?${words(query)}`),
    map: (index) => `map/${index}`,
    image: (index, look) => `image/${index}?${new URLSearchParams(look)}`,
  };
}

function words(query, others = {}) {
  return new URLSearchParams([...listFilters(query), ...Object.entries(others)]);
}

async function ask(address) {
  const answer = await fetch(address, { credentials: "same-origin", cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `The server answered ${answer.status}.`);
  return answer.json();
}
