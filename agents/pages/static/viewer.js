// A scan viewer on one canvas: zoom, pan, window and level, invert. Drag pans; the right button or Shift and drag
// changes window (sideways) and level (up and down); the wheel or two fingers zoom about the pointer.

const LEAST = 0.05;
const MOST = 32;
const START = { level: 127.5, window: 255, invert: false };

export class Viewer {
  /** canvas: must have a sized parent. changed: called with the settings after each change. */
  constructor(canvas, changed = () => {}) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
    this.changed = changed;
    this.picture = null;
    this.grey = null;
    this.colour = false;
    this.sheet = null;
    this.look = { ...START };
    this.at = { x: 0, y: 0, zoom: 1 };
    this.fitted = true;
    this.pointers = new Map();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
  }

  /** Shows a PNG, or nothing when it is null; in its own colours, without window and level, when `colour` is set. */
  async show(blob, colour = false) {
    this.look = { ...START };
    this.sheet?.close();
    this.sheet = blob ? await createImageBitmap(blob) : null;
    this.colour = colour;
    this.cut(null);
  }

  /** Shows a part of the PNG, {x, y, width, height}, or all of it when `box` is null. Window and level stay. */
  cut(box) {
    const before = this.picture;
    this.picture = this.grey = null;
    if (this.sheet) {
      const { x, y, width, height } = box ?? { x: 0, y: 0, width: this.sheet.width, height: this.sheet.height };
      const flat = new OffscreenCanvas(width, height);
      const pen = flat.getContext("2d", { willReadFrequently: true });
      pen.drawImage(this.sheet, x, y, width, height, 0, 0, width, height);
      const { data } = pen.getImageData(0, 0, width, height);
      this.grey = new Uint8ClampedArray(width * height);
      for (let i = 0; i < this.grey.length; i++) {
        this.grey[i] = Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]);
      }
      this.picture = flat;
    }
    const same = before && this.picture && before.width === this.picture.width && before.height === this.picture.height;
    if (!same) this.fit();
    this.develop();
  }

  get scale() {
    return this.at.zoom;
  }

  fit() {
    this.fitted = true;
    if (this.picture) {
      const { width, height } = this.canvas;
      this.at.zoom = Math.min(width / this.picture.width, height / this.picture.height) * 0.98;
      this.at.x = (width - this.picture.width * this.at.zoom) / 2;
      this.at.y = (height - this.picture.height * this.at.zoom) / 2;
    }
    this.draw();
  }

  /** Zooms by a factor about a point of the canvas (its middle when not given). */
  zoomBy(factor, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const zoom = Math.min(MOST, Math.max(LEAST, this.at.zoom * factor));
    this.at.x = x - ((x - this.at.x) * zoom) / this.at.zoom;
    this.at.y = y - ((y - this.at.y) * zoom) / this.at.zoom;
    this.at.zoom = zoom;
    this.fitted = false;
    this.draw();
  }

  /** One pixel of the scan on one pixel of the screen. */
  actual() {
    this.zoomBy(1 / this.at.zoom);
  }

  panBy(x, y) {
    this.at.x += x;
    this.at.y += y;
    this.fitted = false;
    this.draw();
  }

  set(look) {
    Object.assign(this.look, look);
    this.look.level = Math.min(255, Math.max(0, this.look.level));
    this.look.window = Math.min(510, Math.max(2, this.look.window));
    this.develop();
  }

  reset() {
    this.look = { ...START };
    this.fit();
    this.develop();
  }

  /** The scan's grey at a place of the page, or null outside it. */
  probe(event) {
    if (!this.picture) return null;
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const x = Math.floor(((event.clientX - box.left) * ratio - this.at.x) / this.at.zoom);
    const y = Math.floor(((event.clientY - box.top) * ratio - this.at.y) / this.at.zoom);
    const inside = x >= 0 && y >= 0 && x < this.picture.width && y < this.picture.height;
    return inside ? { x, y, grey: this.grey[y * this.picture.width + x] } : null;
  }

  /** Puts window, level and inversion through a table of 256 greys. */
  develop() {
    if (this.picture && !this.colour) {
      const low = this.look.level - this.look.window / 2;
      const table = new Uint8ClampedArray(256);
      for (let grey = 0; grey < 256; grey++) {
        table[grey] = ((grey - low) / this.look.window) * 255;
        if (this.look.invert) table[grey] = 255 - table[grey];
      }
      const pen = this.picture.getContext("2d");
      const image = pen.createImageData(this.picture.width, this.picture.height);
      const dots = new Uint32Array(image.data.buffer);
      for (let i = 0; i < dots.length; i++) dots[i] = (0xff000000 | (table[this.grey[i]] * 0x010101)) >>> 0;
      pen.putImageData(image, 0, 0);
    }
    this.draw();
    this.changed(this.look);
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      const { pen, at, canvas } = this;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      if (!this.picture) return;
      pen.imageSmoothingEnabled = at.zoom < 6;
      pen.imageSmoothingQuality = "high";
      pen.setTransform(at.zoom, 0, 0, at.zoom, at.x, at.y);
      pen.drawImage(this.picture, 0, 0);
    });
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.draw();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("dblclick", () => this.fit());
  }

  wheel(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const lines = event.deltaY * (event.deltaMode ? 20 : 1);
    this.zoomBy(Math.exp(-lines / 400), (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const ratio = window.devicePixelRatio || 1;
    const [x, y] = [event.clientX - before.clientX, event.clientY - before.clientY];
    const other = [...this.pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
    if (other) this.pinch(before, event, other);
    else if (event.buttons & 2 || event.shiftKey) {
      this.set({ window: this.look.window + x, level: this.look.level + y / 2 });
    } else this.panBy(x * ratio, y * ratio);
    this.pointers.set(event.pointerId, event);
  }

  pinch(before, now, other) {
    const far = (pointer) => Math.hypot(pointer.clientX - other.clientX, pointer.clientY - other.clientY) || 1;
    const box = this.canvas.getBoundingClientRect();
    const ratio = this.canvas.width / box.width;
    const x = ((now.clientX + other.clientX) / 2 - box.left) * ratio;
    const y = ((now.clientY + other.clientY) / 2 - box.top) * ratio;
    this.zoomBy(far(now) / far(before), x, y);
  }
}
