//! Ranges of addresses.

use std::net::IpAddr;

/// A range of addresses, as in `10.0.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    address: IpAddr,
    bits: u32,
}

impl Cidr {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse().ok()?);
        let max = if address.is_ipv4() { 32 } else { 128 };
        (bits <= max).then_some(Self { address, bits })
    }

    pub(super) fn holds(&self, text: &str) -> bool {
        match (self.address, text.parse()) {
            (IpAddr::V4(net), Ok(IpAddr::V4(other))) => {
                let differs = net.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits
            }
            (IpAddr::V6(net), Ok(IpAddr::V6(other))) => {
                let differs = net.to_bits() ^ other.to_bits();
                differs.leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}
