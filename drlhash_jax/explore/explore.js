"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const NEAREST = 20, ON_A_PAGE = 60;
const numRows = data.ids.length, width = Math.ceil(data.bits / 8), numWords = Math.ceil(width / 4);

// Codes as words of 32 bits, the first bit of a code highest.
const words = new Uint32Array(numRows * numWords);
const bytes = Uint8Array.from(atob(data.codes), letter => letter.charCodeAt(0));
for (let row = 0; row < numRows; row++)
  for (let byte = 0; byte < width; byte++)
    words[row * numWords + (byte >> 2)] |= bytes[row * width + byte] << (24 - 8 * (byte & 3));

function popcount(word) {
  word -= (word >>> 1) & 0x55555555;
  word = (word & 0x33333333) + ((word >>> 2) & 0x33333333);
  return Math.imul((word + (word >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

// The k rows nearest to a row in the first bits, without itself, by distance and then by row: [row, distance] each.
function search(query, bits, k) {
  const used = Math.ceil(bits / 32), mask = bits % 32 ? -1 << (32 - bits % 32) : -1;
  const byDistance = Array.from({ length: bits + 1 }, () => []);
  for (let row = 0; row < numRows; row++) {
    let distance = 0;
    for (let word = 0; word < used; word++) {
      const differ = words[row * numWords + word] ^ words[query * numWords + word];
      distance += popcount(word === used - 1 ? differ & mask : differ);
    }
    if (row !== query) byDistance[distance].push(row);
  }
  const found = [];
  for (let distance = 0; distance <= bits && found.length < k; distance++)
    for (const row of byDistance[distance].slice(0, k - found.length)) found.push([row, distance]);
  return found;
}

function element(kind, name, text) {
  const made = document.createElement(kind);
  made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

// What a tile shows: the picture, or the id where there is none; the distance, if it has one; the id.
function fill(tile, row, distance) {
  if (data.thumbs[row]) {
    const image = element("img", "");
    image.alt = "";
    image.src = "data:image/jpeg;base64," + data.thumbs[row];
    tile.append(image);
  } else {
    const blank = element("span", "blank", data.ids[row]);
    blank.setAttribute("aria-hidden", "true");
    tile.append(blank);
  }
  if (distance !== undefined) tile.append(element("span", "distance", "distance " + distance));
  tile.append(element("span", "name", data.ids[row]));
  tile.dataset.row = row;
  return tile;
}

function button(row, distance) {
  const item = document.createElement("li"), tile = fill(element("button", "tile"), row, distance);
  tile.type = "button";
  tile.title = data.ids[row];
  tile.setAttribute("aria-label", data.ids[row] + (distance === undefined ? "" : ", distance " + distance));
  tile.addEventListener("click", () => choose(row));
  item.append(tile);
  return item;
}

let chosen = 0, first = 0, listed = data.ids.map((_, row) => row);

function showNear() {
  const bits = Number(at("bits").value), found = search(chosen, bits, NEAREST);
  at("bits-shown").textContent = bits;
  at("near").replaceChildren(...found.map(([row, distance]) => button(row, distance)));
  const last = found.length ? ", at distances " + found[0][1] + " to " + found[found.length - 1][1] : "";
  at("told").textContent = found.length + " rows nearest to " + data.ids[chosen] + last + ".";
}

function mark() {
  for (const tile of at("rows").querySelectorAll(".tile"))
    if (Number(tile.dataset.row) === chosen) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
}

function choose(row) {
  const hadFocus = at("near").contains(document.activeElement);
  chosen = row;
  at("chosen").replaceChildren(fill(element("div", "tile"), row));
  showNear();
  mark();
  // The tile that was pressed is gone: the keyboard goes on at the first of the new ones.
  if (hadFocus) at("near").querySelector("button")?.focus();
  at("near-title").scrollIntoView({ block: "nearest" });
}

function showRows() {
  const rows = listed.slice(first, first + ON_A_PAGE);
  at("rows").replaceChildren(...rows.map(row => button(row)));
  at("where").textContent = listed.length ? first + 1 + " to " + (first + rows.length) + " of " + listed.length : "none";
  at("previous").disabled = first === 0;
  at("next").disabled = first + ON_A_PAGE >= listed.length;
  mark();
}

// Arrows walk over the tiles of a list; up and down by what stands in a line.
function walk(event) {
  const tiles = [...event.currentTarget.querySelectorAll("button")], here = tiles.indexOf(document.activeElement);
  if (here < 0) return;
  const line = tiles.filter(tile => tile.offsetTop === tiles[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: line, ArrowUp: -line }[event.key];
  if (!step || !tiles[here + step]) return;
  event.preventDefault();
  tiles[here + step].focus();
}

at("bits").addEventListener("input", showNear);
at("previous").addEventListener("click", () => { first -= ON_A_PAGE; showRows(); });
at("next").addEventListener("click", () => { first += ON_A_PAGE; showRows(); });
at("find").addEventListener("input", () => {
  const wanted = at("find").value.toLowerCase();
  listed = [...data.ids.keys()].filter(row => data.ids[row].toLowerCase().includes(wanted));
  first = 0;
  showRows();
});
for (const list of ["near", "rows"]) at(list).addEventListener("keydown", walk);
showRows();
choose(0);
scrollTo(0, 0);
