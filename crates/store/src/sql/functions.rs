//! Functions and their versions as rows.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Durable, FunctionName, Kind, TenantName, Version};

use crate::api::page;
use crate::blob::BlobHash;
use crate::error::{Error, Result};
use crate::function::{FunctionQuery, FunctionSpec, FunctionVersion, not_found};
use crate::sql::{Columns, Hold, Lock, Session, Value, first, list, statements, tenants};

/// Gives the version the next free number. `has_code` looks whether its blob is there.
pub(crate) fn publish(
    session: &dyn Session,
    spec: &FunctionSpec,
    has_code: impl FnOnce(BlobHash) -> Result<bool>,
) -> Result<FunctionVersion> {
    tenants::tenant(session, &spec.tenant)?;
    session.lock(Lock::Blobs, Hold::Shared)?;
    if !has_code(spec.code_hash)? {
        return Err(Error::not_found("blob", &spec.code_hash));
    }
    let names = [Value::Text(spec.tenant.as_str()), Value::Text(spec.name.as_str())];
    let number = first(session, statements::FUNCTION_NUMBER, &names, |columns| columns.u32())?;
    let missing = || Error::Corrupt { reason: "a function got no version number".into() };
    let version = Version(number.ok_or_else(missing)?);
    let timeout_ns = u64::try_from(spec.timeout.as_nanos()).unwrap_or(u64::MAX);
    session.execute(
        statements::VERSION_ADD,
        &[
            version.0.into(),
            Value::Text(spec.tenant.as_str()),
            Value::Text(spec.name.as_str()),
            Value::Text(spec.kind.as_str()),
            Value::Text(&spec.runtime),
            Value::Text(&spec.handler),
            Value::bits(timeout_ns),
            Value::text_or_null(spec.default_class.as_deref()),
            Value::Bytes(&encode_environment(&spec.environment)),
            spec.network.into(),
            Value::Bytes(&spec.code_hash.0),
            Value::bits(spec.code_size_bytes),
            spec.created.into(),
            Value::Text(&spec.description),
            Value::Text(spec.durable.as_str()),
        ],
    )?;
    Ok(FunctionVersion { version, spec: spec.clone() })
}

pub(crate) fn function(
    session: &dyn Session,
    tenant: &TenantName,
    name: &FunctionName,
    version: Option<Version>,
) -> Result<FunctionVersion> {
    let (tenant, function) = (Value::Text(tenant.as_str()), Value::Text(name.as_str()));
    let found = match version {
        Some(version) => {
            let values = [tenant, function, version.0.into()];
            first(session, statements::VERSION_GET, &values, read_version)?
        }
        None => {
            let values = [tenant, function, Value::Int(i64::MAX), Value::Int(1)];
            first(session, statements::VERSIONS_BEFORE, &values, read_version)?
        }
    };
    found.ok_or_else(|| not_found(name, version))
}

pub(crate) fn functions(
    session: &dyn Session,
    tenant: &TenantName,
    query: &FunctionQuery,
) -> Result<Vec<FunctionVersion>> {
    let tenant = Value::Text(tenant.as_str());
    match query {
        FunctionQuery::Latest { after, limit } => {
            let after = after.as_ref().map_or("", FunctionName::as_str);
            let values = [tenant, Value::Text(after), Value::limit(page(*limit))];
            list(session, statements::FUNCTIONS_AFTER, &values, read_version)
        }
        FunctionQuery::Versions { name, before, limit } => {
            let before = before.map_or(Value::Int(i64::MAX), |version| version.0.into());
            let limit = Value::limit(page(*limit));
            let values = [tenant, Value::Text(name.as_str()), before, limit];
            list(session, statements::VERSIONS_BEFORE, &values, read_version)
        }
    }
}

pub(crate) fn delete(
    session: &dyn Session,
    tenant: &TenantName,
    name: &FunctionName,
    version: Option<Version>,
) -> Result<()> {
    let (tenant, function) = (Value::Text(tenant.as_str()), Value::Text(name.as_str()));
    let deleted = match version {
        Some(version) => {
            session.execute(statements::VERSION_DELETE, &[tenant, function, version.0.into()])?
        }
        None => session.execute(statements::FUNCTION_DELETE, &[tenant, function])?,
    };
    if deleted == 0 { Err(not_found(name, version)) } else { Ok(()) }
}

/// Hashes of all code that some version uses.
pub(crate) fn code_used(session: &dyn Session) -> Result<BTreeSet<BlobHash>> {
    let hashes = list(session, statements::CODE_USED, &[], |columns| columns.hash().map(BlobHash))?;
    Ok(hashes.into_iter().collect())
}

fn read_version(columns: &mut Columns<'_>) -> Result<FunctionVersion> {
    let version = Version(columns.u32()?);
    let spec = FunctionSpec {
        tenant: columns.parsed()?,
        name: columns.parsed()?,
        kind: columns.word(Kind::from_word)?,
        runtime: columns.string()?,
        handler: columns.string()?,
        timeout: Duration::from_nanos(columns.bits()?),
        default_class: columns.optional(Columns::string)?,
        environment: {
            let bytes = columns.bytes()?;
            decode_environment(bytes).ok_or_else(|| columns.damaged("an environment"))?
        },
        network: columns.flag()?,
        code_hash: BlobHash(columns.hash()?),
        code_size_bytes: columns.bits()?,
        created: columns.time()?,
        description: columns.string()?,
        durable: columns.word(Durable::from_word)?,
    };
    Ok(FunctionVersion { version, spec })
}

/// Every name and value in turn, each as its length (four bytes, lowest first) and its bytes.
fn encode_environment(variables: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        let length = u32::try_from(text.len()).expect("ENVIRONMENT_BYTES_MAX is below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

fn decode_environment(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut variables = Vec::new();
    while !bytes.is_empty() {
        variables.push((decode_text(&mut bytes)?, decode_text(&mut bytes)?));
    }
    Some(variables)
}

fn decode_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_read_back_and_a_damaged_one_is_noticed() {
        let variables = vec![("A".into(), String::new()), ("ß\0".into(), "x=y\n".into())];
        let bytes = encode_environment(&variables);
        assert_eq!(decode_environment(&bytes), Some(variables));
        assert_eq!(decode_environment(&[]), Some(Vec::new()));
        for length in (1..bytes.len()).filter(|length| *length != 9) {
            assert_eq!(decode_environment(&bytes[..length]), None, "{length}");
        }
        assert_eq!(decode_environment(&[255; 8]), None);
    }
}
