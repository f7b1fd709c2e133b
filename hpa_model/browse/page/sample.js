// One sample: its composite and planes, what is predicted, its parent and copies, its neighbors.

import { byId, count, make, nameOf } from "./dom.js";
import { captionOf, describeLook, isReadable, lookOf, verdictOf } from "./grid.js";

const N_BARS = 8;

export function makeSample(source, { onOpen, onClose, onStep }) {
  const root = byId("sample");
  const { catalog } = source;
  let shown = null;
  let showsAll = false;
  let generation = 0;

  async function show(index, state) {
    generation += 1;
    const mine = generation;
    const isOther = shown?.i !== index;
    try {
      const sample = isOther ? await source.sample(index, state.query) : shown;
      if (mine !== generation) return shown;
      shown = sample;
      draw(state);
    } catch (error) {
      if (mine !== generation) return shown;
      shown = null;
      root.replaceChildren(bar(state), make("p", { class: "failure" }, error.message));
    }
    if (isOther) root.scrollTop = 0;
    return shown;
  }

  function draw(state) {
    const focus = root.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    root.replaceChildren(
      bar(state),
      make("div", { class: "columns" },
        make("div", { class: "pictures" }, ...pictures(state)),
        make("div", { class: "facts" }, facts(), ...bars(state))),
      ...maps(),
      ...relatives(state),
      ...neighbors(state),
    );
    if (focus) root.querySelector(`[data-key="${focus}"]`)?.focus();
  }

  function bar(state) {
    const place = shown && shown.position !== null ? `${(shown.position + 1).toLocaleString("en")} of ${shown.total.toLocaleString("en")}` : "not in this selection";
    const verdict = shown ? verdictOf(shown) : null;
    return make("div", { class: "bar" },
      make("button", { type: "button", "data-key": "back", onclick: onClose }, "← All samples"),
      make("h2", { tabindex: "-1" }, shown?.id ?? "", verdict ? make("span", { class: `mark ${verdict.kind}` }, ` ${verdict.sign} ${verdict.text}`) : null),
      make("div", { class: "steps" },
        make("span", { class: "muted" }, shown ? place : ""),
        make("button", { type: "button", "data-key": "before", "aria-label": "Previous sample", disabled: !shown?.position, onclick: () => onStep(-1) }, "‹"),
        make("button", { type: "button", "data-key": "after", "aria-label": "Next sample", disabled: !shown || shown.position === null || shown.position + 1 >= shown.total, onclick: () => onStep(1) }, "›")),
    );
  }

  function pictures(state) {
    if (!isReadable(shown)) {
      const why = { failed: "The conversion of this sample failed.", pending: "This sample is not converted yet." };
      return [make("p", { class: "unreadable" }, `${why[shown.status] ?? ""} ${shown.note}`)];
    }
    const look = lookOf(catalog, state);
    const size = catalog.static ? 384 : 0;
    const composite = source.image(shown.i, { ...look, size });
    const planes = catalog.channels.map((channel, c) => {
      const gray = { channels: String(c), gray: "1", size, ...(state.gain === "1" ? {} : { gain: state.gain }) };
      const words = `${channel.name}${gainWords(state, c)}`;
      return picture(source.image(shown.i, gray), `Channel ${channel.name} of sample ${shown.id}, in gray`, words, channel.color);
    });
    return [
      picture(composite, describeLook(catalog, state, shown), catalog.static ? "all channels" : "composite", null),
      make("div", { class: "planes" }, ...planes),
      make("p", { class: "muted small" }, contrastNote(state)),
    ];
  }

  function gainWords(state, c) {
    if (state.gain !== "0" || !shown.gains?.length) return "";
    return ` × ${shown.gains[c].toFixed(1)}`;
  }

  function contrastNote(state) {
    const size = `${catalog.width} × ${catalog.height} pixels`;
    if (catalog.static) return `${size} in the store; here as JPEG files, at most 384 pixels wide, pixel values as stored.`;
    if (state.gain === "1") return `${size}, pixel values as stored. A click shows them one to one.`;
    if (state.gain === "0") return `${size}. Each channel is multiplied by its own number, so that its brightest 0.1 % are nearly white: brightness cannot be compared between channels or samples.`;
    return `${size}. All pixel values × ${state.gain}; what was brighter than ${Math.floor(255 / Number(state.gain))} of 255 is white.`;
  }

  function picture(address, alt, words, color) {
    const swatch = color ? make("span", { class: "swatch", "aria-hidden": "true" }) : null;
    if (swatch) swatch.style.background = color;
    const image = make("img", { src: address, alt, decoding: "async" });
    const figure = make("figure", {},
      make("button", { type: "button", class: "plain", "aria-label": `${alt}: show one to one`, onclick: () => zoom(address, alt) }, image),
      make("figcaption", {}, swatch, words));
    image.addEventListener("error", () => figure.replaceChildren(make("p", { class: "unreadable" }, "This picture cannot be read.")));
    return figure;
  }

  function zoom(address, alt) {
    const dialog = byId("zoom");
    dialog.replaceChildren(
      make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
      make("div", { class: "scroll", tabindex: "0" }, make("img", { src: address, alt })));
    dialog.showModal();
  }

  function facts() {
    const rows = [["Part", catalog.parts[shown.part]]];
    if (shown.fold >= 0) rows.push(["Fold", `${shown.fold}: predicted by the model that was not trained on it`]);
    if (shown.embedded) rows.push(["Predicted", `by the mean of the models, as in the features file; they may have been trained on this sample${catalog.predicted.apart ? ". They are not those of this run and its thresholds" : ""}`]);
    if (catalog.predicted && !shown.probs) rows.push(["Predicted", "not by this run"]);
    rows.push(["Labels", shown.labels === null ? "not known" : shown.labels.map((k) => catalog.classes[k]).join(", ") || "no class"]);
    if (shown.status === "filled") rows.push(["Channels", "at least one is missing, and filled with zeros"]);
    if (shown.note && isReadable(shown)) rows.push(["Note", shown.note]);
    if (shown.transform) rows.push(["Copy", shown.transform]);
    for (const [name, value] of Object.entries(shown.columns)) rows.push([name, value]);
    return make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  }

  function bars(state) {
    if (!shown.probs) return [];
    const thresholds = shown.embedded && catalog.predicted.apart ? null : catalog.predicted.thresholds;
    const all = shown.probs.map((p, k) => ({ k, p, labeled: shown.labels?.includes(k) ?? false, predicted: shown.predicted.includes(k) }));
    const ranked = all.toSorted((one, other) => other.p - one.p);
    const first = ranked.filter((each, rank) => each.labeled || each.predicted || rank < N_BARS);
    const list = showsAll ? all : first;
    const more = all.length > first.length
      ? make("button", { type: "button", "data-key": "bars", onclick: () => { showsAll = !showsAll; draw(state); } },
        showsAll ? "Fewer classes" : `All ${all.length} classes`)
      : null;
    return [
      make("h3", {}, "Probabilities"),
      make("table", { class: "bars" },
        make("thead", {}, make("tr", {}, ...["Class", "Probability", "", thresholds ? "Threshold" : null, ""].filter((each) => each !== null).map((text) => make("th", { scope: "col" }, text)))),
        make("tbody", {}, ...list.map((each) => barRow(each, thresholds)))),
      more,
    ];
  }

  function barRow({ k, p, labeled, predicted }, thresholds) {
    const threshold = thresholds?.[k];
    const isJudged = shown.right !== undefined;
    let kind = predicted ? "predicted" : "";
    let word = predicted ? "predicted" : labeled ? "labeled" : "";
    if (isJudged && (labeled || predicted)) {
      kind = labeled && predicted ? "found" : labeled ? "missed" : "extra";
      word = { found: "✓ found", missed: "✗ missed", extra: "✗ wrong" }[kind];
    }
    const fillOf = make("span", { class: "fill" });
    fillOf.style.width = `${100 * p}%`;
    const tick = threshold === undefined || threshold >= 1 ? null : make("span", { class: "tick" });
    if (tick) tick.style.left = `${100 * threshold}%`;
    const limit = threshold === undefined ? null : make("td", { class: "number muted" }, threshold >= 1 ? "never" : threshold.toFixed(2));
    return make("tr", { class: kind },
      make("th", { scope: "row" }, catalog.classes[k]),
      make("td", { class: "track" }, make("span", { class: "rail" }, fillOf, tick)),
      make("td", { class: "number" }, p.toFixed(2)),
      limit,
      make("td", { class: "word" }, word));
  }

  function maps() {
    if (!shown.map) return [];
    const words = "Where the models see each class, as hpa explain draws it.";
    return [make("h3", {}, "Class maps"), make("div", { class: "maps" }, picture(source.map(shown.i), `Class maps of sample ${shown.id}`, words, null))];
  }

  function relatives(state) {
    const found = [];
    if (shown.parent) found.push([shown.parent, "parent"]);
    for (const copy of shown.copies ?? []) found.push([copy, "copy"]);
    if (!found.length) {
      if (!shown.copy || shown.parent) return [];
      return [make("h3", {}, "Parent"), make("p", { class: "muted" }, "It is in a part that is not shown.")];
    }
    const rest = shown.n_copies - (shown.copies?.length ?? 0);
    const title = shown.parent ? "Parent and other copies" : count(shown.n_copies, "augmented copy").replace("copys", "copies");
    return [make("h3", {}, title), strip(state, found), rest > 0 ? make("p", { class: "muted" }, `… and ${rest} more`) : null].filter(Boolean);
  }

  function neighbors(state) {
    if (!catalog.neighbors) return [];
    const title = make("h3", {}, "Nearest by features");
    if (!shown.neighbors) return [title, make("p", { class: "muted" }, "This sample is not in the features file.")];
    return [title, strip(state, shown.neighbors.map((each) => [each, `cosine ${each.cosine.toFixed(3)}`]))];
  }

  function strip(state, found) {
    return make("ul", { class: "strip" }, ...found.map(([sample, words]) => {
      const isHere = isReadable(sample) && (source.has?.(sample.i) ?? true);
      const look = lookOf(catalog, state);
      const picture = isHere
        ? make("img", { src: source.image(sample.i, { ...look, size: 192 }), alt: describeLook(catalog, state, sample), loading: "lazy", decoding: "async" })
        : make("p", {}, isReadable(sample) ? "not on this page" : sample.status);
      return make("li", {},
        make("button", { type: "button", class: "plain", disabled: source.has ? !source.has(sample.i) : false, onclick: () => onOpen(sample.i), "aria-label": `Open sample ${sample.id}, ${words}` },
          make("span", { class: "frame" }, picture),
          make("span", { class: "words" }, words),
          nameOf(sample.id),
          make("span", { class: "muted" }, captionOf(catalog, sample, { label: "-1", order: "store" }))));
    }));
  }

  return { show, get position() { return shown?.position ?? null; }, forget: () => { shown = null; generation += 1; } };
}
