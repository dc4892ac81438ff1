//! Decode, resize, encode.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageReader, Limits, RgbImage};

const QUALITY: u8 = 85;
const WIDTH_MAX: u32 = 2_000;
/// Larger pictures are refused before they are unpacked.
const SIDE_MAX: u32 = 12_000;

/// Pixels across and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Why there is no thumbnail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the image is not Base64")]
    Base64(#[from] base64::DecodeError),
    #[error("the image is not a JPEG or PNG that can be read: {0}")]
    Decode(#[source] image::ImageError),
    #[error("the thumbnail cannot be encoded: {0}")]
    Encode(#[source] image::ImageError),
    #[error("a thumbnail is 1 to {WIDTH_MAX} pixels wide, not {0}")]
    Width(u32),
}

/// Makes a thumbnail of that width and of the picture's shape. Gives the picture's size, the
/// thumbnail as JPEG, and the thumbnail's size.
pub(crate) fn make(upload: &[u8], width: u32) -> Result<(Size, Vec<u8>, Size), Error> {
    if !(1..=WIDTH_MAX).contains(&width) {
        return Err(Error::Width(width));
    }
    let mut reader = ImageReader::new(Cursor::new(upload))
        .with_guessed_format()
        .map_err(|error| Error::Decode(error.into()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    reader.limits(limits);
    let picture = reader.decode().map_err(Error::Decode)?.into_rgb8();
    let source = Size { width: picture.width(), height: picture.height() };
    let size = Size { width, height: (source.height * width / source.width.max(1)).max(1) };
    let small = image::imageops::resize(&picture, size.width, size.height, FilterType::Lanczos3);
    Ok((source, encode(&small)?, size))
}

/// A picture as JPEG.
pub(crate) fn encode(picture: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(picture)
        .map_err(Error::Encode)?;
    Ok(jpeg)
}
