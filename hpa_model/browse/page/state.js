// What is shown, as the part of the address after #, so that Back and bookmarks work.

const DEFAULTS = {
  text: "", part: "", label: "-1", relation: "labeled", low: "0", high: "1", verdict: "", fold: "-1", kind: "",
  order: "store",
};
const LOOKS = { channels: null, gain: "1", side: "m", sample: null };

export function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = { query: { ...DEFAULTS }, ...LOOKS };
  for (const [name, value] of given) {
    if (name in DEFAULTS || name.startsWith("meta.")) state.query[name] = value;
    else if (name in LOOKS) state[name] = value;
  }
  return state;
}

export function writeState(state, { replaces = false } = {}) {
  const words = new URLSearchParams(listFilters(state.query));
  for (const name of Object.keys(LOOKS)) {
    if (state[name] !== LOOKS[name] && state[name] !== null) words.set(name, state[name]);
  }
  const hash = `#${words}`;
  if (hash === location.hash || (hash === "#" && !location.hash)) return;
  if (replaces) location.replace(hash);
  else location.hash = hash;
}

// Those filters that select something, and the order.
export function listFilters(query) {
  return Object.entries(query).filter(([name, value]) => value !== (DEFAULTS[name] ?? ""));
}

export function clearFilters(state) {
  return { ...state, query: { ...DEFAULTS, order: state.query.order } };
}
