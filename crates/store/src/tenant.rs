//! Tenants and their keys.

use model::{Amount, KeyId, TenantName, Timestamp};

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Never changes.
    pub name: TenantName,
    /// When it was created.
    pub created: Timestamp,
    /// What its calls may cost in a calendar month (UTC); without one, whatever they cost.
    pub monthly_budget: Option<Amount>,
    /// Whether its functions may be granted the network.
    pub allow_network: bool,
}

/// What a key may do besides calling functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Works with the functions of its tenant.
    Member,
    /// Also manages tenants and keys.
    Admin,
}

/// An API key. The secret is not here: only its hash is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The public part of the key.
    pub id: KeyId,
    /// Whom it belongs to.
    pub tenant: TenantName,
    /// For a person: what it is used for.
    pub label: String,
    /// What it may do.
    pub role: Role,
    /// Name of the highest class it may state. A name, since price lists may change.
    pub max_class: Option<String>,
    /// Hash of the secret part.
    pub secret_hash: [u8; 32],
    /// When it was created.
    pub created: Timestamp,
    /// Since when it is refused.
    pub revoked: Option<Timestamp>,
}
