// A text is reviewed: each word goes to a reviewer, all at the same time, and the text is held back a
// while, and again by a recursion with a pause at each level. Input: the text.
import { answer, call, callParked, fermata_frames, input, outcome, setStatus, sleep, waitAll } from "../../../sdk/assemblyscript/fermata";

export { fermata_frames };

class Level {
  constructor(public depth: i32, public weight: f64, public below: Level | null) {}
}

function descend(depth: i32, below: Level | null): f64 {
  const here = new Level(depth, <f64>depth * 0.5, below);
  if (depth > 0) here.weight += descend(depth - 1, here);
  else sleep(1000);
  let sum = here.weight;
  for (let level: Level | null = here; level; level = level.below) sum += <f64>level.depth;
  if (depth == 2) sleep(2000);
  return sum;
}

const words = input().split(" ");
setStatus("reviewing");
const reviews = new Array<i64>();
for (let i = 0; i < words.length; i++) reviews.push(call("review", words[i]));
const failed = waitAll(reviews);
const marks = new Map<string, string>();
for (let i = 0; i < words.length; i++) marks.set(words[i], outcome(reviews[i]));
const weight = descend(3, null);
const published = callParked("publish", words.join("-"));
let text = "";
for (let i = 0; i < words.length; i++) text += words[i] + ":" + marks.get(words[i]) + " ";
answer(text + weight.toString() + " " + published + (failed == 0 ? "" : " with failures"));
