//! Rules for events, as the configuration file has them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use front::rules;
use serde::Deserialize;

/// A rule.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Rule {
    pattern: String,
    targets: Vec<String>,
    tenant: Option<String>,
    bus: Option<String>,
}

/// Those that hold.
pub(super) fn settings(written: BTreeMap<String, Rule>) -> anyhow::Result<Vec<rules::Rule>> {
    let made = |(name, rule): (String, Rule)| {
        let Rule { pattern, targets, tenant, bus } = rule;
        let place = format!("read [event-rules.{name}] of the configuration file");
        rules::Rule::parse(rules::Text { name, tenant, bus, pattern, targets })
            .map_err(anyhow::Error::msg)
            .context(place)
    };
    written.into_iter().map(made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> anyhow::Result<Vec<rules::Rule>> {
        settings(toml::from_str(text)?)
    }

    #[track_caller]
    fn check_refused(text: &str, reason: &str) {
        let error = format!("{:#}", load(text).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn a_rule_has_a_pattern_and_targets_and_is_refused_with_its_name() {
        let rule =
            |more: &str| format!("[orders]\npattern = '{{\"source\": [\"shop\"]}}'\n{more}\n");
        assert_eq!(load(&rule("targets = [\"a\"]\ntenant = \"t\"\nbus = \"b\"")).unwrap().len(), 1);
        load(&rule("targets = [\"a\", \"b\", \"c\", \"d\", \"e\"]")).unwrap();
        check_refused(&rule("targets = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]"), "1 to 5");
        check_refused(
            &rule("targets = []"),
            "read [event-rules.orders] of the configuration file: say",
        );
        check_refused(
            &rule("targets = [\"no name\"]"),
            "\"no name\" cannot be the name of a function",
        );
        check_refused(&rule("targets = [\"a\"]\ntenant = \"\""), "cannot be a tenant's name");
        check_refused(
            "[o]\npattern = '{\"source\": 1}'\ntargets = [\"a\"]",
            "source: values stand",
        );
        check_refused(&rule("targets = [\"a\"]\nclass = \"x\""), "unknown field");
    }
}
