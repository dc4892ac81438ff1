//! The operator's roles: what the state machines that run with one may do.
//!
//! `roleArn` of a machine and `Credentials` of a task name a role; the account and the path in the ARN are not
//! looked at. Where the operator named no role, an execution may do what its tenant may.

use std::collections::BTreeMap;

use asl::answer::function_name;
use asl::ask::Failed;
use asl::definition::{Integration, Resource};
use asl::machine::matches_pattern;
use model::TenantName;
use serde_json::Value;

/// All roles, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(BTreeMap<String, Role>);

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// Whose machines may have it; none: all tenants'.
    pub tenants: Vec<TenantName>,
    /// What they may do then.
    pub allow: Vec<Permission>,
}

/// An action that is allowed on a resource, both with `*` for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    action: String,
    resource: String,
}

/// What a task wants to do, in IAM's words.
struct Wanted {
    action: String,
    /// All that are named; one without a name where none is.
    resources: Vec<String>,
}

/// What it is to call a function.
const INVOKE: &str = "lambda:InvokeFunction";
/// Where a service's parameters say what it is asked about.
const RESOURCES: &[&str] =
    &["StateMachineArn", "QueueUrl", "TopicArn", "TableName", "Bucket", "FunctionName"];

impl std::str::FromStr for Permission {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (action, resource) = match *words {
            [action] => (action, "*"),
            [action, resource] => (action, resource),
            _ => ("", ""),
        };
        if action != "*" && !action.contains(':') {
            return Err(format!(
                "{text:?} allows nothing: write SERVICE:ACTION or SERVICE:ACTION RESOURCE, as in \
                 \"lambda:InvokeFunction orders-*\""
            ));
        }
        Ok(Self { action: action.to_ascii_lowercase(), resource: resource.to_owned() })
    }
}

impl FromIterator<(String, Role)> for Roles {
    fn from_iter<I: IntoIterator<Item = (String, Role)>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

impl Roles {
    /// Whether machines of that tenant may have the role.
    #[must_use]
    pub fn is_open_to(&self, tenant: &TenantName, arn: &str) -> bool {
        self.0.is_empty() || self.of(tenant, arn).is_some()
    }

    fn of(&self, tenant: &TenantName, arn: &str) -> Option<&Role> {
        let role = self.0.get(name(arn))?;
        (role.tenants.is_empty() || role.tenants.contains(tenant)).then_some(role)
    }

    /// The role that a task runs with: that of its machine, or the one in its `Credentials`.
    ///
    /// # Errors
    /// The machines of that tenant may not have the latter.
    pub fn of_task<'a>(
        &self,
        tenant: &TenantName,
        machine: &'a str,
        credentials: Option<&'a Value>,
    ) -> Result<&'a str, Failed> {
        let wanted = credentials.and_then(|credentials| credentials.get("RoleArn"));
        let Some(wanted) = wanted.and_then(Value::as_str) else { return Ok(machine) };
        if self.is_open_to(tenant, machine) && self.is_open_to(tenant, wanted) {
            return Ok(wanted);
        }
        Err(Failed {
            error: "States.TaskFailed".to_owned(),
            cause: Some(format!(
                "The role {machine} is not authorized to assume the task state's role, {wanted}."
            )),
        })
    }

    /// Whether who has the role may do what a resource names.
    ///
    /// # Errors
    /// It may not; IAM's sentence about it.
    pub fn permit(
        &self,
        tenant: &TenantName,
        role: &str,
        resource: &Resource,
        parameters: &Value,
    ) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        let Some(wanted) = wanted(resource, parameters) else { return Ok(()) };
        let allowed = self.of(tenant, role).map_or(&[][..], |role| &role.allow);
        let Wanted { action, resources } = wanted;
        let is_allowed = |resource: &&String| {
            allowed.iter().any(|permission| permission.is_for(&action, resource))
        };
        let Some(resource) = resources.iter().find(|resource| !is_allowed(resource)) else {
            return Ok(());
        };
        let account = role.split(':').nth(4).unwrap_or_default();
        Err(format!(
            "User: arn:aws:sts::{account}:assumed-role/{}/fermata is not authorized to perform: {action} on \
             resource: {resource} because no identity-based policy allows the {action} action",
            name(role),
        ))
    }
}

impl Permission {
    fn is_for(&self, action: &str, resource: &str) -> bool {
        matches_pattern(&action.to_ascii_lowercase(), &self.action)
            && matches_pattern(resource, &self.resource)
    }
}

