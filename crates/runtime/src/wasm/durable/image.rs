//! A suspended function as bytes: what it takes to go on in any process.
//!
//! ```text
//! magic "fermata image\n" · version u16 · code hash [32]
//! count of parts u32 · for each: region u32, stored length u32, length u32
//! parts, one after the other · sum of all before [32]
//! ```
//!
//! The sum tells damage, not malice: whoever keeps images knows them by a hash of theirs. In version 1 it
//! was a SHA-256 too, which took as long as everything else together.
//!
//! Numbers are little-endian. Each part is compressed for itself (LZ4, or stored where its two
//! lengths are equal: where it would not shrink, or not by half, which takes longer than it saves). Part 0 is the state outside of the memory; every other one holds the pages of
//! one region of 256 KiB that differ from what the module begins with: a map of 64 bits, then the
//! pages. A region that did not change between two suspensions gives the same bytes, so a store that
//! keeps each part by its hash ([`parts`]) writes only what changed.
//!
//! An image holds only what WebAssembly defines, so it fits every CPU and every release of the
//! engine, and only the one module whose hash it names.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::pages::PAGE_BYTES;
use super::state::State;

const MAGIC: &[u8; 14] = b"fermata image\n";
const VERSION: u16 = 2;
const HASH_BYTES: usize = 32;
const HEADER_BYTES: usize = MAGIC.len() + 2 + HASH_BYTES + 4;
const ENTRY_BYTES: usize = 12;
/// Pages of one region.
const REGION_PAGES: u32 = 64;
/// The region number of the state.
const STATE: u32 = u32::MAX;
/// No part may claim to be larger: a region with its map, or a state with all its payloads.
const STATE_BYTES_MAX: usize = 1 << 30;
const MAP_BYTES: usize = 8;

/// Why an image cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum BadImage {
    #[error("it is not an image of a suspended function")]
    Magic,
    #[error("its format is {0}; this release reads {VERSION}")]
    Version(u16),
    #[error("it is of other code (SHA-256 begins {found}, this code's {expected})")]
    Foreign { found: String, expected: String },
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// An image that was checked, and what of it is read when it is needed.
#[derive(Debug)]
pub(super) struct Image<'a> {
    pub(super) state: State,
    regions: Vec<(u32, Part<'a>)>,
}

#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    stored: &'a [u8],
    length: usize,
}

/// Writes an image. `pages` are the numbers of the pages of `memory` to keep, in order.
pub(super) fn encode(code: &[u8; 32], state: &State, memory: &[u8], pages: &[u32]) -> Vec<u8> {
    let regions = || pages.chunk_by(|one, next| one / REGION_PAGES == next / REGION_PAGES);
    let count = 1 + regions().count();
    let start = HEADER_BYTES + count * ENTRY_BYTES;
    let raw = state.encode();
    // Room for all of it: one that has to grow is copied to pages that the kernel clears first.
    let regions_bytes = pages.len() * PAGE_BYTES + count * MAP_BYTES;
    let mut image = Vec::with_capacity(start + raw.len() + regions_bytes + HASH_BYTES);
    image.extend_from_slice(MAGIC);
    image.extend_from_slice(&VERSION.to_le_bytes());
    image.extend_from_slice(code);
    image.extend_from_slice(&number(count));
    image.resize(start, 0);
    let mut entry = HEADER_BYTES;
    let mut packed = Vec::new();
    let mut enter = |image: &mut Vec<u8>, region: u32, stored: usize, length: usize| {
        let numbers = [region.to_le_bytes(), number(stored), number(length)].concat();
        image[entry..entry + ENTRY_BYTES].copy_from_slice(&numbers);
        entry += ENTRY_BYTES;
    };
    let stored = compress(&raw, &mut packed);
    enter(&mut image, STATE, stored.len(), raw.len());
    image.extend_from_slice(stored);
    let mut raw = Vec::with_capacity(MAP_BYTES + REGION_PAGES as usize * PAGE_BYTES);
    for region in regions() {
        let shrinks = shrinks(memory, region, &mut packed);
        let to = if shrinks { &mut raw } else { &mut image };
        let start = to.len();
        let map = region.iter().fold(0_u64, |map, page| map | 1 << (page % REGION_PAGES));
        to.extend_from_slice(&map.to_le_bytes());
        region.iter().for_each(|number| to.extend_from_slice(page(memory, *number)));
        let length = to.len() - start;
        let stored = if shrinks {
            let stored = compress(&raw, &mut packed);
            image.extend_from_slice(stored);
            stored.len()
        } else {
            length
        };
        raw.clear();
        enter(&mut image, region[0] / REGION_PAGES, stored, length);
    }
    let sum = sum(&image);
    image.extend_from_slice(&sum);
    // It may stay in memory for as long as the function waits.
    image.shrink_to_fit();
    image
}

