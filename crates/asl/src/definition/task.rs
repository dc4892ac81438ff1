//! Reads what only a Task state has.

use super::parse::Targets;
use super::reader::{Fields, Reader};
use super::state::{fixed_seconds, is_positive};
use super::{Integration, MachineType, Pattern, Resource, Task, retry, template};

pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Task> {
    let recovery = retry::read(reader, fields, targets);
    let credentials = fields.get("Credentials");
    if let Some(credentials) = credentials {
        check_credentials(reader, fields, credentials);
    }
    let timeout = reader.dynamic(fields, "TimeoutSeconds", is_positive);
    let heartbeat = reader.dynamic(fields, "HeartbeatSeconds", is_positive);
    if let (Some(timeout), Some(heartbeat)) =
        (fixed_seconds(timeout.as_ref()), fixed_seconds(heartbeat.as_ref()))
        && heartbeat >= timeout
    {
        reader.error(
            &fields.at("HeartbeatSeconds"),
            "HeartbeatSeconds must be smaller than TimeoutSeconds",
        );
    }
    reader.required(fields, "Resource")?;
    let arn = reader.text(fields, "Resource")?;
    let resource = resource(reader, &arn, &fields.at("Resource"))?;
    Some(Task { resource, credentials: credentials.cloned(), timeout, heartbeat, recovery })
}

fn resource(reader: &mut Reader, arn: &str, place: &str) -> Option<Resource> {
    // A Map state reads and writes objects so, a Task state calls `aws-sdk:s3`.
    let of_maps = |resource: &Resource| resource.event_type() == "s3";
    let Some(resource) = Resource::parse(arn).filter(|resource| !of_maps(resource)) else {
        let message = if arn.starts_with("arn:") {
            format!(
                "The resource provided {arn} is not recognized. The value is not a valid resource ARN, or \
                 the resource is not available in this region."
            )
        } else {
            "Value is not a valid resource ARN".to_owned()
        };
        reader.error(place, message);
        return None;
    };
    if reader.machine_type == MachineType::Express {
        match (&resource.integration, resource.pattern()) {
            (Integration::Activity { .. }, _) => {
                reader.error(place, "Express state machine does not support Activity ARN");
            }
            (_, Pattern::RequestResponse) => {}
            (_, pattern) => {
                // AWS writes two spaces before "at".
                reader.error(
                    place,
                    format!(
                        "Express state machine does not support '{}' service integration ",
                        pattern.suffix()
                    ),
                );
            }
        }
    }
    Some(resource)
}

fn check_credentials(reader: &mut Reader, fields: &Fields<'_>, credentials: &serde_json::Value) {
    let place = fields.at("Credentials");
    let Some(object) = reader.object(credentials, &place) else { return };
    if !object.contains_key("RoleArn") && !object.contains_key("RoleArn.$") {
        reader.error(&place, "The field 'RoleArn' is required but was missing");
    }
    template::check(reader, fields.language, credentials, &place);
}
