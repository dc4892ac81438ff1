//! Reads `ItemReader` of a distributed Map state.

use serde_json::Value;

use super::map::is_count;
use super::reader::{Fields, Reader};
use super::{Dynamic, Format, Language, Resource, template};

pub(super) fn read(reader: &mut Reader, fields: &Fields<'_>) -> Option<super::Reader> {
    let place = fields.at("ItemReader");
    let object = reader.object(fields.get("ItemReader")?, &place)?;
    let own = Fields { object, place: &place, language: fields.language };
    let name = match own.language {
        Language::JsonPath => "Parameters",
        Language::Jsonata => "Arguments",
    };
    super::map::check_arguments(reader, &own);
    let arguments = own.get(name).cloned();
    if let Some(arguments) = &arguments {
        template::check(reader, own.language, arguments, &own.at(name));
    }
    reader.required(&own, "Resource")?;
    let arn = reader.text(&own, "Resource")?;
    let resource = Resource::parse(&arn).filter(|resource| {
        resource.event_type() == "s3"
            && matches!(&resource.event_resource()[..], "getObject" | "listObjectsV2")
    });
    let Some(resource) = resource else {
        reader.error(&own.at("Resource"), "Value is not a valid resource ARN");
        return None;
    };
    let config = match own.get("ReaderConfig") {
        None => Config::default(),
        Some(value) => {
            let place = own.at("ReaderConfig");
            let object = reader.object(value, &place)?;
            read_config(reader, &Fields { object, place: &place, language: own.language })?
        }
    };
    if config.format.is_none() && resource.event_resource() == "getObject" {
        reader.error(&own.at("ReaderConfig"), "The field 'InputType' is required but was missing");
    }
    Some(super::Reader {
        resource,
        arguments,
        format: config.format,
        csv_headers: config.csv_headers,
        csv_delimiter: config.csv_delimiter,
        max_items: config.max_items,
        items_pointer: config.items_pointer,
        manifest_type: config.manifest_type,
        transformation: config.transformation,
    })
}

struct Config {
    format: Option<Format>,
    csv_headers: Option<Vec<String>>,
    csv_delimiter: char,
    max_items: Option<Dynamic>,
    items_pointer: Option<String>,
    manifest_type: Option<String>,
    transformation: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            format: None,
            csv_headers: None,
            csv_delimiter: ',',
            max_items: None,
            items_pointer: None,
            manifest_type: None,
            transformation: None,
        }
    }
}

fn read_config(reader: &mut Reader, fields: &Fields<'_>) -> Option<Config> {
    reader.not_in_language(fields, &[(Language::JsonPath, "MaxItemsPath")]);
    let format = match reader.text(fields, "InputType") {
        None => None,
        Some(text) => {
            let format = Format::from_name(&text);
            if format.is_none() {
                let words = ["CSV", "JSON", "JSONL", "MANIFEST", "PARQUET"];
                reader.no_such_word(fields, "InputType", &words);
            }
            format
        }
    };
    let csv_headers = match fields.get("CSVHeaderLocation").map(Value::as_str) {
        None if format == Some(Format::Csv) => {
            reader.error(fields.place, "The field 'CSVHeaderLocation' is required but was missing");
            None
        }
        None | Some(Some("FIRST_ROW")) => None,
        Some(Some("GIVEN")) => {
            reader.required(fields, "CSVHeaders");
            Some(reader.texts(fields, "CSVHeaders"))
        }
        Some(_) => {
            reader.no_such_word(fields, "CSVHeaderLocation", &["FIRST_ROW", "GIVEN"]);
            None
        }
    };
    Some(Config {
        format,
        csv_headers,
        csv_delimiter: delimiter(reader, fields),
        max_items: reader.dynamic(fields, "MaxItems", is_count),
        items_pointer: pointer(reader, fields),
        manifest_type: reader.one_of(fields, "ManifestType", &["ATHENA_DATA", "S3_INVENTORY"]),
        transformation: reader.one_of(fields, "Transformation", &["NONE", "LOAD_AND_FLATTEN"]),
    })
}

/// A JSON pointer.
fn pointer(reader: &mut Reader, fields: &Fields<'_>) -> Option<String> {
    let pointer = reader.text(fields, "ItemsPointer")?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        let message = format!("Value is not a valid JSON pointer: {pointer}");
        reader.error(&fields.at("ItemsPointer"), message);
    }
    Some(pointer)
}

fn delimiter(reader: &mut Reader, fields: &Fields<'_>) -> char {
    match reader.text(fields, "CSVDelimiter").as_deref() {
        None | Some("COMMA") => ',',
        Some("PIPE") => '|',
        Some("SEMICOLON") => ';',
        Some("SPACE") => ' ',
        Some("TAB") => '\t',
        Some(_) => {
            let words = ["COMMA", "PIPE", "SEMICOLON", "SPACE", "TAB"];
            reader.no_such_word(fields, "CSVDelimiter", &words);
            ','
        }
    }
}