fn page(memory: &[u8], number: u32) -> &[u8] {
    &memory[number as usize * PAGE_BYTES..][..PAGE_BYTES]
}

/// Compressed, where it is smaller so; in `room` then.
fn compress<'a>(raw: &'a [u8], room: &'a mut Vec<u8>) -> &'a [u8] {
    room.resize(lz4_flex::block::get_maximum_output_size(raw.len()), 0);
    match lz4_flex::block::compress_into(raw, room) {
        Ok(length) if length < raw.len() => &room[..length],
        Ok(_) | Err(_) => raw,
    }
}

/// Whether the pages of a region are worth compressing, by a few of them. Few pages always are.
fn shrinks(memory: &[u8], region: &[u32], room: &mut Vec<u8>) -> bool {
    const SAMPLE: usize = 4;
    if region.len() <= 2 * SAMPLE {
        return true;
    }
    let sample = region.iter().step_by(region.len() / SAMPLE).take(SAMPLE);
    let packed: usize = sample.map(|number| compress(page(memory, *number), room).len()).sum();
    packed < SAMPLE * PAGE_BYTES / 2
}

/// Four sums of every fourth word. Each step is one to one, so that a word that is another one always
/// gives another sum.
fn sum(bytes: &[u8]) -> [u8; HASH_BYTES] {
    const LANES: usize = 4;
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut lanes = [bytes.len() as u64, 1, 2, 3];
    let mut add = |block: &[u8; HASH_BYTES]| {
        for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<{ HASH_BYTES / LANES }>().0) {
            *lane = (*lane ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR).rotate_left(29);
        }
    };
    let (blocks, rest) = bytes.as_chunks::<HASH_BYTES>();
    blocks.iter().for_each(&mut add);
    let mut last = [0; HASH_BYTES];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    let mut sum = [0; HASH_BYTES];
    for (to, lane) in sum.as_chunks_mut::<{ HASH_BYTES / LANES }>().0.iter_mut().zip(lanes) {
        *to = lane.to_le_bytes();
    }
    sum
}

fn number(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("parts are bounded by a Wasm memory's size").to_le_bytes()
}

/// Where an image may be cut so that the pieces that did not change since the image before are the
/// same bytes again. Together they are the whole image. One piece where it cannot be read.
#[must_use]
pub fn parts(image: &[u8]) -> Vec<Range<usize>> {
    let Ok((table, mut at)) = table(image) else {
        return std::iter::once(0..image.len()).collect();
    };
    let mut cuts: Vec<_> = std::iter::once(0..at).collect();
    for entry in table {
        cuts.push(at..at + entry.stored);
        at += entry.stored;
    }
    cuts.push(at..image.len());
    cuts
}

struct Entry {
    region: u32,
    stored: usize,
    length: usize,
}

fn table(image: &[u8]) -> Result<(Vec<Entry>, usize), BadImage> {
    let cut = BadImage::Damaged("it ends in the middle");
    let count = image.get(HEADER_BYTES - 4..HEADER_BYTES).ok_or(cut)?;
    let count = u32::from_le_bytes(count.try_into().expect("four bytes")) as usize;
    let end = count.checked_mul(ENTRY_BYTES).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
    let entries = end.and_then(|end| image.get(HEADER_BYTES..end));
    let entries = entries.ok_or(BadImage::Damaged("its table is longer than itself"))?;
    let read = |entry: &[u8]| {
        let word = |at: usize| {
            u32::from_le_bytes(entry[at..at + 4].try_into().expect("an entry has 12 bytes"))
        };
        Entry { region: word(0), stored: word(4) as usize, length: word(8) as usize }
    };
    let table: Vec<Entry> = entries.chunks_exact(ENTRY_BYTES).map(read).collect();
    let start = HEADER_BYTES + entries.len();
    let bodies: usize = table.iter().map(|entry| entry.stored).sum();
    match start + bodies + HASH_BYTES == image.len() {
        true => Ok((table, start)),
        false => Err(BadImage::Damaged("its parts do not add up")),
    }
}

