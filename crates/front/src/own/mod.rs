//! Fermata's own API under `/v1`, described by `/v1/openapi.json` and `docs/api.md`.

mod dead_letters;
mod executions;
mod functions;
mod invocations;
mod invoke;
mod ledger;
mod log_groups;
mod nodes;
mod status;
mod tenants;
pub mod wire;

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, patch, post};
use axum::{Json, Router};
use model::limits;
use node::Handle;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// Room for the base64 form of the largest package and its settings.
pub(crate) const CREATE_BYTES_MAX: usize = limits::PACKAGE_BYTES_MAX / 3 * 4 + (1 << 20);

/// The OpenAPI document.
#[derive(OpenApi)]
#[openapi(
    info(title = "Fermata", description = "Functions in price classes."),
    security(("key" = [])),
    modifiers(&Key),
    paths(
        functions::create,
        functions::list,
        functions::show,
        functions::versions,
        functions::version,
        functions::remove,
        functions::logs,
        log_groups::events,
        invoke::invoke,
        invocations::list,
        invocations::show,
        invocations::logs,
        dead_letters::list,
        dead_letters::redrive,
        dead_letters::remove,
        executions::start,
        executions::list,
        executions::show,
        executions::history,
        executions::tail,
        executions::output,
        executions::signal,
        executions::cancel_execution,
        executions::pause_execution,
        executions::resume_execution,
        executions::redrive_execution,
        executions::purge,
        executions::token,
        ledger::bill,
        ledger::prices,
        nodes::nodes,
        status::status,
        tenants::create_tenant,
        tenants::list_tenants,
        tenants::update_tenant,
        tenants::create_key,
        tenants::list_keys,
        tenants::revoke_key,
        tenants::access_key,
    )
)]
pub struct Api;

struct Key;

impl Modify for Key {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("A key: `fk_…`")).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// All routes of this API.
pub fn routes() -> Router<Handle> {
    let create = post(functions::create).layer(DefaultBodyLimit::max(CREATE_BYTES_MAX));
    Router::new()
        .route("/v1/functions", create.get(functions::list))
        .route("/v1/functions/{name}", get(functions::show).delete(functions::remove))
        .route("/v1/functions/{name}/versions", get(functions::versions))
        .route("/v1/functions/{name}/versions/{version}", get(functions::version))
        .route("/v1/functions/{name}/logs", get(functions::logs))
        .route("/v1/functions/{name}/invoke", post(invoke::invoke))
        .route("/v1/log-groups/{name}", get(log_groups::events))
        .route("/v1/invocations", get(invocations::list))
        .route("/v1/invocations/{id}", get(invocations::show))
        .route("/v1/invocations/{id}/logs", get(invocations::logs))
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", delete(dead_letters::remove))
        .route("/v1/dead-letters/{id}/redrive", post(dead_letters::redrive))
        .route("/v1/functions/{name}/executions", post(executions::start))
        .route("/v1/executions", get(executions::list))
        .route("/v1/executions/{which}", get(executions::show).delete(executions::purge))
        .route("/v1/executions/{which}/history", get(executions::history))
        .route("/v1/executions/{which}/tail", get(executions::tail))
        .route("/v1/executions/{which}/output", get(executions::output))
        .route("/v1/executions/{which}/signals/{signal}", post(executions::signal))
        .route("/v1/executions/{which}/cancel", post(executions::cancel_execution))
        .route("/v1/executions/{which}/pause", post(executions::pause_execution))
        .route("/v1/executions/{which}/resume", post(executions::resume_execution))
        .route("/v1/executions/{which}/redrive", post(executions::redrive_execution))
        .route("/v1/tokens/{token}/{answer}", post(executions::token))
        .route("/v1/bill", get(ledger::bill))
        .route("/v1/prices", get(ledger::prices))
        .route("/v1/nodes", get(nodes::nodes))
        .route("/v1/status", get(status::status))
        .route("/v1/tenants", post(tenants::create_tenant).get(tenants::list_tenants))
        .route("/v1/tenants/{name}", patch(tenants::update_tenant))
        .route("/v1/keys", post(tenants::create_key).get(tenants::list_keys))
        .route("/v1/keys/{id}", delete(tenants::revoke_key))
        .route("/v1/access-key", get(tenants::access_key))
        .route("/v1/openapi.json", get(|| async { Json(Api::openapi()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The routes in this file and the document say the same.
    #[test]
    fn every_route_is_in_the_document() {
        let source = include_str!("mod.rs");
        let document = serde_json::to_value(Api::openapi()).unwrap();
        let mut routes = 0;
        for line in source.lines().filter(|line| line.trim().starts_with(".route(\"/v1/")) {
            let path = line.split('"').nth(1).unwrap();
            if path == "/v1/openapi.json" {
                continue;
            }
            routes += 1;
            let described = &document["paths"][path];
            for method in ["get", "post", "delete", "patch"] {
                let word = format!("{method}(");
                let has = line.contains(&format!(" {word}")) || line.contains(&format!(".{word}"));
                let has = has || (method == "post" && line.contains(" create."));
                assert_eq!(!described[method].is_null(), has, "{method} {path}");
            }
        }
        assert_eq!(routes, document["paths"].as_object().unwrap().len());
    }
}
