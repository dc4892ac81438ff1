//! Tenants and keys, for admins.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use model::{KeyId, TenantName, Timestamp};
use node::{Handle, KeyInfo, NewKey, NewTenant, Role, TenantInfo};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::functions::json_problem;
use super::wire::{List, parse_amount};
use crate::auth::Who;
use crate::problem::{Document, Problem};

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateTenant {
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_`.
    name: String,
    /// µ¢ a month, as decimal text; unlimited where absent.
    budget: Option<String>,
    /// Whether its functions may be given the network.
    #[serde(default)]
    network: bool,
}

/// What of a tenant to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateTenant {
    /// µ¢ a month, as decimal text, or `unlimited`.
    budget: Option<String>,
    /// Whether its functions may be given the network.
    network: Option<bool>,
}

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tenant {
    /// Its name.
    name: String,
    /// µ¢ a month, as decimal text.
    budget: Option<String>,
    /// µ¢ spent this month (UTC), as decimal text.
    spent: String,
    /// Whether its functions may be given the network.
    network: bool,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    created_ms: u64,
}

/// A key as AWS's clients use it (`~/.aws/credentials`).
#[derive(Serialize, ToSchema)]
pub(crate) struct AccessKey {
    /// The key's id.
    access_key_id: String,
    /// What requests are signed with.
    secret_access_key: String,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateKey {
    /// For which tenant.
    tenant: String,
    /// For a person.
    #[serde(default)]
    label: String,
    /// Whether it also manages tenants and keys.
    #[serde(default)]
    admin: bool,
    /// The highest class it may state; the dearest where absent.
    max_class: Option<String>,
}

/// A key.
#[derive(Serialize, ToSchema)]
pub(crate) struct Key {
    /// Its public part.
    id: String,
    /// Of which tenant.
    tenant: String,
    /// For a person.
    label: String,
    /// Whether it also manages tenants and keys.
    admin: bool,
    /// The highest class it may state.
    max_class: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    created_ms: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    revoked_ms: Option<u64>,
    /// The secret, shown only in the answer that makes the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

/// Whose keys to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyFilter {
    /// Of this tenant only.
    tenant: Option<String>,
}

/// Makes a tenant.
#[utoipa::path(post, path = "/v1/tenants", request_body = CreateTenant, responses(
    (status = 201, body = Tenant),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn create_tenant(
    State(handle): State<Handle>,
    Who(who): Who,
    body: Result<Json<CreateTenant>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(create) = body.map_err(|error| json_problem(&error))?;
    let new = NewTenant {
        name: parse_tenant(&create.name)?,
        budget: create.budget.as_deref().map(parse_amount).transpose()?,
        network: create.network,
    };
    let info = handle.create_tenant(&who, new).await?;
    Ok((StatusCode::CREATED, Json(Tenant::from(info))).into_response())
}

/// All tenants for an admin, one's own else.
#[utoipa::path(get, path = "/v1/tenants", responses(
    (status = 200, body = List<Tenant>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list_tenants(
    State(handle): State<Handle>,
    Who(who): Who,
) -> Result<Json<List<Tenant>>, Problem> {
    let tenants = handle.tenants(&who).await?;
    Ok(Json(List { items: tenants.into_iter().map(Tenant::from).collect(), more: false }))
}

/// Changes a tenant's budget and network right.
#[utoipa::path(patch, path = "/v1/tenants/{name}", params(("name" = String, Path)),
    request_body = UpdateTenant, responses(
    (status = 200, body = Tenant),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn update_tenant(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(name): Path<String>,
    body: Result<Json<UpdateTenant>, JsonRejection>,
) -> Result<Json<Tenant>, Problem> {
    let Json(update) = body.map_err(|error| json_problem(&error))?;
    let name = parse_tenant(&name)?;
    let tenants = handle.tenants(&who).await?;
    let before = tenants.iter().find(|tenant| tenant.name == name);
    let budget = match update.budget.as_deref() {
        None => before.and_then(|tenant| tenant.budget),
        Some("unlimited") => None,
        Some(amount) => Some(parse_amount(amount)?),
    };
    let network = before.is_some_and(|tenant| tenant.network);
    let new = NewTenant { name, budget, network: update.network.unwrap_or(network) };
    Ok(Json(handle.update_tenant(&who, new).await?.into()))
}

/// Makes a key. The answer holds its secret, which is kept nowhere.
#[utoipa::path(post, path = "/v1/keys", request_body = CreateKey, responses(
    (status = 201, body = Key),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn create_key(
    State(handle): State<Handle>,
    Who(who): Who,
    body: Result<Json<CreateKey>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(create) = body.map_err(|error| json_problem(&error))?;
    let new = NewKey {
        tenant: parse_tenant(&create.tenant)?,
        label: create.label,
        role: if create.admin { Role::Admin } else { Role::Member },
        max_class: create.max_class,
    };
    let (info, secret) = handle.create_key(&who, new).await?;
    let key = Key { secret: Some(secret), ..Key::from(info) };
    Ok((StatusCode::CREATED, Json(key)).into_response())
}

/// Keys, oldest first, without their secrets.
#[utoipa::path(get, path = "/v1/keys", params(KeyFilter), responses(
    (status = 200, body = List<Key>),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn list_keys(
    State(handle): State<Handle>,
    Who(who): Who,
    filter: Result<Query<KeyFilter>, QueryRejection>,
) -> Result<Json<List<Key>>, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::invalid(error.body_text()))?;
    let tenant = filter.tenant.as_deref().map(parse_tenant).transpose()?;
    let keys = handle.keys(&who, tenant.as_ref()).await?;
    Ok(Json(List { items: keys.into_iter().map(Key::from).collect(), more: false }))
}

/// Ends a key's validity at once.
#[utoipa::path(delete, path = "/v1/keys/{id}", params(("id" = String, Path)), responses(
    (status = 204, description = "Revoked"),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn revoke_key(
    State(handle): State<Handle>,
    Who(who): Who,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id: KeyId = id.parse().map_err(|error| Problem::invalid(format!("{id:?} is {error}")))?;
    handle.revoke_key(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key that the request is made with, as AWS's clients use it.
#[utoipa::path(get, path = "/v1/access-key", responses(
    (status = 200, body = AccessKey),
    (status = "default", description = "A refusal", body = Document, content_type = "application/problem+json")))]
pub(crate) async fn access_key(
    State(handle): State<Handle>,
    Who(who): Who,
) -> Result<Json<AccessKey>, Problem> {
    let node::AccessKey { id, secret, who: _ } = handle.own_access_key(&who)?;
    Ok(Json(AccessKey { access_key_id: id, secret_access_key: secret }))
}

impl From<TenantInfo> for Tenant {
    fn from(info: TenantInfo) -> Self {
        Self {
            name: info.name.to_string(),
            budget: info.budget.map(|budget| budget.to_string()),
            spent: info.spent.to_string(),
            network: info.network,
            created_ms: info.created.as_millis(),
        }
    }
}

impl From<KeyInfo> for Key {
    fn from(info: KeyInfo) -> Self {
        Self {
            id: info.id.to_string(),
            tenant: info.tenant.to_string(),
            label: info.label,
            admin: info.role == Role::Admin,
            max_class: info.max_class,
            created_ms: info.created.as_millis(),
            revoked_ms: info.revoked.map(Timestamp::as_millis),
            secret: None,
        }
    }
}

fn parse_tenant(text: &str) -> Result<TenantName, Problem> {
    text.parse().map_err(|error| Problem::invalid(format!("{text:?} is {error}")))
}