impl<'a> Image<'a> {
    /// Checks an image and reads its state.
    pub(super) fn decode(image: &'a [u8], code: &[u8; 32]) -> Result<Self, BadImage> {
        let after_magic = image.strip_prefix(MAGIC).ok_or(BadImage::Magic)?;
        let version = after_magic.first_chunk().ok_or(BadImage::Magic)?;
        let version = u16::from_le_bytes(*version);
        if version == 0 || version > VERSION {
            return Err(BadImage::Version(version));
        }
        let (body, hash) = image
            .split_last_chunk::<HASH_BYTES>()
            .ok_or(BadImage::Damaged("it ends in the middle"))?;
        let expected = if version == 1 { Sha256::digest(body).into() } else { sum(body) };
        if expected != *hash {
            return Err(BadImage::Damaged("its sum is not that of its bytes"));
        }
        let found = &after_magic[2..];
        if !found.starts_with(code) {
            let hex = |bytes: &[u8]| bytes.iter().take(6).map(|b| format!("{b:02x}")).collect();
            return Err(BadImage::Foreign { found: hex(found), expected: hex(code) });
        }
        let (table, mut at) = table(image)?;
        let mut regions = Vec::new();
        for entry in table {
            let limit = match entry.region {
                STATE => STATE_BYTES_MAX,
                _ => MAP_BYTES + REGION_PAGES as usize * PAGE_BYTES,
            };
            if entry.length > limit || entry.stored > entry.length {
                return Err(BadImage::Damaged("a part is larger than it may be"));
            }
            let stored = &image[at..at + entry.stored];
            at += entry.stored;
            regions.push((entry.region, Part { stored, length: entry.length }));
        }
        if regions.first().is_none_or(|(region, _)| *region != STATE) {
            return Err(BadImage::Damaged("it has no state"));
        }
        let (_, state) = regions.remove(0);
        let state = State::decode(state.unpack(&mut Vec::new())?)?;
        Ok(Self { state, regions })
    }

    /// Writes the pages that it holds over a memory as the module begins with.
    pub(super) fn fill(&self, memory: &mut [u8]) -> Result<(), BadImage> {
        let mut room = Vec::new();
        for (region, part) in &self.regions {
            let raw = part.unpack(&mut room)?;
            let (map, mut pages) =
                raw.split_first_chunk().ok_or(BadImage::Damaged("a region has no map"))?;
            let map = u64::from_le_bytes(*map);
            for bit in (0..REGION_PAGES).filter(|bit| map >> bit & 1 == 1) {
                let Some((page, rest)) = pages.split_at_checked(PAGE_BYTES) else {
                    return Err(BadImage::Damaged("a region lacks a page"));
                };
                pages = rest;
                let number = u64::from(*region) * u64::from(REGION_PAGES) + u64::from(bit);
                let from = usize::try_from(number).ok().and_then(|n| n.checked_mul(PAGE_BYTES));
                let place = from.and_then(|from| memory.get_mut(from..from + PAGE_BYTES));
                let outside = BadImage::Damaged("a page lies outside of the memory");
                place.ok_or(outside)?.copy_from_slice(page);
            }
        }
        Ok(())
    }
}

