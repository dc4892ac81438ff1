//! Results of many iterations, kept so that few of them are written when one changes.

use serde_json::Value;

use crate::document::Document;

/// Results that are closed together.
const CHUNK: usize = 128;

/// One result for each iteration, in order.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) chunks: Vec<Chunk>,
    pub(super) missing: usize,
}

#[derive(Debug)]
pub(super) enum Chunk {
    /// Nothing came yet of this many.
    Empty(usize),
    /// Some are still missing.
    Open(Vec<Option<Document>>),
    /// All are here: one array of arrays of one or no element.
    Closed(Document),
}

impl Results {
    pub(super) fn new(count: usize) -> Self {
        let chunks =
            (0..count).step_by(CHUNK).map(|begin| Chunk::Empty(CHUNK.min(count - begin))).collect();
        Self { chunks, missing: count }
    }

    /// Puts a result in its place. One that is left out of the array is none.
    pub(super) fn set(&mut self, index: usize, result: Option<&Document>) {
        let Some(chunk) = self.chunks.get_mut(index / CHUNK) else { return };
        if let Chunk::Empty(size) = chunk {
            *chunk = Chunk::Open(vec![None; *size]);
        }
        let Chunk::Open(slots) = chunk else { return };
        let slot = &mut slots[index % CHUNK];
        if slot.is_some() {
            return;
        }
        let kept = result.map_or_else(Vec::new, |result| vec![result.value().clone()]);
        *slot = Some(Document::new(Value::Array(kept)));
        self.missing -= 1;
        if slots.iter().all(Option::is_some) {
            let all = slots.iter().flatten().map(|slot| slot.value().clone()).collect();
            *chunk = Chunk::Closed(Document::new(Value::Array(all)));
        }
    }

    /// One result, where it came and was not left out.
    pub(super) fn get(&self, index: usize) -> Option<&Value> {
        let kept = match self.chunks.get(index / CHUNK)? {
            Chunk::Empty(_) => None,
            Chunk::Open(slots) => slots.get(index % CHUNK)?.as_ref().map(Document::value),
            Chunk::Closed(all) => all.value().get(index % CHUNK),
        };
        kept?.get(0)
    }

    /// All that were not left out, in order.
    pub(super) fn to_array(&self) -> Document {
        let mut array = Vec::new();
        for chunk in &self.chunks {
            match chunk {
                Chunk::Empty(_) => {}
                Chunk::Open(slots) => {
                    array.extend(
                        slots.iter().flatten().filter_map(|slot| slot.value().get(0).cloned()),
                    );
                }
                Chunk::Closed(all) => {
                    let all = all.value().as_array();
                    array.extend(all.into_iter().flatten().filter_map(|kept| kept.get(0).cloned()));
                }
            }
        }
        Value::Array(array).into()
    }
}
