//! The shop's background job: makes a thumbnail of a picture.
//!
//! An ordinary AWS Lambda function on the crates.io `lambda_runtime`; nothing in it knows of
//! Fermata. A call brings its picture (`{"image":"<base64 JPEG or PNG>"}`), or names a seed
//! (`{"seed":7}`), from which a picture is painted and encoded as a customer's upload would be.
//! Either way the picture is really decoded, resized with a Lanczos filter and encoded again.

mod picture;
mod thumbnail;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde::{Deserialize, Serialize};

use thumbnail::Size;

/// Size of a painted upload: what a telephone sends after its own shrinking.
const UPLOAD: Size = Size { width: 1280, height: 960 };
const WIDTH_DEFAULT: u32 = 320;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    /// Paints this picture, where no image is given.
    seed: u64,
    /// A JPEG or PNG in Base64.
    image: Option<String>,
    /// Width of the thumbnail.
    width: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Done {
    source: Encoded,
    thumbnail: Encoded,
    /// The thumbnail as a JPEG in Base64.
    image: String,
}

#[derive(Debug, Serialize)]
struct Encoded {
    width: u32,
    height: u32,
    bytes: usize,
}

// One thread is enough: the runtime hands a process one call at a time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Order>) -> Result<Done, Error> {
    Ok(make(&event.payload)?)
}

fn make(order: &Order) -> Result<Done, thumbnail::Error> {
    let upload = match &order.image {
        Some(text) => BASE64.decode(text)?,
        None => thumbnail::encode(&picture::paint(order.seed, UPLOAD))?,
    };
    let (source, jpeg, size) = thumbnail::make(&upload, order.width.unwrap_or(WIDTH_DEFAULT))?;
    let encoded = |size: Size, bytes| Encoded { width: size.width, height: size.height, bytes };
    Ok(Done {
        source: encoded(source, upload.len()),
        thumbnail: encoded(size, jpeg.len()),
        image: BASE64.encode(&jpeg),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_thumbnail_each_time_and_another_seed_another() {
        let make = |seed| super::make(&Order { seed, ..Order::default() }).unwrap();
        let first = make(7);
        assert_eq!(first.image, make(7).image);
        assert_ne!(first.image, make(8).image);
        assert_eq!((first.thumbnail.width, first.thumbnail.height), (320, 240));
        let jpeg = BASE64.decode(&first.image).unwrap();
        let decoded = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (320, 240));
    }

    #[test]
    fn a_customer_s_own_image_is_taken() {
        let upload =
            thumbnail::encode(&picture::paint(1, Size { width: 200, height: 400 })).unwrap();
        let order =
            Order { image: Some(BASE64.encode(upload)), width: Some(50), ..Order::default() };
        let done = make(&order).unwrap();
        assert_eq!((done.source.width, done.source.height), (200, 400));
        assert_eq!((done.thumbnail.width, done.thumbnail.height), (50, 100));
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        let check = |text: &str, expected: &str| {
            let order = Order { image: Some(text.into()), ..Order::default() };
            let error = make(&order).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check("???", "not Base64");
        check(&BASE64.encode("no image"), "not a JPEG or PNG");
    }
}
