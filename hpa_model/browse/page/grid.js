// The grid: only tiles that are seen exist, and samples are asked for in blocks, so that 100,000 are as fast as 100.

import { byId, make, nameOf } from "./dom.js";

const BLOCK = 100;
const GAP = 14;
const CAPTION = 46;
const SIDES = { s: 116, m: 172, l: 264 };
const PICTURES = [96, 192, 256, 384, 512];
// Browsers do not lay out higher elements reliably; beyond, scrolling moves faster than the pointer.
const MAX_HEIGHT = 12e6;
const UNREADABLE = { failed: "conversion failed", pending: "not converted yet" };
// While tiles fly by, their pictures are not asked for: where one frame moves them by more than a third of their height.
const SETTLED_MS = 60;
// Pictures that are asked for at a time; the others wait here, where those that scroll away are forgotten.
const MAX_LOADING = 4;

export function makeGrid(source, { onOpen }) {
  const root = byId("grid");
  const canvas = byId("canvas");
  const tiles = new Map();
  let blocks = new Map();
  let state = null;
  let total = 0;
  let cursor = 0;
  let generation = 0;
  let timer = 0;
  let frame = 0;
  let lastTop = 0;
  let nLoading = 0;
  let layout = { columns: 1, side: 100, height: 1 };

  const rows = () => Math.ceil(total / layout.columns);
  const realHeight = () => rows() * layout.height + GAP;
  const shownHeight = () => Math.min(realHeight(), MAX_HEIGHT);
  // How far the samples are scrolled: the same as the element, unless there are too many.
  const offset = () => {
    const most = shownHeight() - root.clientHeight;
    return most <= 0 ? 0 : (root.scrollTop / most) * (realHeight() - root.clientHeight);
  };

  function measure() {
    const width = root.clientWidth - 2 * GAP;
    const columns = Math.max(2, Math.floor((width + GAP) / (SIDES[state.side] + GAP)));
    const side = Math.floor((width + GAP) / columns) - GAP;
    layout = { columns, side, height: side + CAPTION + GAP };
    canvas.style.height = `${shownHeight()}px`;
  }

  async function show(next) {
    const isOther = !state || JSON.stringify(next.query) !== JSON.stringify(state.query);
    const isSeenDifferently = !state || ["channels", "gain"].some((name) => next[name] !== state[name]);
    state = next;
    if (isOther) {
      generation += 1;
      const mine = generation;
      const first = await source.list(state.query, 0, BLOCK);
      if (mine !== generation) return total;
      blocks = new Map([[0, first.samples]]);
      total = first.total;
      cursor = 0;
      clear();
      root.scrollTop = 0;
    } else if (isSeenDifferently) {
      for (const tile of tiles.values()) tile.isStale = true;
      load();
    }
    refresh();
    return total;
  }

  function clear() {
    for (const tile of tiles.values()) drop(tile);
    tiles.clear();
  }

  function drop(tile) {
    if (tile.isLoading) {
      nLoading -= 1;
      tile.isLoading = false;
      tile.picture.removeAttribute("src"); // what is not seen any more need not arrive
    }
    tile.element.remove();
  }

  function refresh() {
    if (!state || root.hidden || !root.clientWidth) return;
    const before = layout;
    measure();
    if (before.columns !== layout.columns || before.side !== layout.side) clear();
    update();
  }

  function update() {
    const top = offset();
    const first = Math.max(0, Math.floor(top / layout.height) - 1) * layout.columns;
    const last = Math.min(total, (Math.ceil((top + root.clientHeight) / layout.height) + 1) * layout.columns);
    for (const [position, tile] of tiles) {
      if (position < first || position >= last) {
        if (tile.element.contains(document.activeElement)) root.focus({ preventScroll: true });
        drop(tile);
        tiles.delete(position);
      }
    }
    for (let position = first; position < last; position += 1) {
      const tile = tiles.get(position) ?? add(position);
      const row = Math.floor(position / layout.columns);
      const x = GAP + (position % layout.columns) * (layout.side + GAP);
      const y = root.scrollTop + row * layout.height + GAP - top;
      tile.element.style.transform = `translate(${x}px, ${y}px)`;
    }
    clearTimeout(timer);
    if (Math.abs(top - lastTop) < layout.height / 3) load();
    else timer = setTimeout(load, SETTLED_MS);
    lastTop = top;
    request(first, last);
  }

  function request(first, last) {
    for (let block = Math.floor(first / BLOCK); block * BLOCK < last; block += 1) {
      if (blocks.has(block)) continue;
      const mine = generation;
      blocks.set(block, null);
      source
        .list(state.query, block * BLOCK, BLOCK)
        .then((found) => {
          if (mine !== generation) return;
          blocks.set(block, found.samples);
          for (const [position, tile] of tiles) {
            if (Math.floor(position / BLOCK) === block) describe(tile, position);
          }
          load();
        })
        .catch(() => blocks.delete(block));
    }
  }

  function at(position) {
    return blocks.get(Math.floor(position / BLOCK))?.[position % BLOCK] ?? null;
  }

  function add(position) {
    const element = make("div", {
      class: "tile", role: "option", tabindex: "-1", id: `tile-${position}`,
      "aria-posinset": position + 1, "aria-setsize": total, "aria-selected": "false",
      onclick: () => open(position),
      onfocus: () => point(position),
    });
    element.style.width = `${layout.side}px`;
    element.style.height = `${layout.side + CAPTION}px`;
    const tile = { element, picture: null, sample: null, isStale: true, isLoading: false };
    tiles.set(position, tile);
    canvas.append(element);
    describe(tile, position);
    return tile;
  }

  function describe(tile, position) {
    const sample = at(position);
    if (!sample || tile.sample === sample) return;
    tile.sample = sample;
    const words = captionOf(source.catalog, sample, state.query);
    const frameOf = make("div", { class: "frame" });
    frameOf.style.height = `${layout.side}px`;
    if (isReadable(sample)) {
      tile.picture = make("img", { alt: describeLook(source.catalog, state, sample), decoding: "async", draggable: "false" });
      tile.picture.addEventListener("load", () => end(tile));
      tile.picture.addEventListener("error", () => {
        frameOf.replaceChildren(make("p", {}, "cannot be read"));
        end(tile);
      });
      frameOf.append(tile.picture);
    } else {
      frameOf.append(make("p", {}, UNREADABLE[sample.status] ?? "cannot be read"));
    }
    if (sample.copy) frameOf.append(make("span", { class: "badge" }, "copy"));
    const verdict = verdictOf(sample);
    tile.element.replaceChildren(
      frameOf,
      make("div", { class: "caption" },
        make("span", { class: "line" },
          verdict ? make("span", { class: `mark ${verdict.kind}`, "aria-hidden": "true" }, verdict.sign) : null,
          nameOf(sample.id)),
        make("span", { class: "line what", title: words }, words)),
    );
    tile.element.setAttribute("aria-label", [sample.id, words, verdict?.text].filter(Boolean).join(", "));
    tile.element.classList.toggle("current", position === cursor);
  }

  // Ask for the pictures of tiles, first those that are seen.
  function load() {
    const top = offset();
    const isSeen = ([position]) => {
      const y = Math.floor(position / layout.columns) * layout.height - top;
      return y > -layout.height && y < root.clientHeight;
    };
    const waiting = [...tiles].filter(([, tile]) => tile.picture && tile.isStale && !tile.isLoading);
    const ordered = [...waiting.filter(isSeen), ...waiting.filter((each) => !isSeen(each))];
    for (const [, tile] of ordered.slice(0, Math.max(0, MAX_LOADING - nLoading))) setPicture(tile);
  }

  function end(tile) {
    if (!tile.isLoading) return;
    tile.isLoading = false;
    nLoading -= 1;
    load();
  }

  function setPicture(tile) {
    const wanted = layout.side * Math.min(window.devicePixelRatio || 1, 2);
    const size = PICTURES.find((each) => each >= wanted) ?? PICTURES.at(-1);
    nLoading += 1;
    tile.isLoading = true;
    tile.isStale = false;
    tile.picture.alt = describeLook(source.catalog, state, tile.sample);
    tile.picture.src = source.image(tile.sample.i, { ...lookOf(source.catalog, state), size });
  }

  function point(position) {
    tiles.get(cursor)?.element.classList.remove("current");
    tiles.get(cursor)?.element.setAttribute("aria-selected", "false");
    cursor = position;
    tiles.get(cursor)?.element.classList.add("current");
    tiles.get(cursor)?.element.setAttribute("aria-selected", "true");
  }

  function move(steps) {
    if (!total) return;
    const next = Math.min(total - 1, Math.max(0, cursor + steps));
    reveal(next);
    point(next);
    tiles.get(next)?.element.focus({ preventScroll: true });
  }

  function reveal(position) {
    const top = Math.floor(position / layout.columns) * layout.height;
    const most = realHeight() - root.clientHeight;
    let wanted = offset();
    if (top < wanted) wanted = top;
    else if (top + layout.height + GAP > wanted + root.clientHeight) wanted = top + layout.height + GAP - root.clientHeight;
    const ratio = most > 0 ? (shownHeight() - root.clientHeight) / most : 0;
    root.scrollTop = wanted * ratio;
    update();
  }

  function open(position) {
    const sample = at(position);
    point(position);
    if (sample) onOpen(sample.i);
  }

  root.addEventListener("scroll", () => {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(update);
  }, { passive: true });
  new ResizeObserver(refresh).observe(root);

  return {
    show,
    move,
    refresh,
    moveRow: (steps) => move(steps * layout.columns),
    movePage: (steps) => move(steps * layout.columns * Math.max(1, Math.floor(root.clientHeight / layout.height))),
    moveTo: (position) => move(position - cursor),
    focus: () => move(0),
    openCurrent: () => open(cursor),
    get total() { return total; },
    place: (position) => { if (position !== null && position < total) { reveal(position); point(position); } },
  };
}

