
"use strict";

const byId = (id) => document.getElementById(id);
const page = JSON.parse(byId("data").textContent);
const step = page.weights[1] - page.weights[0];
const largest = page.weights[page.weights.length - 1];

// What is shown: a person, and a weight for each cause.
let person = page.people[0];
let weights = page.causes.map(() => 1);

const sum = (values) => values.reduce((total, value) => total + value, 0);
const whole = (value) => value.toLocaleString("en");
const counted = (count, what) => `${whole(count)} ${what}${count === 1 ? "" : "s"}`;
const tenths = (value) => value.toLocaleString(
  "en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const percent = (share) => `${Math.round(100 * share)} %`;
const colour = (series) => `var(--series-${series % 9})`;

/** Makes an element. What comes from data becomes text here, never markup. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** A coloured stretch of a bar, from one share of its width to another. */
function stretch(series, from, to) {
  const span = make("span", {});
  span.style.left = `${100 * from}%`;
  span.style.width = `${100 * (to - from)}%`;
  span.style.background = colour(series);
  return span;
}

function swatch(series) {
  const square = make("span", { class: "swatch", "aria-hidden": "true" });
  square.style.background = colour(series);
  return square;
}

/** The entries that the model lists at some weights, best first. */
function listAt(chosen) {
  const combination = chosen.reduce(
    (place, weight) => place * page.weights.length + Math.round(weight / step), 0);
  const list = person.lists[person.at[combination]];
  return list.map((entry) => {
    const [place, ...terms] = person.entries[entry];
    return { place, terms: terms.map((term, cause) => term * chosen[cause]) };
  });
}

/** A formatter that shows about four digits of a person's largest term. */
function scoreFormat() {
  const size = Math.max(...person.entries.flatMap(
    ([, ...terms]) => terms.map((term) => Math.abs(term))));
  const digits = size > 0 ? 3 - Math.floor(Math.log10(size)) : 3;
  const decimals = Math.min(Math.max(digits, 0), 20);
  // Adding 0 makes the zero of a weight 0 a positive one.
  return (value) => (Number(value.toFixed(decimals)) + 0).toFixed(decimals);
}

/** A bar of terms: what adds to the right of zero, what takes away to the left. */
function termsBar(terms, low, high) {
  const share = (value) => (value - low) / (high - low || 1);
  const bar = make("div", { class: "bar", "aria-hidden": "true" });
  let [below, above] = [0, 0];
  terms.forEach((term, cause) => {
    if (term < 0) {
      bar.append(stretch(cause, share(below + term), share(below)));
      below += term;
    } else {
      bar.append(stretch(cause, share(above), share(above + term)));
      above += term;
    }
  });
  const zero = make("span", { class: "zero" });
  zero.style.left = `${100 * share(0)}%`;
  bar.append(zero);
  return bar;
}

function itemName(item) {
  const name = make("span", {}, make("bdi", {}, item.title || item.item_id));
  if (item.title) name.append(make("bdi", { class: "id" }, item.item_id));
  return name;
}

function drawList(list, usual) {
  const format = scoreFormat();
  const part = (sign) => Math.max(
    0, ...list.map(({ terms }) => sum(terms.map((term) => Math.max(sign * term, 0)))));
  const [low, high] = [-part(-1), part(1)];
  const before = new Map(usual.map(({ place }, number) => [place, number + 1]));
  const rows = list.map(({ place, terms }, number) => {
    const item = page.items[place];
    const words = terms.map((term, cause) => make(
      "span", {}, swatch(cause), `${page.causes[cause]} ${format(term)}`));
    const cell = (...content) => make("td", { role: "cell" }, ...content);
    return make("tr", { role: "row", "data-item": item.item_id },
      cell(String(number + 1)),
      make("th", { role: "rowheader", scope: "row" }, itemName(item)),
      cell(termsBar(terms, low, high), make("div", { class: "terms" }, ...words)),
      cell(format(sum(terms))),
      cell(whole(item.popularity),
        make("span", { class: "group" }, page.groups[item.group])),
      cell(String(before.get(place) ?? "new")));
  });
  byId("list").tBodies[0].replaceChildren(...rows);
}

/** Mean popularity and shares of the groups; of none where no item is known. */
function profileOf(places) {
  const known = places.map((place) => page.items[place])
    .filter((item) => item.popularity !== null);
  return known.length === 0 ? null : {
    popularity: sum(known.map((item) => item.popularity)) / known.length,
    shares: page.groups.map((_, group) =>
      known.filter((item) => item.group === group).length / known.length),
  };
}

function drawProfile(list, usual) {
  const profiles = {
    "this list": profileOf(list.map(({ place }) => place)),
    "the list at weight 1": profileOf(usual.map(({ place }) => place)),
    "already met": profileOf(person.met),
    "all interactions": page.interactions,
    "all items": page.catalogue,
  };
  const rows = Object.entries(profiles).map(([name, profile]) => {
    const bar = make("div", { class: "bar", "aria-hidden": "true" });
    const cells = ["-", ...page.groups.map(() => "-")];
    if (profile !== null) {
      cells[0] = tenths(profile.popularity);
      let from = 0;
      profile.shares.forEach((share, group) => {
        cells[group + 1] = percent(share);
        bar.append(stretch(group + page.causes.length, from, from + share));
        from += share;
      });
    }
    return make("tr", {}, make("th", { scope: "row" }, name, bar),
      ...cells.map((cell) => make("td", {}, cell)));
  });
  byId("profile").tBodies[0].replaceChildren(...rows);
}

function drawMet() {
  const items = person.met.map((place) => page.items[place]);
  const rows = items.map((item) => {
    const popularity = item.popularity === null
      ? "not known to the model" : whole(item.popularity);
    return make("li", {}, itemName(item),
      make("span", { class: "note" }, ` ${popularity}`));
  });
  const order = person.kind === "user" ? "most popular first" : "latest last";
  document.querySelector("summary").textContent =
    `${counted(items.length, "item")}, ${order}, with their popularity`;
  byId("met").replaceChildren(...rows);
}

function say(list, usual) {
  const usualPlaces = new Set(usual.map(({ place }) => place));
  const kept = list.filter(({ place }) => usualPlaces.has(place)).length;
  let text = `${kept} of ${counted(list.length, "item")} are also listed at weight 1.`;
  if (list.length === 0) {
    text = "There is no item left to list.";
  } else if (weights.every((weight) => weight === 0)) {
    text = "Without any cause all scores are 0: the first items of the catalogue.";
  } else if (weights.every((weight) => weight === 1)) {
    text = "As exported: every cause has weight 1.";
  }
  byId("status").textContent = text;
}

function draw() {
  byId("person").value = String(page.people.indexOf(person));
  page.causes.forEach((cause, place) => {
    byId(`weight-${place}`).value = weights[place];
    byId(`shown-${place}`).textContent = `× ${weights[place]}`;
  });
  const list = listAt(weights);
  const usual = listAt(weights.map(() => 1));
  drawList(list, usual);
  drawProfile(list, usual);
  drawMet();
  say(list, usual);
}

/** Reads what is to be shown from the address, such as #list=2&conformity=0.5 */
function readAddress() {
  const wanted = new URLSearchParams(window.location.hash.slice(1));
  person = page.people[Number(wanted.get("list") ?? 1) - 1] ?? page.people[0];
  weights = page.causes.map((cause) => {
    const weight = Number.parseFloat(wanted.get(cause) ?? 1);
    const nearest = Math.round((Number.isNaN(weight) ? 1 : weight) / step) * step;
    return Math.min(Math.max(nearest, 0), largest);
  });
  draw();
}

/** Keeps the address at what is shown, so that it can be passed on. */
function writeAddress() {
  const shown = new URLSearchParams({ list: page.people.indexOf(person) + 1 });
  page.causes.forEach((cause, place) => {
    if (weights[place] !== 1) shown.set(cause, weights[place]);
  });
  window.history.replaceState(null, "", `#${shown}`);
}

function nameOf(one) {
  if (one.kind === "user") return `user ${one.name}`;
  return `whoever has met ${counted(one.met.length, "item")}`;
}

function slider(cause, place) {
  return make("div", { class: "weight" },
    make("label", { for: `weight-${place}` }, swatch(place), cause),
    make("output", { id: `shown-${place}`, for: `weight-${place}` }),
    make("input", {
      id: `weight-${place}`, type: "range", list: "marks", min: 0, max: largest, step,
    }));
}

function setUp() {
  const calibrated = page.calibrated ? ", calibrated" : "";
  byId("facts").textContent =
    `A model of the method ${page.method}${calibrated}. Lists of ${page.k} items.`;
  byId("person").append(...page.people.map(
    (one, number) => make("option", { value: number }, nameOf(one))));
  byId("weights").append(...page.causes.map(slider));
  byId("marks").append(...page.weights.filter(Number.isInteger).map(
    (weight) => make("option", { value: weight })));
  const groups = page.groups.map((group, place) => make(
    "th", { scope: "col" }, swatch(place + page.causes.length), group));
  byId("profile").tHead.rows[0].append(
    make("th", { scope: "col" }, "items"),
    make("th", { scope: "col" }, "mean popularity"), ...groups);
  byId("groups").textContent =
    "Popularity counts an item's interactions in training. Each of " +
    `${page.groups.join(", ")} has about a third of all interactions.`;
  const combinations = page.weights.length ** page.causes.length;
  byId("coverage").textContent =
    "Lists are the model's own answers, without what was already met, at each of " +
    `${counted(combinations, "combination")} of weights: ${page.weights.join(", ")} ` +
    "for each cause. Nothing between them is shown, and nothing is estimated.";
  byId("controls").addEventListener("input", () => {
    person = page.people[Number(byId("person").value)];
    weights = page.causes.map((_, place) => Number(byId(`weight-${place}`).value));
    writeAddress();
    draw();
  });
  byId("controls").addEventListener("reset", (event) => {
    event.preventDefault();
    weights = weights.map(() => 1);
    writeAddress();
    draw();
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", readAddress);
  readAddress();
}

setUp();
