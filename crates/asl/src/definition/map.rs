//! Reads what only a Map state has.

use serde_json::Value;

use super::parse::{Targets, chart};
use super::problem::Code;
use super::reader::{Fields, Reader};
use super::{
    Batcher, ChartId, Distributed, Items, Language, MachineType, Map, Resource, Writer, retry,
    template,
};

const NOT_ITEMS: &str = "Value must be an array or a JSONata expression";
/// Length of a label.
const LABEL_MAX: usize = 40;

pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Map> {
    let recovery = retry::read(reader, fields, targets);
    let items = items(reader, fields);
    let max_concurrency = reader.dynamic(fields, "MaxConcurrency", is_count);
    let tolerated_count = reader.dynamic(fields, "ToleratedFailureCount", is_count);
    let tolerated_percentage = reader.dynamic(fields, "ToleratedFailurePercentage", is_percentage);
    let (item_selector, selector_field) = selector(reader, fields);
    let (processor, child_type) = processor(reader, fields)?;
    if child_type.is_none() && matches!(items, Some(Items::Template(Value::Object(_)))) {
        reader.error(&fields.at("Items"), NOT_ITEMS);
    }
    let distributed = distributed(reader, fields, child_type);
    Some(Map {
        processor,
        items,
        item_selector,
        selector_field,
        max_concurrency,
        tolerated_count,
        tolerated_percentage,
        distributed,
        recovery,
    })
}

fn items(reader: &mut Reader, fields: &Fields<'_>) -> Option<Items> {
    let name = match fields.language {
        Language::JsonPath => "ItemsPath",
        Language::Jsonata => "Items",
    };
    let value = fields.get(name)?;
    let place = fields.at(name);
    match (fields.language, value) {
        (Language::JsonPath, Value::String(text)) => {
            reader.path(text, &place).map(|path| Items::Path(Box::new(path)))
        }
        (Language::JsonPath, _) => {
            reader.error(&place, "Expected value of type String");
            None
        }
        (Language::Jsonata, value) => {
            let is_query = value.as_str().and_then(crate::jsonata::unwrap).is_some();
            if !is_query && !value.is_array() && !value.is_object() {
                reader.error(&place, NOT_ITEMS);
            }
            template::check(reader, Language::Jsonata, value, &place);
            Some(Items::Template(value.clone()))
        }
    }
}

fn selector(reader: &mut Reader, fields: &Fields<'_>) -> (Option<Value>, &'static str) {
    reader.not_both(fields, "Parameters", "ItemSelector");
    let name = if fields.has("Parameters") { "Parameters" } else { "ItemSelector" };
    let value = fields.get(name);
    if let Some(value) = value {
        template::check(reader, fields.language, value, &fields.at(name));
    }
    (value.cloned(), name)
}

/// The processor; where it is distributed, also how its child executions run.
fn processor(reader: &mut Reader, fields: &Fields<'_>) -> Option<(ChartId, Option<MachineType>)> {
    reader.not_both(fields, "ItemProcessor", "Iterator");
    let name = if fields.has("Iterator") { "Iterator" } else { "ItemProcessor" };
    let value = reader.required(fields, name)?;
    let place = fields.at(name);
    let object = reader.object(value, &place)?;
    let child_type = match object.get("ProcessorConfig") {
        None => None,
        Some(config) => {
            let place = format!("{place}/ProcessorConfig");
            let object = reader.object(config, &place)?;
            processor_config(reader, &Fields { object, place: &place, language: fields.language })
        }
    };
    // Child executions are machines of the type they say.
    let outer = reader.machine_type;
    reader.machine_type = child_type.unwrap_or(outer);
    let id = chart(reader, object, &place);
    reader.machine_type = outer;
    Some((id, child_type))
}

fn processor_config(reader: &mut Reader, fields: &Fields<'_>) -> Option<MachineType> {
    match fields.get("Mode") {
        None => None,
        Some(Value::String(mode)) if mode == "INLINE" => None,
        Some(Value::String(mode)) if mode == "DISTRIBUTED" => {
            if reader.machine_type == MachineType::Express {
                reader.error(
                    &fields.at("Mode"),
                    "Express state machine does not support 'DISTRIBUTED' mode",
                );
            }
            reader.required(fields, "ExecutionType")?;
            match fields.get("ExecutionType").and_then(Value::as_str) {
                Some("STANDARD") => Some(MachineType::Standard),
                Some("EXPRESS") => Some(MachineType::Express),
                _ => {
                    reader.no_such_word(fields, "ExecutionType", &["STANDARD", "EXPRESS"]);
                    None
                }
            }
        }
        Some(_) => {
            reader.no_such_word(fields, "Mode", &["INLINE", "DISTRIBUTED"]);
            None
        }
    }
}

