//! Images that do not fit, and the format that must stay readable.

use bytes::Bytes;
use model::FailureKind;
use model::suspend::OpId;

use super::durable::{Execution, ok, turn};
use super::house::House;

/// Runs a turn of `guest` on an image that it cannot go on from.
#[track_caller]
fn refused(guest: &'static str, image: Vec<u8>, reason: &str) {
    let house = House::new();
    let code = house.deploy_durable(guest);
    let turn = turn(Some(image.into()), vec![(OpId(1), ok(""))]);
    let failure = house.turn(&code, "9", turn).answer().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Platform);
    assert!(failure.message.contains(reason), "{failure:?}");
}

fn image() -> Bytes {
    let mut execution = Execution::new("nested", "9");
    execution.next(Vec::new());
    execution.image.unwrap()
}

#[test]
fn a_damaged_image_is_refused_wherever_it_is_damaged() {
    let image = image();
    for at in [20, 48, 60, image.len() / 2, image.len() - 40, image.len() - 1] {
        let mut damaged = image.to_vec();
        damaged[at] ^= 1;
        refused("nested", damaged, "it is damaged");
    }
    refused("nested", image[..image.len() - 7].to_vec(), "it is damaged");
    refused("nested", image[..15].to_vec(), "not an image");
    refused("nested", Vec::new(), "not an image");
    refused("nested", b"something else, and long enough to be one".to_vec(), "not an image");
}

#[test]
fn an_image_of_other_code_or_a_later_format_is_refused() {
    refused("order", image().to_vec(), "of other code");
    let mut later = image().to_vec();
    later[14] = 3;
    refused("nested", later, "its format is 3");
}

#[test]
fn the_parts_of_an_image_are_the_image() {
    let image = image();
    let parts = runtime::wasm::image_parts(&image);
    assert!(parts.len() >= 4, "{parts:?}");
    let whole: Vec<u8> = parts.into_iter().flat_map(|part| image[part].to_vec()).collect();
    assert_eq!(whole, image);
}
