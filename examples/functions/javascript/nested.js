// Waits at every level of a recursion of async functions, inside a generator and a finally, with
// locals and heap objects that must be as they were afterwards. Input: the depth.
const seen = new Map();

async function dig(depth, path) {
  const here = { depth, path: [...path, depth], half: depth / 2 + 0.25, big: BigInt(depth) ** 40n };
  seen.set(here, `level ${depth}`);
  try {
    if (depth > 0) here.below = await dig(depth - 1, here.path);
    await fermata.sleep(depth * 1000);
    return here.half + (here.below ?? 0);
  } finally {
    await fermata.call("log", seen.get(here));
    here.left = true;
  }
}

async function* words(text) {
  for (const word of text.split(" ")) {
    const answer = await fermata.call("upper", word);
    yield answer;
  }
}

export async function handler(depth) {
  const sum = await dig(depth, []);
  const upper = [];
  for await (const word of words("so it goes")) upper.push(word);
  const levels = [...seen].map(([level, text]) => `${text}:${level.path.length}:${level.big % 1000n}:${level.left}`);
  return { sum, upper, levels };
}
