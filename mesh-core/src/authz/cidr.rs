//! `envoy.config.core.v3.CidrRange`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range of addresses.
///
/// It is of the family in which it is written, and holds no address of the other one. Addresses are looked at in their
/// plain form: `::ffff:10.0.0.1` is 10.0.0.1, as Envoy makes of those of sockets. So a range that is itself written in that
/// form would hold nothing, and is refused: Envoy takes it, and a denial by it never denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CidrRange {
    network: IpAddr,
    length: u8,
}

/// What is no range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCidr {
    /// The text is no address.
    #[error("{0:?} is no IP address")]
    Address(Box<str>),
    /// The length is over the most that an address has.
    #[error("{0} bits are more than the 128 of an address")]
    Length(u32),
    /// An IPv4 range in the form of IPv6 would never hold an address.
    #[error("no address is ever in {0}/{1}: write it as an IPv4 range, {2}")]
    Mapped(Ipv6Addr, u8, CidrRange),
}

impl CidrRange {
    /// The addresses that have their first `length` bits in common with an address. More than the 32 of an IPv4 address
    /// are all of it, as in Envoy.
    ///
    /// # Errors
    /// When the text is no address, the length is over 128, or it is an IPv4 range in the form of IPv6
    /// (`::ffff:10.0.0.0/104`).
    pub fn new(address_prefix: &str, length: u32) -> Result<Self, NotCidr> {
        let address: IpAddr = address_prefix
            .parse()
            .map_err(|_| NotCidr::Address(address_prefix.into()))?;
        let length = u8::try_from(length)
            .ok()
            .filter(|length| *length <= 128)
            .ok_or(NotCidr::Length(length))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.min(most);
        let network = masked(address, length);
        if let IpAddr::V6(v6) = network
            && let Some(v4) = v6.to_ipv4_mapped()
            && let Some(inner) = length.checked_sub(96)
        {
            let plain = Self {
                network: v4.into(),
                length: inner,
            };
            return Err(NotCidr::Mapped(v6, length, plain));
        }
        Ok(Self { network, length })
    }

    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && masked(address, self.length) == self.network
    }
}

impl fmt::Display for CidrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// The first bits of an address, the others 0.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    // A shift by all bits is no shift in Rust, hence `checked`.
    match address {
        IpAddr::V4(address) => {
            let lost = 32 - u32::from(length);
            let mask = u32::MAX.checked_shl(lost).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let lost = 128 - u32::from(length);
            let mask = u128::MAX.checked_shl(lost).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}
