//! Roles of state machines, as the configuration file has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use front::outside::Keys;
use node::states::{self, Roles, role_name};
use serde::Deserialize;

use super::outside;

/// A role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Role {
    #[serde(default)]
    tenants: Vec<String>,
    allow: Vec<String>,
    aws_credentials: Option<PathBuf>,
}

/// Those that hold, and the keys of those that have some.
pub(super) fn settings(
    written: BTreeMap<String, Role>,
) -> anyhow::Result<(Roles, BTreeMap<String, Keys>)> {
    let mut keys = BTreeMap::new();
    let mut roles = Vec::new();
    for (name, role) in written {
        let place = || format!("read [roles.{name}] of the configuration file");
        if let Some(path) = &role.aws_credentials {
            keys.insert(name.clone(), outside::keys(path).with_context(place)?);
        }
        let made = role.made(&name).map_err(anyhow::Error::msg).with_context(place)?;
        roles.push((name, made));
    }
    Ok((roles.into_iter().collect(), keys))
}

impl Role {
    fn made(self, name: &str) -> Result<states::Role, String> {
        if name.is_empty() || role_name(name) != name {
            return Err("a role is named as its ARN ends, after the last slash".to_owned());
        }
        let tenant =
            |name: String| name.parse().map_err(|_| format!("{name:?} cannot be a tenant's name"));
        Ok(states::Role {
            tenants: self.tenants.into_iter().map(tenant).collect::<Result<_, _>>()?,
            allow: self.allow.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<(Roles, BTreeMap<String, Keys>)> {
        settings(toml::from_str(text)?)
    }

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = format!("{:#}", load(text).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_role_says_who_may_have_it_what_it_allows_and_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        std::fs::write(&path, "aws_access_key_id = A\naws_secret_access_key = B\n").unwrap();
        let (roles, keys) = load(&format!(
            "[shop]\ntenants = [\"shop\"]\nallow = [\"sqs:*\"]\naws-credentials = {path:?}\n"
        ))
        .unwrap();
        let arn = "arn:aws:iam::000000000000:role/shop";
        assert!(roles.is_open_to(&"shop".parse().unwrap(), arn));
        assert!(!roles.is_open_to(&"other".parse().unwrap(), arn));
        assert_eq!(keys["shop"].id, "A");
    }

    #[test]
    fn a_wrong_role_is_refused_with_its_name() {
        check_refused(
            "[shop]\nallow = [\"everything\"]",
            "read [roles.shop] of the configuration file: \"everything\" allows nothing",
        );
        check_refused("[shop]\nallow = []\ntenants = [\"\"]", "cannot be a tenant's name");
        check_refused("[\"a/b\"]\nallow = []", "after the last slash");
        check_refused("[shop]", "missing field");
        check_refused("[shop]\nallow = []\nclass = \"x\"", "unknown field");
        check_refused("[shop]\nallow = []\naws-credentials = \"/no/such\"", "/no/such");
    }
}
