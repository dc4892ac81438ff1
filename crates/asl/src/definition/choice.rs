//! Reads what only a Choice state has.

use serde_json::{Map as Object, Value};

use super::parse::Targets;
use super::reader::{Fields, Reader};
use super::{
    Choice, ChoiceRule, Dynamic, Language, Operand, Operator, Test, flow, state, template,
};

/// How deep `And`, `Or` and `Not` may nest.
const DEPTH_MAX: usize = 64;

const OPERATORS: [(&str, Operator); 23] = [
    ("BooleanEquals", Operator::BooleanEquals),
    ("IsBoolean", Operator::IsBoolean),
    ("IsNull", Operator::IsNull),
    ("IsNumeric", Operator::IsNumeric),
    ("IsPresent", Operator::IsPresent),
    ("IsString", Operator::IsString),
    ("IsTimestamp", Operator::IsTimestamp),
    ("NumericEquals", Operator::NumericEquals),
    ("NumericGreaterThan", Operator::NumericGreaterThan),
    ("NumericGreaterThanEquals", Operator::NumericGreaterThanEquals),
    ("NumericLessThan", Operator::NumericLessThan),
    ("NumericLessThanEquals", Operator::NumericLessThanEquals),
    ("StringEquals", Operator::StringEquals),
    ("StringGreaterThan", Operator::StringGreaterThan),
    ("StringGreaterThanEquals", Operator::StringGreaterThanEquals),
    ("StringLessThan", Operator::StringLessThan),
    ("StringLessThanEquals", Operator::StringLessThanEquals),
    ("StringMatches", Operator::StringMatches),
    ("TimestampEquals", Operator::TimestampEquals),
    ("TimestampGreaterThan", Operator::TimestampGreaterThan),
    ("TimestampGreaterThanEquals", Operator::TimestampGreaterThanEquals),
    ("TimestampLessThan", Operator::TimestampLessThan),
    ("TimestampLessThanEquals", Operator::TimestampLessThanEquals),
];

pub(super) fn read(
    reader: &mut Reader,
    fields: &Fields<'_>,
    targets: &mut Targets<'_>,
) -> Option<Choice> {
    let default = match reader.text(fields, "Default") {
        None if fields.has("Default") => return None,
        None => None,
        Some(name) => Some(state::target(reader, &name, &fields.at("Default"), targets)?),
    };
    reader.required(fields, "Choices")?;
    let choices = reader.array(fields, "Choices")?;
    let place = fields.at("Choices");
    if choices.is_empty() {
        reader.empty(&place);
        return None;
    }
    let mut rules = Vec::with_capacity(choices.len());
    for (index, choice) in choices.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let Some(object) = reader.object(choice, &place) else { continue };
        let fields = Fields { object, place: &place, language: fields.language };
        rules.extend(rule(reader, &fields, targets));
    }
    (rules.len() == choices.len()).then_some(Choice { rules, default })
}

fn rule(reader: &mut Reader, fields: &Fields<'_>, targets: &mut Targets<'_>) -> Option<ChoiceRule> {
    let mut checked = |name: &str| {
        let value = fields.get(name)?;
        template::check(reader, fields.language, value, &fields.at(name));
        Some(value.clone())
    };
    let assign = checked("Assign");
    let output = checked("Output");
    if let Some(assign) = &assign {
        flow::check_assign(reader, assign, &fields.at("Assign"));
    }
    if output.is_some() && fields.language == Language::JsonPath {
        reader.error(
            fields.place,
            "Field 'Output' is not supported when 'QueryLanguage' is 'JSONPath'",
        );
    }
    let test = match fields.language {
        Language::JsonPath => test(reader, fields.object, fields.place, 0),
        Language::Jsonata => condition(reader, fields),
    };
    reader.required(fields, "Next")?;
    let next = reader.text(fields, "Next")?;
    let next = state::target(reader, &next, &fields.at("Next"), targets)?;
    Some(ChoiceRule { test: test?, next, assign, output })
}

fn condition(reader: &mut Reader, fields: &Fields<'_>) -> Option<Test> {
    if let Some(variable) = fields.object.keys().find(|key| {
        matches!(key.as_str(), "Variable" | "And" | "Or" | "Not") || operator(key).is_some()
    }) {
        reader.error(
            fields.place,
            format!("Field '{variable}' is not supported when 'QueryLanguage' is 'JSONata'"),
        );
    }
    let value = reader.required(fields, "Condition")?;
    if value.is_boolean() {
        return Some(Test::Condition(Dynamic::Fixed(value.clone())));
    }
    let query = reader.query(value, &fields.at("Condition"));
    if query.is_none() {
        reader.error(&fields.at("Condition"), "Value must be a Boolean or a JSONata expression");
    }
    query.map(|query| Test::Condition(Dynamic::Query(query)))
}

