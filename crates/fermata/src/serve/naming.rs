//! What a server is called among those that share its store, and where they reach it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use model::limits;
use store::NodeName;

/// What the operator says of it.
#[derive(Clone, Debug)]
pub(crate) struct Naming {
    node: Option<NodeName>,
    advertise: Option<String>,
    pub(crate) lease: Duration,
}

impl Naming {
    pub(crate) fn new(
        node: Option<String>,
        advertise: Option<&str>,
        lease_seconds: Option<u64>,
    ) -> anyhow::Result<Self> {
        let node = node.map(|name| name.parse().with_context(|| format!("read --node {name}")));
        let lease = lease_seconds.map_or(limits::LEASE_DEFAULT, Duration::from_secs);
        if lease < limits::LEASE_MIN || lease > limits::LEASE_MAX {
            let (min, max) = (limits::LEASE_MIN.as_secs(), limits::LEASE_MAX.as_secs());
            bail!("--lease-seconds is from {min} to {max}, not {}", lease.as_secs());
        }
        Ok(Self { node: node.transpose()?, advertise: advertise.map(url).transpose()?, lease })
    }

    /// The name: this computer's, with the port, where none is stated.
    pub(crate) fn node(&self, listens: SocketAddr) -> NodeName {
        let default = || {
            let host = host();
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let host: String = host.chars().filter(|c| plain(*c)).collect();
            let port = format!("-{}", listens.port());
            let room = limits::NAME_BYTES_MAX - port.len();
            let host: String = host.to_ascii_lowercase().chars().take(room).collect();
            format!("{host}{port}").parse().expect("it is made of what a name may have")
        };
        self.node.clone().unwrap_or_else(default)
    }

    /// The address: the one it listens on, where none is stated; of all addresses, this computer's
    /// name.
    pub(crate) fn address(&self, listens: SocketAddr) -> String {
        let default = || match listens.ip().is_unspecified() {
            true => format!("http://{}:{}", host(), listens.port()),
            false => format!("http://{listens}"),
        };
        self.advertise.clone().unwrap_or_else(default)
    }
}

fn host() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned())
}

/// `HOST:PORT` or `http://HOST:PORT`, as the latter.
fn url(text: &str) -> anyhow::Result<String> {
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let (host, port) = rest.rsplit_once(':').unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.is_empty() || !host.chars().all(plain) || port.parse::<u16>().is_err() {
        bail!("--advertise is HOST:PORT or http://HOST:PORT, not {text:?}");
    }
    Ok(format!("http://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_address_are_taken_from_the_listening_address_unless_stated() {
        let none = Naming::new(None, None, None).unwrap();
        let listens: SocketAddr = "127.0.0.1:4566".parse().unwrap();
        assert!(none.node(listens).as_str().ends_with("-4566"));
        assert_eq!(none.address(listens), "http://127.0.0.1:4566");
        let all: SocketAddr = "0.0.0.0:80".parse().unwrap();
        assert!(none.address(all).ends_with(":80") && !none.address(all).contains("0.0.0.0"));
        let stated = Naming::new(Some("a".into()), Some("host.example:7"), Some(2)).unwrap();
        assert_eq!(stated.node(listens).as_str(), "a");
        assert_eq!(stated.address(listens), "http://host.example:7");
        assert_eq!(url("http://[::1]:80").unwrap(), "http://[::1]:80");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for bad in ["host", "https://host:1", "http://host:1/path", ":1", "host:99999"] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert!(Naming::new(Some("A B".into()), None, None).is_err());
        for seconds in [0, 1, 301] {
            assert!(Naming::new(None, None, Some(seconds)).is_err(), "{seconds}");
        }
        assert!(Naming::new(None, None, Some(300)).is_ok());
    }
}