impl Part<'_> {
    /// The part as it was, in `room` where it was compressed.
    fn unpack<'r>(&'r self, room: &'r mut Vec<u8>) -> Result<&'r [u8], BadImage> {
        if self.stored.len() == self.length {
            return Ok(self.stored);
        }
        room.resize(self.length, 0);
        match lz4_flex::block::decompress_into(self.stored, room) {
            Ok(length) if length == self.length => Ok(room),
            Ok(_) | Err(_) => Err(BadImage::Damaged("a part cannot be unpacked")),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::suspend::{OpId, Resolution};
    use model::{Failure, FailureKind};

    use super::super::state::{Operations, Streams, Way};
    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/image-");
    const CODE: [u8; 32] = [7; 32];
    const MEMORY_BYTES: usize = 2 << 16;

    fn state() -> State {
        let failure = Failure {
            kind: FailureKind::Handler,
            message: "no lamps".into(),
            detail: Some(b"{}".to_vec()),
        };
        let refused = Resolution::Refused { code: "not-found".into(), message: "gone".into() };
        let ended = [
            (OpId(2), Resolution::Failed(failure)),
            (OpId(5), Resolution::Ok(b"answer".to_vec())),
            (OpId(6), refused),
        ];
        State {
            way: Way::Rewind { buffer: 1024, in_resume: true },
            operations: Operations {
                last: 9,
                open: vec![OpId(7), OpId(9)],
                ended: ended.into(),
                order: [OpId(5), OpId(2), OpId(6)].into(),
                unseen: [OpId(6)].into(),
            },
            streams: Streams {
                input_read: 3,
                output: b"so far".to_vec(),
                is_open: [true, true, false],
                reply: b"rest".to_vec(),
                channel: b"line".to_vec(),
                monotonic: 1,
                real: 2,
                cpu: 3,
            },
            globals: vec![(0x7f, 42), (0x7e, u128::from(u64::MAX)), (0x7b, u128::MAX)],
            memory_pages: 2,
        }
    }

    fn memory() -> Vec<u8> {
        (0..MEMORY_BYTES).map(|at| u8::try_from(at / 1000 % 251).unwrap()).collect()
    }

    /// Images of earlier releases must stay readable: a format that changes gets a new number and a
    /// golden file of its own.
    #[test]
    fn the_golden_images_of_every_format_are_still_read() {
        let latest = format!("{GOLDEN}{VERSION}.bin");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(latest, encode(&CODE, &state(), &memory(), &[0, 3, 31])).unwrap();
        }
        for version in 1..=VERSION {
            check_golden(&format!("{GOLDEN}{version}.bin"));
        }
    }

    #[track_caller]
    fn check_golden(path: &str) {
        let pages = [0, 3, 31];
        let golden = std::fs::read(path).unwrap();
        let image = Image::decode(&golden, &CODE).unwrap();
        assert_eq!(image.state, state());
        let mut filled = vec![0; MEMORY_BYTES];
        image.fill(&mut filled).unwrap();
        for (number, page) in filled.chunks(PAGE_BYTES).enumerate() {
            let kept = pages.contains(&u32::try_from(number).unwrap());
            let expected = if kept {
                &memory()[number * PAGE_BYTES..][..PAGE_BYTES]
            } else {
                &[0; PAGE_BYTES]
            };
            assert_eq!(page, expected, "page {number}");
        }
    }

    #[test]
    fn what_hardly_shrinks_is_kept_as_it_is() {
        let mut noise = 1_u32;
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            noise.to_be_bytes()[0]
        };
        let random: Vec<u8> = (0..REGION_PAGES as usize * PAGE_BYTES).map(|_| next()).collect();
        let memory = [random, vec![7; REGION_PAGES as usize * PAGE_BYTES]].concat();
        let all: Vec<u32> = (0..2 * REGION_PAGES).collect();
        let image = encode(&CODE, &state(), &memory, &all);
        let decoded = Image::decode(&image, &CODE).unwrap();
        let stored = |number: usize| decoded.regions[number].1.stored.len();
        assert_eq!(stored(0), MAP_BYTES + REGION_PAGES as usize * PAGE_BYTES);
        assert!(stored(1) < PAGE_BYTES, "{}", stored(1));
        let mut filled = vec![0; memory.len()];
        decoded.fill(&mut filled).unwrap();
        assert!(filled == memory);
    }

    #[test]
    fn a_region_that_did_not_change_gives_the_same_part() {
        let mut memory = vec![1; 4 << 20];
        let pages: Vec<u32> = (0..1024).collect();
        let one = encode(&CODE, &state(), &memory, &pages);
        memory[(3 << 20) + 5] = 2;
        let other = encode(&CODE, &state(), &memory, &pages);
        let cut = |image: &[u8]| -> Vec<Vec<u8>> {
            parts(image).into_iter().map(|part| image[part].to_vec()).collect()
        };
        let (one, other) = (cut(&one), cut(&other));
        let changed = one.iter().zip(&other).filter(|(one, other)| one != other).count();
        // The head with the table, the region, the hash.
        assert_eq!((one.len(), other.len()), (19, 19));
        assert!(changed <= 3, "{changed} parts changed");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let image = encode(&CODE, &state(), &memory(), &[0, 31]);
        for at in MAGIC.len() + 2..image.len() {
            let mut damaged = image.clone();
            damaged[at] ^= 1 << (at % 8);
            let refused = Image::decode(&damaged, &CODE).map(|_| ());
            let sum = BadImage::Damaged("its sum is not that of its bytes");
            assert_eq!(refused, Err(sum), "byte {at}");
        }
    }

    #[test]
    fn a_page_outside_of_the_memory_is_refused() {
        let image = encode(&CODE, &state(), &memory(), &[31]);
        let image = Image::decode(&image, &CODE).unwrap();
        let refused = image.fill(&mut vec![0; 1 << 16]).unwrap_err();
        assert_eq!(refused, BadImage::Damaged("a page lies outside of the memory"));
    }
}
