// The shop's mail-out: one call renders a batch of personal letters.
//
// The addressees are generated from the number in the request. A real shop would hand the letters
// to a mail server; here their digest is the answer, so that nothing can be optimized away.

import { createHash } from "node:crypto";

const LETTERS = 800;
const NAMES = ["Ada", "Barbara", "Edsger", "Frances", "Grace", "Ken", "Leslie", "Niklaus"];
const OFFERS = ["a lamp", "a chair", "a kettle", "a scarf", "a radio", "a bicycle", "a clock"];

export async function handler(event) {
  const batch = Number(event?.seed ?? 0);
  const random = mulberry32(batch);
  const digest = createHash("sha256");
  let bytes = 0;
  for (let number = 0; number < LETTERS; number += 1) {
    const letter = render(addressee(random), random);
    bytes += letter.length;
    digest.update(letter);
  }
  return { batch, letters: LETTERS, bytes, digest: digest.digest("hex") };
}

function addressee(random) {
  const name = pick(NAMES, random);
  return { name, mail: `${name.toLowerCase()}${Math.floor(random() * 1e6)}@example.com` };
}

function render({ name, mail }, random) {
  const offers = Array.from({ length: 12 }, () => ({
    what: pick(OFFERS, random),
    price: 5 + Math.floor(random() * 9500) / 100,
  })).sort((one, other) => one.price - other.price);
  const lines = offers.map(({ what, price }) => `  * ${escape(what)}, now ${price.toFixed(2)}`);
  const text = [`To: ${mail}`, `Dear ${escape(name)},`, "", "this week for you:", ...lines, ""];
  return quotedPrintable(text.join("\r\n"));
}

function escape(text) {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}

// Mail bodies travel as lines of at most 76 printable characters (RFC 2045, section 6.7).
function quotedPrintable(text) {
  const bytes = Buffer.from(text, "utf8");
  let line = "";
  let out = "";
  for (const byte of bytes) {
    const plain = byte >= 32 && byte <= 126 && byte !== 61;
    const piece = plain ? String.fromCharCode(byte) : `=${byte.toString(16).padStart(2, "0").toUpperCase()}`;
    if (line.length + piece.length > 75) {
      out += `${line}=\r\n`;
      line = "";
    }
    line += piece;
  }
  return out + line;
}

function pick(list, random) {
  return list[Math.floor(random() * list.length)];
}

// A small seeded generator, so that the same batch always gives the same letters.
function mulberry32(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
