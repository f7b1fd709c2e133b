// The page: reads the address, shows the grid or a sample, and writes the address where somebody changes something.

import { byId, count, fill, make, percent } from "./dom.js";
import { makeFilters } from "./filters.js";
import { makeGrid } from "./grid.js";
import { makeHelp } from "./help.js";
import { makeSample } from "./sample.js";
import { openSource } from "./source.js";
import { clearFilters, listFilters, readState, writeState } from "./state.js";

const GAINS = [["1", "as stored"], ["2", "× 2"], ["4", "× 4"], ["8", "× 8"], ["0", "stretched"]];
const CHOICES = [["s", "small"], ["m", "medium"], ["l", "large"]];

async function start() {
  const source = await openSource();
  const { catalog } = source;
  let state = readState();
  let typing = 0;

  const open = (index) => write({ sample: String(index) });
  const grid = makeGrid(source, { onOpen: open });
  const sample = makeSample(source, { onOpen: open, onClose: close, onStep: step });
  const help = makeHelp(catalog);
  const filters = makeFilters(catalog, { onChange: changeFilter, onClear: () => writeState(clearFilters(readState())) });
  byId("name").textContent = catalog.name;
  document.title = `${catalog.name} · hpa browse`;
  byId("note").textContent = describeRun(catalog);
  fill(byId("order"), listOrders(catalog), state.query.order);
  fill(byId("side"), CHOICES, state.side);
  fill(byId("gain"), GAINS, state.gain);
  byId("gain").parentElement.hidden = catalog.static;
  byId("channels").hidden = catalog.static;
  byId("channels").append(...catalog.channels.map((channel, c) => chip(channel, c, toggle)));

  function write(changes, options) {
    state = { ...readState(), ...changes };
    writeState(state, options);
  }

  function changeFilter(name, value) {
    const change = () => write({ query: { ...readState().query, [name]: value }, sample: null }, { replaces: name === "text" });
    if (name !== "text") return change();
    clearTimeout(typing);
    typing = setTimeout(change, 150);
  }

  function listShown() {
    const text = readState().channels;
    return text === null ? catalog.channels.map((_, c) => c) : text.split(",").filter(Boolean).map(Number);
  }

  function toggle(c) {
    if (catalog.static || c >= catalog.channels.length) return;
    const before = listShown();
    const after = before.includes(c) ? before.filter((each) => each !== c) : [...before, c].toSorted((a, b) => a - b);
    write({ channels: after.length === catalog.channels.length ? null : after.join(",") }, { replaces: true });
  }

  function close() {
    write({ sample: null });
  }

  async function step(by) {
    const position = sample.position;
    if (position === null) return;
    const next = position + by;
    if (next < 0) return;
    const found = await source.list(readState().query, next, 1);
    if (found.samples.length) write({ sample: String(found.samples[0].i) }, { replaces: true });
  }

  async function render() {
    document.body.dataset.ready = "false";
    await draw();
    document.body.dataset.ready = "true";
  }

  async function draw() {
    state = readState();
    const isFiltered = listFilters(state.query).some(([name]) => name !== "order");
    filters.show(state.query, isFiltered);
    byId("order").value = state.query.order;
    byId("side").value = state.side in { s: 1, m: 1, l: 1 } ? state.side : (state.side = "m");
    byId("gain").value = state.gain;
    const shown = listShown();
    for (const [c, button] of [...byId("channels").children].entries()) button.setAttribute("aria-pressed", shown.includes(c));
    const isSample = state.sample !== null;
    const wasSample = !byId("sample").hidden;
    byId("sample").hidden = !isSample;
    byId("grid").hidden = isSample;
    byId("empty").hidden = true;
    document.body.classList.toggle("one", isSample);
    try {
      if (isSample) {
        const found = await sample.show(Number(state.sample), state);
        byId("count").textContent = found ? "" : "This sample cannot be shown.";
        if (!wasSample) byId("sample").querySelector("h2")?.focus({ preventScroll: true });
        return;
      }
      const position = wasSample ? sample.position : null;
      sample.forget();
      const total = await grid.show(state);
      byId("count").textContent = isFiltered ? `${total.toLocaleString("en")} of ${count(catalog.n, "sample")}` : count(total, "sample");
      byId("grid").hidden = total === 0;
      byId("empty").hidden = total !== 0;
      byId("empty").textContent = isFiltered ? "No sample is like this. Clear a filter." : "There is no sample.";
      if (total) grid.refresh();
      if (position !== null) grid.place(position);
      if (wasSample) grid.focus();
    } catch (error) {
      fail(error);
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isField = event.target.matches("input, select, textarea");
    if (event.key === "Escape") {
      if (isField) grid.focus();
      else if (state.sample !== null) close();
    } else if (isField) {
      if (event.key === "Enter" && event.target.type === "search") grid.focus();
      return;
    } else if (!act(event)) return;
    event.preventDefault();
  });

  function act(event) {
    const key = event.key;
    if (key === "/") filters.focusSearch();
    else if (key === "?") help.open();
    else if (/^[1-9]$/.test(key)) toggle(Number(key) - 1);
    else if (key === "0" && !catalog.static) write({ channels: null }, { replaces: true });
    else if (key === "c" && !catalog.static) nextGain();
    else if (state.sample !== null) return actInSample(key);
    else return actInGrid(key, event.target);
    return true;
  }

  function actInSample(key) {
    if (key === "ArrowLeft") step(-1);
    else if (key === "ArrowRight") step(1);
    else return false;
    return true;
  }

  function actInGrid(key, target) {
    const moves = {
      ArrowLeft: () => grid.move(-1), ArrowRight: () => grid.move(1),
      ArrowUp: () => grid.moveRow(-1), ArrowDown: () => grid.moveRow(1),
      PageUp: () => grid.movePage(-1), PageDown: () => grid.movePage(1),
      Home: () => grid.moveTo(0), End: () => grid.moveTo(grid.total - 1),
    };
    if (key === "Enter" && !target.matches("button, a")) grid.openCurrent();
    else if (key in moves && grid.total) moves[key]();
    else return false;
    return true;
  }

  function nextGain() {
    const keys = GAINS.map(([key]) => key);
    write({ gain: keys[(keys.indexOf(readState().gain) + 1) % keys.length] }, { replaces: true });
  }

  byId("order").addEventListener("change", (event) => write({ query: { ...readState().query, order: event.target.value }, sample: null }));
  byId("gain").addEventListener("change", (event) => write({ gain: event.target.value }, { replaces: true }));
  byId("side").addEventListener("change", (event) => write({ side: event.target.value }, { replaces: true }));
  byId("open-help").addEventListener("click", help.open);
  byId("open-filters").addEventListener("click", () => {
    const isOpen = byId("filters").classList.toggle("open");
    byId("open-filters").setAttribute("aria-expanded", isOpen);
  });
  byId("skip").addEventListener("click", (event) => { event.preventDefault(); grid.focus(); });
  window.addEventListener("hashchange", render);
  await render();
}

