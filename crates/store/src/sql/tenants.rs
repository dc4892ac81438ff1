//! Tenants, keys and settings as rows.

use model::{Amount, KeyId, TenantName};

use crate::error::{Error, Result};
use crate::sql::{Columns, Session, Value, first, list, statements};
use crate::tenant::{Key, Role, Tenant};

pub(crate) fn tenants(session: &dyn Session) -> Result<Vec<Tenant>> {
    list(session, statements::TENANTS, &[], read_tenant)
}

pub(crate) fn tenant(session: &dyn Session, name: &TenantName) -> Result<Tenant> {
    let found = first(session, statements::TENANT, &[Value::Text(name.as_str())], read_tenant)?;
    found.ok_or_else(|| Error::not_found("tenant", name))
}

pub(crate) fn add_tenant(session: &dyn Session, new: &Tenant) -> Result<()> {
    let added = session.execute(
        statements::TENANT_ADD,
        &[
            Value::Text(new.name.as_str()),
            new.created.into(),
            budget(new.monthly_budget),
            new.allow_network.into(),
        ],
    )?;
    if added == 1 || tenant(session, &new.name)? == *new {
        return Ok(());
    }
    Err(Error::conflict("tenant", &new.name))
}

pub(crate) fn update_tenant(
    session: &dyn Session,
    name: &TenantName,
    monthly_budget: Option<Amount>,
    allow_network: bool,
) -> Result<()> {
    let values = [budget(monthly_budget), allow_network.into(), Value::Text(name.as_str())];
    let updated = session.execute(statements::TENANT_UPDATE, &values)?;
    if updated == 0 { Err(Error::not_found("tenant", name)) } else { Ok(()) }
}

pub(crate) fn keys(session: &dyn Session) -> Result<Vec<Key>> {
    list(session, statements::KEYS, &[], read_key)
}

pub(crate) fn add_key(session: &dyn Session, new: &Key) -> Result<()> {
    tenant(session, &new.tenant)?;
    let id = Value::Id(new.id.0.to_be_bytes());
    let added = session.execute(
        statements::KEY_ADD,
        &[
            id,
            Value::Text(new.tenant.as_str()),
            Value::Text(&new.label),
            Value::Text(role_word(new.role)),
            Value::text_or_null(new.max_class.as_deref()),
            Value::Bytes(&new.secret_hash),
            new.created.into(),
            Value::optional(new.revoked, Value::from),
        ],
    )?;
    if added == 1 || first(session, statements::KEY, &[id], read_key)?.as_ref() == Some(new) {
        return Ok(());
    }
    Err(Error::conflict("key", &new.id))
}

pub(crate) fn revoke_key(
    session: &dyn Session,
    tenant: &TenantName,
    id: KeyId,
    at: model::Timestamp,
) -> Result<()> {
    let values = [at.into(), Value::Id(id.0.to_be_bytes()), Value::Text(tenant.as_str())];
    let revoked = session.execute(statements::KEY_REVOKE, &values)?;
    if revoked == 0 { Err(Error::not_found("key", &id)) } else { Ok(()) }
}

pub(crate) fn setting(session: &dyn Session, name: &str) -> Result<Option<Vec<u8>>> {
    first(session, statements::SETTING, &[Value::Text(name)], |columns| {
        columns.bytes().map(<[u8]>::to_vec)
    })
}

pub(crate) fn put_setting(session: &dyn Session, name: &str, value: &[u8]) -> Result<()> {
    session.execute(statements::SETTING_PUT, &[Value::Text(name), Value::Bytes(value)])?;
    Ok(())
}

fn read_tenant(columns: &mut Columns<'_>) -> Result<Tenant> {
    Ok(Tenant {
        name: columns.parsed()?,
        created: columns.time()?,
        monthly_budget: columns.optional(|columns| columns.bits().map(Amount))?,
        allow_network: columns.flag()?,
    })
}

fn read_key(columns: &mut Columns<'_>) -> Result<Key> {
    Ok(Key {
        id: KeyId(columns.id()?),
        tenant: columns.parsed()?,
        label: columns.string()?,
        role: columns.word(|word| ROLES.into_iter().find(|role| role_word(*role) == word))?,
        max_class: columns.optional(Columns::string)?,
        secret_hash: columns.hash()?,
        created: columns.time()?,
        revoked: columns.optional(Columns::time)?,
    })
}

fn budget(amount: Option<Amount>) -> Value<'static> {
    Value::optional(amount, |amount| Value::bits(amount.0))
}

const ROLES: [Role; 2] = [Role::Member, Role::Admin];

const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Member => "member",
        Role::Admin => "admin",
    }
}
