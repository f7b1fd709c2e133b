// The filters beside the grid: a field for each thing that the store, the run or the file knows.

import { byId, fill, make } from "./dom.js";

const RELATIONS = [
  ["labeled", "labeled with it"], ["predicted", "predicted as it"], ["found", "found: labeled and predicted"],
  ["missed", "missed: labeled, not predicted"], ["wrong", "wrong: predicted, not labeled"], ["any", "all, for their probability"],
];

export function makeFilters(catalog, { onChange, onClear }) {
  const root = byId("filters");
  const fields = new Map();
  const predicted = catalog.predicted;

  function add(name, words, options) {
    const select = make("select", { id: `filter-${name}`, onchange: () => onChange(name, select.value) });
    fill(select, options, options[0][0]);
    fields.set(name, select);
    root.append(make("label", { class: "field" }, words, select));
    return select;
  }

  const search = make("input", { type: "search", id: "filter-text", autocomplete: "off", spellcheck: "false", placeholder: "part of an id", oninput: () => onChange("text", search.value) });
  fields.set("text", search);
  root.append(make("label", { class: "field" }, "Id", search));
  if (catalog.parts.length > 1) add("part", "Part", [["", "all"], ...catalog.parts.map((name) => [name, name])]);
  add("label", "Class", [["-1", "all"], ...catalog.classes.map((name, k) => [String(k), `${name} (${catalog.counts[k].toLocaleString("en")})`])]);
  add("relation", "Samples", predicted?.thresholds ? RELATIONS : RELATIONS.filter(([key]) => key === "labeled" || (predicted && key === "any")));
  if (predicted) {
    const bound = (name, words, value) => {
      const input = make("input", { type: "number", id: `filter-${name}`, min: "0", max: "1", step: "0.05", value, "aria-label": words, onchange: () => onChange(name, String(Math.min(1, Math.max(0, Number(input.value) || 0)))) });
      fields.set(name, input);
      return input;
    };
    root.append(make("fieldset", { class: "field" }, make("legend", {}, "Probability"),
      make("div", { class: "range" }, bound("low", "Lowest probability", "0"), make("span", {}, "to"), bound("high", "Highest probability", "1"))));
    if (predicted.thresholds) add("verdict", "Prediction", [["", "all"], ["right", "all classes right"], ["wrong", "not all right"], ["unpredicted", "without a prediction"]]);
    if (predicted.folds.length) add("fold", "Fold", [["-1", "all"], ...predicted.folds.map((fold) => [String(fold), String(fold)])]);
  }
  const kinds = [["", "all"]];
  if (catalog.copies) kinds.push(["originals", "originals"], ["copies", "augmented copies"]);
  if (catalog.unreadable) kinds.push(["unreadable", `not converted (${catalog.unreadable.toLocaleString("en")})`]);
  if (kinds.length > 1) add("kind", "Kind", kinds);
  for (const [name, values] of Object.entries(catalog.columns)) {
    const title = name[0].toUpperCase() + name.slice(1), more = catalog.n_values[name] - values.length;
    const words = more > 0 ? `${title} (first ${values.length} of ${catalog.n_values[name].toLocaleString("en")})` : title;
    if (values.length) add(`meta.${name}`, words, [["", "all"], ...values.map((value) => [value, value])]);
  }
  const clear = make("button", { type: "button", id: "clear", onclick: onClear }, "Clear filters");
  root.append(clear);

  return {
    show(query, isFiltered) {
      for (const [name, field] of fields) {
        const value = query[name] ?? "";
        if (field.value !== value && field !== document.activeElement) field.value = value;
      }
      fields.get("relation").disabled = query.label === "-1";
      clear.disabled = !isFiltered;
    },
    focusSearch() {
      root.classList.add("open");
      byId("open-filters").setAttribute("aria-expanded", "true");
      search.focus();
      search.select();
    },
  };
}
