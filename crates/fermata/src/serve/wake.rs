//! How long this computer's processors may take to wake.

use std::fs::{File, OpenOptions};
use std::io::Write as _;

use anyhow::Context as _;

/// The kernel's: what is written to it holds for as long as it is open.
const DEVICE: &str = "/dev/cpu_dma_latency";

/// Has no processor sleep so deeply that waking takes more than that, as long as the result is kept.
pub(super) fn within(wake_us: u32) -> anyhow::Result<File> {
    let told = OpenOptions::new().write(true).open(DEVICE).and_then(|mut device| {
        let bound = i32::try_from(wake_us).unwrap_or(i32::MAX);
        device.write_all(&bound.to_ne_bytes())?;
        Ok(device)
    });
    told.with_context(|| {
        format!(
            "bound the processors' waking by {DEVICE}: this takes root, on a computer and not in a \
             container; without --wake-us the kernel decides"
        )
    })
}
