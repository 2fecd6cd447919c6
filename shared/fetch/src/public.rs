//! Which addresses are out on the internet, and not in this machine, its network or somebody's laboratory.
//!
//! By the registries of special-purpose addresses (RFC 6890 and what was added since). The standard library's own test for
//! it is not stable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address that anybody on the internet could reach.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// Blocks of IPv4 that are not: first address and length of the prefix.
const NOT_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast, reserved and broadcast.
    ([224, 0, 0, 0], 3),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = u32::from(address);
    NOT_V4.iter().all(|&(first, length)| (bits ^ u32::from(Ipv4Addr::from(first))) >> (32 - length) != 0)
}

/// Blocks within IPv6's global unicast, 2000::/3, that are not: protocols' own (Teredo and others, which carry addresses of
/// IPv4 within), 6to4 likewise, and documentation.
const NOT_V6: &[(u128, u32)] =
    &[(0x2001 << 112, 23), (0x2001_0db8 << 96, 32), (0x2002 << 112, 16), (0x3fff << 112, 20)];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    bits >> 125 == 1 && NOT_V6.iter().all(|&(first, length)| (bits ^ first) >> (128 - length) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internet_is_public() {
        let public =
            ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1"];
        let more = [
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "::ffff:1.1.1.1",
        ];
        for address in public.iter().chain(&more) {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        let own = ["0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1"];
        let more =
            ["172.31.255.255", "192.0.0.1", "192.168.1.1", "198.19.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"];
        let six = [
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
        ];
        let within = ["2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "100::1", "5f00::1"];
        for address in own.iter().chain(&more).chain(&six).chain(&within) {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }
}
