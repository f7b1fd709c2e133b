// The help: keys, and what words on the page mean.

import { byId, make } from "./dom.js";

const KEYS = [
  ["← → ↑ ↓", "move in the grid; in a sample, ← and → go to the one before and after"],
  ["Enter", "open the sample"],
  ["Esc", "back to all samples"],
  ["Home, End, Page ↑, Page ↓", "move far"],
  ["1 to 9", "show or hide a channel"],
  ["0", "show all channels"],
  ["c", "next contrast"],
  ["/", "search for an id"],
  ["?", "this help"],
];

export function makeHelp(catalog) {
  const dialog = byId("help");
  const keys = catalog.static ? KEYS.filter(([key]) => !["1 to 9", "0", "c"].includes(key)) : KEYS;
  const words = [];
  if (catalog.predicted?.thresholds) {
    words.push(`Probabilities are out of fold: each sample is predicted by the model of run “${catalog.predicted.name}” that was not trained on it. They are those that the thresholds of the run are for, not those of --calibrated. A class is predicted where its probability exceeds the threshold of the run, as hpa predict applies it; a sample without any such class may get the most probable one. Thresholds were fitted on these samples, so the share that is right is a little optimistic; the report of hpa evaluate has the honest scores.`);
    words.push("✓: all classes of the sample are predicted as they are labeled. ✗: at least one is missed or wrong. Samples without labels, and those that models may have been trained on, have no sign.");
  } else if (catalog.predicted) {
    words.push("Probabilities are those of the features file. The models may have been trained on these samples.");
  }
  if (!catalog.static) words.push("Contrast: as stored; all pixels multiplied by one number, so that samples can be compared; or stretched, each channel of each image by its own number, at most 8, so that its brightest 0.1 % are nearly white.");
  if (catalog.neighbors) words.push("Nearest by features: the samples with the largest cosine of their features, as hpa similar lists them.");
  dialog.replaceChildren(
    make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
    make("h2", {}, "Keys"),
    make("dl", {}, ...keys.flatMap(([key, text]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, text)])),
    words.length ? make("h2", {}, "What is shown") : null,
    ...words.map((text) => make("p", {}, text)),
  );
  return { open: () => dialog.showModal() };
}