/// The name of a role in its ARN.
#[must_use]
pub fn name(arn: &str) -> &str {
    arn.rsplit(['/', ':']).next().unwrap_or_default()
}

/// What a task wants; none where nobody has to allow it.
fn wanted(resource: &Resource, parameters: &Value) -> Option<Wanted> {
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let (action, resource) = match &resource.integration {
        Integration::Activity { .. } => return None,
        Integration::Function { name } => (INVOKE.to_owned(), function_name(name)),
        Integration::Service { service, action, .. } => match (&**service, &**action) {
            ("lambda", "invoke") => {
                (INVOKE.to_owned(), function_name(text("FunctionName").unwrap_or_default()))
            }
            ("http", "invoke") => {
                ("states:InvokeHTTPEndpoint".to_owned(), text("ApiEndpoint").unwrap_or_default())
            }
            (service, action) => {
                let action = action_of(service, action);
                return Some(Wanted { action, resources: resources(parameters) });
            }
        },
    };
    Some(Wanted { action, resources: vec![resource.to_owned()] })
}

/// The resources that parameters name, however they are spelled: which of them a service looks at is its own.
fn resources(parameters: &Value) -> Vec<String> {
    let is_one = |field: &str| RESOURCES.iter().any(|name| name.eq_ignore_ascii_case(field));
    let fields = parameters.as_object().into_iter().flatten();
    let named = fields.filter(|(field, _)| is_one(field));
    let named =
        named.map(|(_, value)| resource_name(value.as_str().unwrap_or_default()).to_owned());
    let mut named: Vec<String> = named.collect();
    if named.is_empty() {
        named.push(String::new());
    }
    named
}

fn action_of(service: &str, action: &str) -> String {
    let service = match service {
        "sfn" => "states",
        "eventbridge" => "events",
        "cloudwatchlogs" => "logs",
        other => other,
    };
    if service == "s3" && matches!(action, "listObjects" | "listObjectsV2") {
        return "s3:ListBucket".to_owned();
    }
    let mut action = action.to_owned();
    if let Some(first) = action.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("{service}:{action}")
}

