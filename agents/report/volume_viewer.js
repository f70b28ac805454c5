"use strict";
// Scrolls through the slices that lie packed in this page. Grey values come from JPEG sheets, marks from PNG sheets whose
// red says lung, green infection and blue label; marks are drawn as lines along the voxels' edges, so they stay sharp.
(() => {
  const find = (id) => document.getElementById(id);
  const known = JSON.parse(find("known").textContent);
  const canvas = find("stage");
  const pen = canvas.getContext("2d");
  const tile = document.createElement("canvas");
  const marks = document.createElement("canvas");
  const sheets = new Map();
  const MOST_SHEETS = 12;
  const at = new Map(known.planes.map((plane) => [plane.key, plane.start]));
  let plane = known.planes[0];
  let turn = 0;

  const rgb = (name, alpha = 1) => `rgb(${known.colours[name].join(" ")} / ${alpha})`;
  const shown = (name) => find(`show-${name}`)?.checked ?? false;
  const last = () => Math.floor((plane.count - 1) / plane.step);
  const place = () => Math.min(Math.round(at.get(plane.key) / plane.step), last());
  const index = () => place() * plane.step;

  /** A sheet's picture, unpacked once; the oldest is let go when there are too many. */
  function sheet(kind, form, number) {
    const id = `${kind}-${plane.key}-${number}`;
    if (!sheets.has(id)) {
      const image = new Image();
      image.src = `data:image/${form};base64,${find(id).textContent}`;
      sheets.set(id, image.decode().then(() => image));
      if (sheets.size > MOST_SHEETS) sheets.delete(sheets.keys().next().value);
    }
    return sheets.get(id);
  }

  /** One tile of a sheet on a canvas of its own, so that its neighbours do not shine in when it is enlarged. */
  function cut(image, target, number) {
    const [width, height] = plane.tile;
    const column = number % known.across;
    const row = Math.floor(number / known.across);
    target.width = width;
    target.height = height;
    const own = target.getContext("2d", { willReadFrequently: true });
    own.drawImage(image, column * plane.pitch[0], row * plane.pitch[1], width, height, 0, 0, width, height);
    return own;
  }

  async function draw() {
    const mine = ++turn;
    const number = place();
    const page = Math.floor(number / known.onSheet);
    tell();
    const [grey, flags] = await Promise.all([sheet("grey", "jpeg", page), sheet("marks", "png", page)]);
    if (mine !== turn) return;
    cut(grey, tile, number % known.onSheet);
    const own = cut(flags, marks, number % known.onSheet);
    const box = fit();
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = true;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(tile, box.x, box.y, box.wide, box.high);
    overlay(own, box);
    letters(box);
  }

  /** Where the slice lies on the canvas, in the body's proportions. */
  function fit() {
    const edge = 22 * devicePixelRatio;
    const [wide, high] = plane.mm;
    const scale = Math.min((canvas.width - 2 * edge) / wide, (canvas.height - 2 * edge) / high);
    const box = { wide: Math.max(1, wide * scale), high: Math.max(1, high * scale) };
    return { ...box, x: (canvas.width - box.wide) / 2, y: (canvas.height - box.high) / 2 };
  }

  function overlay(own, box) {
    const [width, height] = plane.tile;
    const flags = own.getImageData(0, 0, width, height).data;
    const bits = ["lung", "infection", "label"];
    if (shown("infection")) {
      const tint = own.createImageData(width, height);
      for (let i = 0; i < flags.length; i += 4) {
        if (flags[i + 1] < 128) continue;
        tint.data.set(known.colours.infection, i);
        tint.data[i + 3] = 2.55 * find("fill").value;
      }
      own.putImageData(tint, 0, 0);
      pen.imageSmoothingEnabled = false;
      pen.drawImage(marks, box.x, box.y, box.wide, box.high);
    }
    pen.lineWidth = 1.5 * devicePixelRatio;
    pen.lineCap = "round";
    bits.forEach((name, channel) => {
      if (!shown(name)) return;
      pen.strokeStyle = rgb(name);
      pen.setLineDash(name === "label" ? [4 * devicePixelRatio, 4 * devicePixelRatio] : []);
      pen.stroke(outline(flags, channel, width, height, box));
    });
    pen.setLineDash([]);
  }

  /** The edges between marked pixels and others, straight runs in one piece. */
  function outline(flags, channel, width, height, box) {
    const path = new Path2D();
    const on = (x, y) =>
      x >= 0 && y >= 0 && x < width && y < height && flags[4 * (y * width + x) + channel] > 127;
    const sx = box.wide / width;
    const sy = box.high / height;
    const runs = (lines, length, differs, line) => {
      for (let i = 0; i <= lines; i++) {
        let start = -1;
        for (let j = 0; j <= length; j++) {
          const edge = j < length && differs(i, j);
          if (edge && start < 0) start = j;
          if (!edge && start >= 0) {
            line(i, start, j);
            start = -1;
          }
        }
      }
    };
    runs(height, width, (y, x) => on(x, y) !== on(x, y - 1), (y, from, to) => {
      path.moveTo(box.x + from * sx, box.y + y * sy);
      path.lineTo(box.x + to * sx, box.y + y * sy);
    });
    runs(width, height, (x, y) => on(x, y) !== on(x - 1, y), (x, from, to) => {
      path.moveTo(box.x + x * sx, box.y + from * sy);
      path.lineTo(box.x + x * sx, box.y + to * sy);
    });
    return path;
  }

  /** Right, left, front, back, head and feet at the picture's edges. */
  function letters(box) {
    const [left, right, top, bottom] = plane.edges;
    const gap = 11 * devicePixelRatio;
    pen.font = `600 ${13 * devicePixelRatio}px system-ui, "DejaVu Sans", sans-serif`;
    pen.fillStyle = "#b9c6c2";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const [x, y] = [canvas.width / 2, canvas.height / 2];
    pen.fillText(left, box.x - gap, y);
    pen.fillText(right, box.x + box.wide + gap, y);
    pen.fillText(top, x, box.y - gap);
    pen.fillText(bottom, x, box.y + box.high + gap);
  }

  /** Number, position and share of the slice, in words and on the chart. */
  function tell() {
    const slice = index();
    const percent = plane.percent[slice];
    const ml = plane.ml[slice];
    const lung = percent === null ? "no lung here" : `infection ${percent.toFixed(1)} % of the lung here`;
    const share = ml === 0 && percent !== null ? "no infection here" : lung;
    const away = Number((slice * plane.apart).toFixed(1));
    const where = `Slice ${slice + 1} of ${plane.count}, ${away} mm from the first (${plane.from})`;
    find("told").textContent = `${where}: ${share}${ml ? `, infected ${ml.toFixed(ml < 0.1 ? 3 : 1)} ml` : ""}`;
    canvas.setAttribute("aria-label", `${plane.name} slice. ${find("told").textContent}`);
    find("slice").value = place();
    find("slice").setAttribute("aria-valuetext", `${slice + 1} of ${plane.count}`);
    const cursor = find(`chart-${plane.key}`).querySelector(".cursor");
    for (const end of ["x1", "x2"]) cursor?.setAttribute(end, slice + 0.5);
  }

  function go(to) {
    const kept = Math.min(Math.max(to, 0), last());
    const moved = kept !== place();
    at.set(plane.key, kept * plane.step);
    if (moved) draw();
    return moved;
  }

  function choose(key) {
    plane = known.planes.find((each) => each.key === key);
    for (const each of known.planes) find(`chart-${each.key}`).hidden = each !== plane;
    find("slice").max = last();
    draw();
  }

  function resize() {
    const { width, height } = canvas.getBoundingClientRect();
    canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    draw();
  }

  const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Home") go(0);
    else if (event.key === "End") go(last());
    else if (event.key in STEPS) go(place() + STEPS[event.key]);
    else return;
    event.preventDefault();
  });

  // A notch of a wheel is one slice; a touch pad's small steps add up. At either end the page scrolls on.
  let rolled = 0;
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (event.ctrlKey) return;
      const way = event.deltaY > 0 ? -1 : 1;
      if ((way > 0 && place() === last()) || (way < 0 && place() === 0)) return;
      event.preventDefault();
      const pixels = event.deltaMode === 0 ? event.deltaY : 40 * event.deltaY;
      rolled += Math.min(Math.max(pixels, -40), 40);
      const steps = Math.trunc(rolled / 40);
      rolled -= steps * 40;
      go(place() - steps);
    },
    { passive: false },
  );

  // A sideways drag, by finger or mouse; an up-and-down one is left to the page.
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    held = { x: event.clientX, place: place() };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const width = canvas.getBoundingClientRect().width;
    const pixels = Math.min(Math.max(width / (last() + 1), 3), 40);
    go(held.place + Math.round((event.clientX - held.x) / pixels));
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (held = null));

  for (const each of known.planes) {
    const drawing = find(`chart-${each.key}`).querySelector("svg");
    const jump = (event) => {
      const box = drawing.getBoundingClientRect();
      const slice = Math.floor(((event.clientX - box.left) / box.width) * each.count);
      go(Math.round(slice / each.step));
    };
    drawing?.addEventListener("pointerdown", jump);
    drawing?.addEventListener("pointermove", (event) => event.buttons && jump(event));
  }

  find("slice").addEventListener("input", (event) => go(Number(event.target.value)));
  find("back").addEventListener("click", () => go(place() - 1));
  find("on").addEventListener("click", () => go(place() + 1));
  find("fill").addEventListener("input", draw);
  for (const box of document.querySelectorAll(".toggles input[type=checkbox]")) box.addEventListener("change", draw);
  for (const axis of document.querySelectorAll(".axes input")) {
    axis.addEventListener("change", () => choose(axis.value));
  }

  for (const part of document.querySelectorAll(".viewer [hidden]")) part.hidden = false;
  choose(document.querySelector(".axes input:checked").value);
  new ResizeObserver(resize).observe(canvas);
})();