function chip(channel, c, toggle) {
  const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = channel.color;
  const key = c < 9 ? make("kbd", { "aria-hidden": "true" }, String(c + 1)) : null;
  return make("button", { type: "button", class: "chip", "aria-pressed": "true", onclick: () => toggle(c) }, swatch, channel.name, key);
}

function listOrders(catalog) {
  const orders = [["store", "as in the store"], ["id", "id"]];
  if (catalog.predicted) orders.push(["probability", "most probable first"], ["least probable", "least probable first"]);
  if (catalog.predicted?.thresholds) orders.push(["threshold", "nearest to a threshold"]);
  if (catalog.judges) orders.push(["error", "largest error first"]);
  if (catalog.copies) orders.push(["family", "copies beside their parent"]);
  return orders;
}

function describeRun(catalog) {
  const predicted = catalog.predicted;
  if (!predicted) return "No run is shown: --run RUN adds predictions.";
  if (!predicted.thresholds) return `Probabilities of run “${predicted.name || "?"}”, from the features file.`;
  return `Run “${predicted.name}”: ${count(predicted.judged, "labeled sample")} predicted out of fold, all classes right in ${percent(predicted.right / Math.max(1, predicted.judged))}.` + (predicted.apart ? " The features file is of other models or thresholds: its probabilities are shown without predictions." : "");
}

function fail(error) {
  byId("grid").hidden = true;
  byId("empty").hidden = false;
  byId("empty").textContent = `${error.message} Is hpa browse still running?`;
}

start().catch(fail);
