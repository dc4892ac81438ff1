//! The operator's rules for events: which functions hear of an event that a state machine puts, in the words
//! of Amazon EventBridge. [`pattern`] tells which events a rule is for.

mod cidr;
mod pattern;

use model::{FunctionName, TenantName, limits};
use serde_json::Value;

use self::pattern::Pattern;

/// The bus of events that name none.
pub(crate) const DEFAULT_BUS: &str = "default";
/// The tenant of a server without others.
const DEFAULT_TENANT: &str = "default";

/// A rule as the operator writes it.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// How it is called.
    pub name: String,
    /// Whose events it is for, and whose functions are called; none: `default`.
    pub tenant: Option<String>,
    /// The bus of those events; none: `default`.
    pub bus: Option<String>,
    /// Which of them, in JSON.
    pub pattern: String,
    /// The functions that are called.
    pub targets: Vec<String>,
}

/// Functions of a tenant that are called with each event like these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(crate) name: String,
    tenant: TenantName,
    bus: String,
    pattern: Pattern,
    targets: Vec<FunctionName>,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// No target or too many, a name that none can have, or a pattern that is wrong.
    pub fn parse(text: Text) -> Result<Self, String> {
        let Text { name, tenant, bus, pattern, targets } = text;
        let max = limits::EVENT_TARGETS_MAX;
        if targets.is_empty() || targets.len() > max {
            return Err(format!("say with targets = [\"FUNCTION\"] who is called, 1 to {max}"));
        }
        let target = |target: &String| {
            target.parse().map_err(|_| format!("{target:?} cannot be the name of a function"))
        };
        let tenant = tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        Ok(Self {
            name,
            tenant: tenant.parse().map_err(|_| format!("{tenant:?} cannot be a tenant's name"))?,
            bus: bus.unwrap_or_else(|| DEFAULT_BUS.to_owned()),
            pattern: Pattern::parse(&pattern)?,
            targets: targets.iter().map(target).collect::<Result<_, _>>()?,
        })
    }

    /// Who is called with an event; nobody where the rule is for others.
    pub(crate) fn targets(&self, tenant: &TenantName, bus: &str, event: &Value) -> &[FunctionName] {
        let is_for = self.tenant == *tenant && self.bus == bus && self.pattern.matches(event);
        if is_for { &self.targets } else { &[] }
    }
}