export function isReadable(sample) {
  return sample.status === "ok" || sample.status === "filled";
}

export function lookOf(catalog, state) {
  const look = {};
  if (state.channels !== null) look.channels = state.channels;
  if (state.gain !== "1") look.gain = state.gain;
  return look;
}

export function describeLook(catalog, state, sample) {
  const shown = state.channels === null ? catalog.channels.map((_, c) => c) : state.channels.split(",").filter(Boolean);
  const names = shown.map((c) => catalog.channels[c]?.name).join(", ") || "no channel";
  return `Composite of sample ${sample.id}: ${names}`;
}

export function verdictOf(sample) {
  if (sample.right === undefined) return null;
  if (sample.right) return { kind: "right", sign: "✓", text: "all classes right" };
  return { kind: "wrong", sign: "✗", text: "not all classes right" };
}

export function captionOf(catalog, sample, query) {
  const k = Number(query.label);
  const names = sample.labels?.map((each) => catalog.classes[each]);
  const labels = names === undefined ? "no labels known" : names.join(", ") || "no class";
  const isByProb = ["probability", "least probable", "threshold"].includes(query.order);
  if (sample.p === undefined || (k < 0 && !isByProb)) return labels;
  return `p ${sample.p.toFixed(2)} · ${labels}`;
}
