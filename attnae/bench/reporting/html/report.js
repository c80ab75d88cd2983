"use strict";
// All text enters the page through textContent, and plotly's labels through `label`: nothing is parsed as HTML.
const find = (id) => document.getElementById(id);
const label = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
const LAYOUT = { margin: { l: 64, r: 16, t: 16, b: 56 }, font: { family: "system-ui, sans-serif", size: 13 }, hovermode: "closest", showlegend: false };
const CONFIG = { responsive: true, displaylogo: false };

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function options(select, texts, chosen, change) {
  texts.forEach((text, place) => select.append(element("option", text, { value: place })));
  select.value = chosen;
  select.addEventListener("change", change);
}

function choices(parent, texts, change, colors = {}) {
  return texts.map((text) => {
    const box = element("input", "", { type: "checkbox", checked: "" });
    const row = document.createElement("label");
    row.append(box);
    if (colors[text]) {
      const swatch = element("span", "", { class: "swatch" });
      swatch.style.background = colors[text];
      row.append(swatch);
    }
    row.append(text);
    parent.append(row);
    box.addEventListener("change", change);
    return box;
  });
}

function table() {
  const { columns, rows } = CONTENT.table, shown = columns.map((column) => column.shown);
  let sorted = null, down = false;
  const draw = () => {
    const places = columns.map((_, place) => place).filter((place) => shown[place]);
    const head = element("tr", "");
    [null, ...places].forEach((place) => {
      const direction = sorted !== null && sorted.place === place ? (down ? "descending" : "ascending") : "none";
      const cell = element("th", "", { scope: "col", "aria-sort": direction });
      const button = element("button", place === null ? "variant" : columns[place].title, { type: "button", "data-column": place === null ? "" : place });
      button.addEventListener("click", () => {
        down = sorted !== null && sorted.place === place ? !down : false;
        sorted = { place };
        draw();
        document.querySelector(`#table button[data-column="${place === null ? "" : place}"]`).focus();
      });
      cell.append(button);
      head.append(cell);
    });
    head.append(element("th", "seeds", { scope: "col" }));
    find("table").tHead.replaceChildren(head);
    const ordered = [...rows];
    if (sorted !== null) {
      const value = (row) => (sorted.place === null ? row.title : row.cells[sorted.place][1]);
      ordered.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null) return (x === null) - (y === null); // missing values come last
        return (typeof x === "string" ? x.localeCompare(y) : x - y) * (down ? -1 : 1);
      });
    }
    find("table").tBodies[0].replaceChildren(...ordered.map((row) => {
      const line = element("tr", "");
      line.append(element("th", row.title, { scope: "row" }), ...places.map((place) => element("td", row.cells[place][0])), element("td", row.seeds));
      return line;
    }));
  };
  const boxes = choices(find("columns"), columns.map((column) => column.title), () => {
    boxes.forEach((box, place) => { shown[place] = box.checked; });
    draw();
  });
  boxes.forEach((box, place) => { box.checked = shown[place]; });
  draw();
}

function images() {
  const sides = Object.keys(CONTENT.images.sides), count = CONTENT.images.sides[sides[0]].length;
  const given = sides.filter((side) => ["ground truth", "input"].includes(side));
  const pictures = given.map((side) => {
    const figure = document.createElement("figure"), picture = element("img", "", { alt: side });
    figure.append(picture, element("figcaption", side));
    find("given").append(figure);
    return picture;
  });
  const draw = () => {
    const image = find("image").value;
    for (const [id, select] of [["over", "left"], ["under", "right"]]) {
      const side = sides[find(select).value];
      find(id).src = CONTENT.images.sides[side][image];
      find(id).alt = side;
    }
    pictures.forEach((picture, place) => { picture.src = CONTENT.images.sides[given[place]][image]; });
    find("over").style.clipPath = `inset(0 ${100 - find("split").value}% 0 0)`;
  };
  options(find("image"), [...Array(count).keys()].map((place) => String(place + 1)), 0, draw);
  options(find("left"), sides, given.length, draw); // the variants follow
  options(find("right"), sides, sides.length > given.length + 1 ? given.length + 1 : 0, draw);
  find("split").addEventListener("input", draw);
  draw();
}

function tradeoff() {
  const { costs, qualities } = CONTENT.tradeoff;
  const draw = () => {
    const quality = qualities[find("quality").value], cost = costs[find("spent").value];
    const points = quality.points.filter((point) => point.costs[cost] !== null);
    Plotly.react("tradeoff", points.map((point) => ({
      x: [point.costs[cost]], y: [point.y], mode: "markers+text", text: [label(CONTENT.looks[point.variant].title)], textposition: "top center",
      marker: { size: 11, color: CONTENT.looks[point.variant].color }, cliponaxis: false, hoverinfo: "x+y+text",
      error_y: point.error === null ? undefined : { array: [point.error] },
    })), { ...LAYOUT, xaxis: { title: { text: label(cost) }, automargin: true }, yaxis: { title: { text: label(`${quality.title}, ${quality.better} is better`) }, automargin: true } }, CONFIG);
  };
  options(find("quality"), qualities.map((one) => one.title), 0, draw);
  options(find("spent"), costs, 0, draw);
  draw();
}

function curves() {
  const names = Object.keys(CONTENT.looks).filter((name) => CONTENT.curves.some((curve) => curve.lines.some((line) => line.variant === name)));
  const seeds = [...new Set(CONTENT.curves.flatMap((curve) => curve.lines.map((line) => line.seed)))].sort((a, b) => a - b);
  const titles = names.map((name) => CONTENT.looks[name].title);
  const draw = () => {
    const curve = CONTENT.curves[find("curve").value];
    const lines = curve.lines.filter((line) => variantBoxes[names.indexOf(line.variant)].checked && seedBoxes[seeds.indexOf(line.seed)].checked);
    Plotly.react("curves", lines.map((line) => ({
      x: line.x, y: line.y.map((y) => (y === null ? null : y * curve.scale)), name: label(`${CONTENT.looks[line.variant].title}, seed ${line.seed}`), mode: line.x.length > 1 ? "lines" : "markers",
      line: { color: CONTENT.looks[line.variant].color, dash: CONTENT.looks[line.variant].dash, width: 1.8 },
    })), { ...LAYOUT, xaxis: { title: { text: "epoch" }, automargin: true }, yaxis: { title: { text: label(curve.y) }, automargin: true } }, CONFIG);
  };
  const variantBoxes = choices(find("variants"), titles, draw, Object.fromEntries(names.map((name, place) => [titles[place], CONTENT.looks[name].color])));
  const seedBoxes = choices(find("seeds"), seeds.map(String), draw);
  options(find("curve"), CONTENT.curves.map((curve) => curve.title), 0, draw);
  draw();
}

if (find("table")) table();
if (find("image")) images();
if (find("tradeoff")) tradeoff();
if (find("curves")) curves();