fn distributed(
    reader: &mut Reader,
    fields: &Fields<'_>,
    child_type: Option<MachineType>,
) -> Option<Box<Distributed>> {
    let label = reader.text(fields, "Label");
    if let Some(label) = &label {
        check_label(reader, label, &fields.at("Label"));
    }
    let read = super::item_reader::read(reader, fields);
    let batcher = batcher(reader, fields);
    let writer = writer(reader, fields);
    let Some(child_type) = child_type else {
        for name in ["ItemReader", "ItemBatcher", "ResultWriter", "Label"] {
            if fields.has(name) {
                reader.error(
                    fields.place,
                    format!("Field '{name}' is only supported in 'DISTRIBUTED' mode"),
                );
            }
        }
        return None;
    };
    Some(Box::new(Distributed { child_type, label, reader: read, batcher, writer }))
}

fn check_label(reader: &mut Reader, label: &str, place: &str) {
    let forbidden =
        |c: char| c.is_whitespace() || c.is_control() || "<>{}[]?*\"#%\\^|~`$&,;:/".contains(c);
    if label.is_empty() || label.chars().count() > LABEL_MAX || label.chars().any(forbidden) {
        reader.problem(Code::InvalidLabelName, place, format!("Invalid label name: {label}"));
    }
    if reader.labels.iter().any(|known| known == label) {
        reader.problem(Code::DuplicateLabelName, place, format!("Duplicate label name: {label}"));
    }
    reader.labels.push(label.to_owned());
}

fn batcher(reader: &mut Reader, fields: &Fields<'_>) -> Option<Batcher> {
    let place = fields.at("ItemBatcher");
    let object = reader.object(fields.get("ItemBatcher")?, &place)?;
    let own = Fields { object, place: &place, language: fields.language };
    let paths = ["MaxItemsPerBatchPath", "MaxInputBytesPerBatchPath"];
    reader.not_in_language(&own, &paths.map(|name| (Language::JsonPath, name)));
    let batch_input = own.get("BatchInput");
    if let Some(input) = batch_input {
        template::check(reader, own.language, input, &own.at("BatchInput"));
    }
    let max_items = reader.dynamic(&own, "MaxItemsPerBatch", is_positive_count);
    let max_bytes = reader.dynamic(&own, "MaxInputBytesPerBatch", is_batch_bytes);
    if max_items.is_none() && max_bytes.is_none() {
        reader.error(
            &place,
            "At least one of the fields [MaxItemsPerBatch, MaxInputBytesPerBatch] is required",
        );
    }
    Some(Batcher { batch_input: batch_input.cloned(), max_items, max_bytes })
}

fn writer(reader: &mut Reader, fields: &Fields<'_>) -> Option<Writer> {
    let place = fields.at("ResultWriter");
    let object = reader.object(fields.get("ResultWriter")?, &place)?;
    let own = Fields { object, place: &place, language: fields.language };
    let resource = reader.text(&own, "Resource").and_then(|arn| {
        let resource = Resource::parse(&arn).filter(|resource| {
            resource.event_type() == "s3" && resource.event_resource() == "putObject"
        });
        if resource.is_none() {
            reader.error(&own.at("Resource"), "Value is not a valid resource ARN");
        }
        resource
    });
    let name = match own.language {
        Language::JsonPath => "Parameters",
        Language::Jsonata => "Arguments",
    };
    check_arguments(reader, &own);
    let arguments = own.get(name);
    if let Some(arguments) = arguments {
        template::check(reader, own.language, arguments, &own.at(name));
    }
    let mut config = |field: &str, values: &[&str]| {
        let place = own.at("WriterConfig");
        let object = reader.object(own.get("WriterConfig")?, &place)?;
        let config = Fields { object, place: &place, language: own.language };
        reader.one_of(&config, field, values)
    };
    Some(Writer {
        resource,
        arguments: arguments.cloned(),
        transformation: config("Transformation", &["NONE", "COMPACT", "FLATTEN"]),
        output_type: config("OutputType", &["JSON", "JSONL"]),
    })
}

/// Parameters of a reader or a writer have another name in each language.
pub(super) fn check_arguments(reader: &mut Reader, fields: &Fields<'_>) {
    let names = [(Language::JsonPath, "Parameters"), (Language::Jsonata, "Arguments")];
    reader.not_in_language(fields, &names);
}

pub(super) fn is_count(value: &Value) -> Result<(), String> {
    match value.as_u64() {
        Some(_) => Ok(()),
        None => Err(super::reader::out_of_range(value, 0, u64::MAX)),
    }
}

fn is_positive_count(value: &Value) -> Result<(), String> {
    match value.as_u64() {
        Some(1..) => Ok(()),
        _ => Err(super::reader::out_of_range(value, 1, u64::MAX)),
    }
}

fn is_batch_bytes(value: &Value) -> Result<(), String> {
    const BYTES_MAX: u64 = 262_144;
    match value.as_u64() {
        Some(1..=BYTES_MAX) => Ok(()),
        _ => Err(super::reader::out_of_range(value, 1, BYTES_MAX)),
    }
}

fn is_percentage(value: &Value) -> Result<(), String> {
    match value.as_f64() {
        Some(percentage) if (0.0..=100.0).contains(&percentage) => Ok(()),
        Some(_) => Err("Value must be between 0 and 100".to_owned()),
        None => Err("Expected value of type Number".to_owned()),
    }
}
