// Small helpers: elements from text (never from markup), and numbers as people read them.

/** One element. Strings become text; null and false are left out. `on...` keys are listeners. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** A definition list of [term, value] pairs; pairs without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value != null && value !== "");
  return el("dl", { class: "facts" }, shown.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", { class: "num" }, value))));
}

export const shortId = (text) => (text.length > 16 ? `${text.slice(0, 8)}…${text.slice(-4)}` : text);

/** wei as decimal text into ETH, gwei or wei. */
export function money(wei) {
  if (wei == null) return "—";
  const amount = BigInt(wei);
  if (amount === 0n) return "0 ETH";
  const size = amount < 0n ? -amount : amount;
  if (size < 10n ** 6n) return `${amount} wei`;
  const [unit, name] = size < 10n ** 12n ? [10n ** 9n, "gwei"] : [10n ** 18n, "ETH"];
  const value = Number(amount / (unit / 10n ** 9n)) / 1e9;
  return `${value.toLocaleString("en", { maximumSignificantDigits: 6, maximumFractionDigits: 9 })} ${name}`;
}

export const whole = (value) => (value == null ? "—" : value.toLocaleString("en"));

/** 4:05 or 1:02:09 of seconds. */
export function clock(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  const two = (part) => String(part).padStart(2, "0");
  const [hours, minutes] = [Math.floor(all / 3600), Math.floor((all % 3600) / 60)];
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
