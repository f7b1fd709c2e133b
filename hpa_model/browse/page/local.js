// Samples of a page on a disk: chosen and sorted as `hpa_model/browse/query.py` does.

export function openLocal(data) {
  const samples = new Map(data.samples.map((sample) => [sample.i, sample]));
  const find = (query) => {
    const chosen = data.samples.filter((sample) => isChosen(sample, query, data.catalog));
    return sortSamples(chosen, query, data.catalog);
  };
  return {
    catalog: data.catalog,
    list: async (query, first, n) => {
      const found = find(query);
      const k = Number(query.label);
      return {
        total: found.length,
        first,
        samples: found.slice(first, first + n).map((each) => ({ ...each, p: probOf(each, k) ?? undefined })),
      };
    },
    sample: async (index, query) => {
      const found = find(query);
      const position = found.findIndex((each) => each.i === index);
      if (!samples.has(index)) throw new Error("This sample is not on this page.");
      return { ...samples.get(index), position: position < 0 ? null : position, total: found.length };
    },
    map: (index) => `images/${index}-map.png`,
    image: (index, look) => {
      if (look.gray) return `images/${index}-${look.channels}.jpg`;
      return `images/${index}-${look.size > 256 || look.size === 0 ? "large" : "small"}.jpg`;
    },
    has: (index) => samples.has(index),
  };
}

function probOf(sample, k) {
  if (!sample.probs) return null;
  return k >= 0 ? sample.probs[k] : Math.max(...sample.probs);
}

function isChosen(sample, query, catalog) {
  const k = Number(query.label);
  const labeled = sample.labels?.includes(k) ?? false;
  const predicted = sample.predicted?.includes(k) ?? false;
  const isJudged = sample.right !== undefined;
  const relations = {
    any: true, labeled, predicted,
    found: isJudged && labeled && predicted,
    missed: isJudged && labeled && !predicted,
    wrong: isJudged && predicted && !labeled,
  };
  const p = probOf(sample, k);
  const low = Number(query.low);
  const high = Number(query.high);
  const verdicts = {
    "": true, right: sample.right === true, wrong: sample.right === false, unpredicted: p === null,
  };
  const isUnreadable = sample.status !== "ok" && sample.status !== "filled";
  const kinds = { "": true, originals: !sample.copy, copies: sample.copy, unreadable: isUnreadable };
  return (
    sample.id.toLowerCase().includes(query.text.toLowerCase()) &&
    (!query.part || catalog.parts[sample.part] === query.part) &&
    (k < 0 || relations[query.relation]) &&
    verdicts[query.verdict] &&
    (query.fold === "-1" || sample.fold === Number(query.fold)) &&
    ((low === 0 && high === 1) || (p !== null && p >= low && p <= high)) &&
    kinds[query.kind] &&
    Object.entries(query).every(([name, value]) => !name.startsWith("meta.") || sample.columns[name.slice(5)] === value)
  );
}

function sortSamples(samples, query, catalog) {
  const k = Number(query.label);
  const thresholds = catalog.predicted?.thresholds;
  const keys = {
    id: null,
    store: (sample) => sample.i,
    family: (sample) => sample.family,
    probability: (sample) => -(probOf(sample, k) ?? -Infinity),
    "least probable": (sample) => probOf(sample, k) ?? Infinity,
    error: (sample) => (sample.right === undefined ? Infinity : -sample.loss),
    threshold: (sample) => {
      if (!sample.probs || !thresholds || (sample.embedded && catalog.predicted.apart)) return Infinity;
      const margins = sample.probs.map((p, each) => (thresholds[each] < 1 ? Math.abs(p - thresholds[each]) : Infinity));
      return k >= 0 ? margins[k] : Math.min(...margins);
    },
  };
  if (query.order === "id") return samples.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const key = keys[query.order] ?? keys.store;
  const rank = (sample) => Math.min(key(sample), Number.MAX_VALUE); // infinity minus infinity is no number
  return samples.toSorted((one, other) => rank(one) - rank(other) || one.i - other.i);
}
