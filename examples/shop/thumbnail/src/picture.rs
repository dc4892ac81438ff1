//! Paints a landscape from a seed: sky, sun, four ridges and some grain. It stands for a
//! customer's photograph, so it has edges and noise for the JPEG encoder to work on.

use image::{Rgb, RgbImage};

use crate::thumbnail::Size;

const RIDGES: usize = 4;

/// The picture of that seed.
pub(crate) fn paint(seed: u64, size: Size) -> RgbImage {
    let mut draw = Draw(seed);
    let (width, height) = (float(size.width), float(size.height));
    let sky = [color(&mut draw, 0.35, 0.9), color(&mut draw, 0.6, 1.0)];
    let sun = (draw.between(0.15, 0.85) * width, draw.between(0.1, 0.4) * height);
    let sun_radius = draw.between(0.04, 0.1) * height;
    let earth = color(&mut draw, 0.1, 0.6);
    let ridges: [Vec<f32>; RIDGES] =
        std::array::from_fn(|index| ridge(&mut draw, size, 0.45 + 0.14 * ordinal(index)));
    let mut grain = Draw(seed ^ 0x5eed);
    RgbImage::from_fn(size.width, size.height, |x, y| {
        let (column, row) = (x as usize, float(y));
        let distance = (float(x) - sun.0).hypot(row - sun.1) / sun_radius;
        let nearest = ridges.iter().rposition(|ridge| row > ridge[column]);
        let base = match nearest {
            Some(index) => earth.map(|part| part * (1.0 - 0.2 * ordinal(index))),
            None if distance < 1.0 => [1.0, 0.95, 0.75],
            None => {
                let glow = 0.3 / distance.max(1.0);
                let mix = row / height;
                std::array::from_fn(|i| sky[0][i] * (1.0 - mix) + sky[1][i] * mix + glow)
            }
        };
        let noise = grain.between(-0.03, 0.03);
        Rgb(base.map(|part| byte(part + noise)))
    })
}

/// The height of a mountain ridge at each column: a few waves of falling size.
fn ridge(draw: &mut Draw, size: Size, base: f32) -> Vec<f32> {
    let waves: [(f32, f32, f32); 5] = std::array::from_fn(|octave| {
        let doubled = 2_f32.powf(ordinal(octave));
        (
            draw.between(1.5, 3.0) * doubled,
            draw.between(0.0, 6.3),
            draw.between(0.03, 0.07) / doubled,
        )
    });
    let at = |x: u32| {
        let across = float(x) / float(size.width);
        let wave = |&(frequency, shift, weight): &(f32, f32, f32)| {
            (across * frequency * 6.3 + shift).sin() * weight
        };
        (base + waves.iter().map(wave).sum::<f32>()) * float(size.height)
    };
    (0..size.width).map(at).collect()
}

fn color(draw: &mut Draw, low: f32, high: f32) -> [f32; 3] {
    std::array::from_fn(|_| draw.between(low, high))
}

/// A small seeded generator (xorshift-multiply); one draw a pixel must be cheap.
struct Draw(u64);

impl Draw {
    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = u16::try_from(mixed >> 48).expect("16 bits are left");
        low + (high - low) * f32::from(bits) / f32::from(u16::MAX)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a picture's side has less than 24 bits")]
fn float(pixels: u32) -> f32 {
    pixels as f32
}

fn ordinal(index: usize) -> f32 {
    u8::try_from(index).map_or(f32::MAX, f32::from)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to a byte first"
)]
fn byte(part: f32) -> u8 {
    (part.clamp(0.0, 1.0) * 255.0) as u8
}