fn test(
    reader: &mut Reader,
    object: &Object<String, Value>,
    place: &str,
    depth: usize,
) -> Option<Test> {
    if depth > DEPTH_MAX {
        reader.error(place, "Choice rules are nested too deeply");
        return None;
    }
    if object.contains_key("Condition") {
        let message = "Field 'Condition' is not supported when 'QueryLanguage' is 'JSONPath'";
        reader.error(place, message);
        return None;
    }
    if let Some(value) = object.get("Not") {
        let place = format!("{place}/Not");
        let inner = reader.object(value, &place)?;
        return test(reader, inner, &place, depth + 1).map(|inner| Test::Not(Box::new(inner)));
    }
    for (name, make) in [("And", Test::And as fn(Vec<Test>) -> Test), ("Or", Test::Or)] {
        let Some(value) = object.get(name) else { continue };
        let place = format!("{place}/{name}");
        let Some(items) = value.as_array().filter(|items| !items.is_empty()) else {
            reader.empty(&place);
            return None;
        };
        let mut tests = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = format!("{place}[{index}]");
            let inner = reader.object(item, &place)?;
            tests.push(test(reader, inner, &place, depth + 1)?);
        }
        return Some(make(tests));
    }
    comparison(reader, object, place)
}

fn comparison(reader: &mut Reader, object: &Object<String, Value>, place: &str) -> Option<Test> {
    let fields = Fields { object, place, language: Language::JsonPath };
    reader.required(&fields, "Variable")?;
    let variable = reader.text(&fields, "Variable")?;
    let variable = reader.path(&variable, &fields.at("Variable"))?;
    let mut found = object.iter().filter_map(|(key, value)| {
        let (operator, by_path) = operator(key)?;
        Some((key, operator, by_path, value))
    });
    let Some((key, operator, by_path, value)) = found.next() else {
        reader.error(place, "A comparison operator is required");
        return None;
    };
    if found.next().is_some() {
        reader.error(place, "Only one comparison operator is allowed");
        return None;
    }
    let place = fields.at(key);
    let operand = if by_path {
        let text = value.as_str().unwrap_or_default();
        Operand::Path(Box::new(reader.path(text, &place)?))
    } else {
        if let Err(expected) = fits(operator, value) {
            reader.error(&place, expected);
            return None;
        }
        Operand::Value(value.clone())
    };
    Some(Test::Compare { variable: Box::new(variable), operator, operand })
}

/// The operator of that name and whether its operand is a path.
fn operator(name: &str) -> Option<(Operator, bool)> {
    let find = |name: &str| OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, op)| *op);
    if let Some(operator) = find(name) {
        return Some((operator, false));
    }
    let operator = find(name.strip_suffix("Path")?)?;
    let has_path = !matches!(
        operator,
        Operator::IsBoolean
            | Operator::IsNull
            | Operator::IsNumeric
            | Operator::IsPresent
            | Operator::IsString
            | Operator::IsTimestamp
            | Operator::StringMatches
    );
    has_path.then_some((operator, true))
}

fn fits(operator: Operator, value: &Value) -> Result<(), &'static str> {
    let (fits, expected) = match operator {
        Operator::BooleanEquals
        | Operator::IsBoolean
        | Operator::IsNull
        | Operator::IsNumeric
        | Operator::IsPresent
        | Operator::IsString
        | Operator::IsTimestamp => (value.is_boolean(), "Expected value of type Boolean"),
        Operator::NumericEquals
        | Operator::NumericGreaterThan
        | Operator::NumericGreaterThanEquals
        | Operator::NumericLessThan
        | Operator::NumericLessThanEquals => (value.is_number(), "Expected value of type Number"),
        Operator::StringEquals
        | Operator::StringGreaterThan
        | Operator::StringGreaterThanEquals
        | Operator::StringLessThan
        | Operator::StringLessThanEquals
        | Operator::StringMatches => (value.is_string(), "Expected value of type String"),
        Operator::TimestampEquals
        | Operator::TimestampGreaterThan
        | Operator::TimestampGreaterThanEquals
        | Operator::TimestampLessThan
        | Operator::TimestampLessThanEquals => (
            value.as_str().and_then(crate::time::parse).is_some(),
            "String does not match RFC3339 timestamp",
        ),
    };
    if fits { Ok(()) } else { Err(expected) }
}