/// The name in an ARN or a URL: that of a state machine without version and alias.
fn resource_name(text: &str) -> &str {
    match text.split_once(":stateMachine:") {
        Some((_, machine)) => machine.split(':').next().unwrap_or_default(),
        None => text.rsplit(['/', ':']).next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHOP: &str = "arn:aws:iam::123456789012:role/teams/shop";

    fn tenant(name: &str) -> TenantName {
        name.parse().unwrap()
    }

    fn roles(allow: &[&str]) -> Roles {
        let allow = allow.iter().map(|text| text.parse().unwrap()).collect();
        let shop = Role { tenants: vec![tenant("shop")], allow };
        [("shop".to_owned(), shop), ("all".to_owned(), Role::default())].into_iter().collect()
    }

    #[track_caller]
    fn check(allow: &[&str], resource: &str, parameters: &Value, expected: Result<(), &str>) {
        let resource = Resource::parse(resource).unwrap();
        let done = roles(allow).permit(&tenant("shop"), SHOP, &resource, parameters);
        match (done, expected) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (done, expected) => panic!("{resource:?}: {done:?} and not {expected:?}"),
        }
    }

    #[test]
    fn an_action_is_allowed_on_resources_that_are_like_a_pattern() {
        let function = "arn:aws:lambda:us-east-1:123456789012:function:orders-new:3";
        check(&["lambda:InvokeFunction orders-*"], function, &json!({}), Ok(()));
        check(&["lambda:invokefunction"], function, &json!({}), Ok(()));
        check(&["lambda:*", "sqs:*"], function, &json!({}), Ok(()));
        check(&["*"], function, &json!({}), Ok(()));
        check(
            &["lambda:InvokeFunction bills-*", "states:*"],
            function,
            &json!({}),
            Err(
                "assumed-role/shop/fermata is not authorized to perform: lambda:InvokeFunction on resource: \
                 orders-new because no identity-based policy allows the lambda:InvokeFunction action",
            ),
        );
        check(&[], function, &json!({}), Err("123456789012"));
    }

    #[test]
    fn each_integration_has_its_action_and_resource() {
        for (resource, parameters, action, of) in [
            ("lambda:invoke", json!({ "FunctionName": "a:1" }), "lambda:InvokeFunction", "a"),
            (
                "lambda:invoke",
                json!({ "FunctionName": "arn:aws:lambda:r:a:function:f:1" }),
                "lambda:InvokeFunction",
                "f",
            ),
            (
                "states:startExecution.sync:2",
                json!({ "StateMachineArn": "arn:aws:states:r:a:stateMachine:m:9" }),
                "states:StartExecution",
                "m",
            ),
            ("aws-sdk:sfn:listStateMachines", json!({}), "states:ListStateMachines", ""),
            (
                "sqs:sendMessage",
                json!({ "QueueUrl": "http://h/0/queue" }),
                "sqs:SendMessage",
                "queue",
            ),
            ("events:putEvents", json!({}), "events:PutEvents", ""),
            ("aws-sdk:s3:listObjectsV2", json!({ "Bucket": "b" }), "s3:ListBucket", "b"),
            ("s3:getObject", json!({ "Bucket": "b" }), "s3:GetObject", "b"),
            (
                "http:invoke",
                json!({ "ApiEndpoint": "https://h/a" }),
                "states:InvokeHTTPEndpoint",
                "https://h/a",
            ),
        ] {
            let resource = Resource::parse(&format!("arn:aws:states:::{resource}")).unwrap();
            let wanted = wanted(&resource, &parameters).unwrap();
            assert_eq!(
                (wanted.action.as_str(), &*wanted.resources),
                (action, &[of.to_owned()][..])
            );
        }
        let activity = Resource::parse("arn:aws:states:us-east-1:1:activity:a").unwrap();
        assert!(wanted(&activity, &json!({})).is_none(), "workers ask for it");
    }

    #[test]
    fn no_resource_hides_behind_another_that_is_allowed() {
        let table = "arn:aws:states:::aws-sdk:dynamodb:putItem";
        let allow = &["dynamodb:PutItem open"];
        check(allow, table, &json!({ "TableName": "open" }), Ok(()));
        check(allow, table, &json!({ "tableName": "open" }), Ok(()));
        for hidden in [
            json!({ "TableName": "open", "tableName": "secret" }),
            json!({ "TableName": "secret", "QueueUrl": "open" }),
            json!({ "TableName": "open", "Bucket": ["secret"] }),
            json!({}),
        ] {
            check(allow, table, &hidden, Err("dynamodb:PutItem on resource"));
        }
    }

    #[test]
    fn a_role_is_of_its_tenants_and_without_roles_all_is_allowed() {
        let (shop, other) = (tenant("shop"), tenant("other"));
        let some = roles(&["*"]);
        assert!(some.is_open_to(&shop, SHOP) && !some.is_open_to(&other, SHOP));
        assert!(some.is_open_to(&other, "arn:aws:iam::1:role/all"));
        assert!(!some.is_open_to(&shop, "arn:aws:iam::1:role/nobody"));
        let none = Roles::default();
        let lambda = Resource::parse("arn:aws:lambda:us-east-1:1:function:f").unwrap();
        assert!(none.is_open_to(&other, "arn:aws:iam::1:role/nobody"));
        assert_eq!(none.permit(&other, "any", &lambda, &json!({})), Ok(()));
        assert!(some.permit(&other, SHOP, &lambda, &json!({})).is_err(), "the role is not its");
    }

    #[test]
    fn credentials_name_the_role_of_a_task() {
        let shop = tenant("shop");
        let all = "arn:aws:iam::1:role/all";
        let named = |role: &str| json!({ "RoleArn": role });
        let some = roles(&[]);
        assert_eq!(some.of_task(&shop, SHOP, None), Ok(SHOP));
        assert_eq!(some.of_task(&shop, SHOP, Some(&named(all))), Ok(all));
        let refused = some.of_task(&shop, SHOP, Some(&named("arn:aws:iam::1:role/x"))).unwrap_err();
        assert_eq!(refused.error, "States.TaskFailed");
        let cause = "The role arn:aws:iam::123456789012:role/teams/shop is not authorized to assume the task \
                     state's role, arn:aws:iam::1:role/x.";
        assert_eq!(refused.cause.as_deref(), Some(cause));
        assert!(some.of_task(&shop, "arn:aws:iam::1:role/gone", Some(&named(all))).is_err());
    }

    #[test]
    fn a_permission_names_an_action() {
        for wrong in ["", "lambda", "lambda:InvokeFunction a b", "orders-*"] {
            let refused = wrong.parse::<Permission>().unwrap_err();
            assert!(refused.contains("SERVICE:ACTION"), "{refused}");
        }
    }
}
