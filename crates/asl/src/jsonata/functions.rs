//! The functions that Step Functions adds to JSONata, those it replaces, and those of the fence.

use std::collections::BTreeSet;
use std::rc::Rc;

use jsonata_core::evaluator::{Evaluator, EvaluatorError};
use jsonata_core::functions::string;
use jsonata_core::value::JValue;

use super::convert::{Budget, from_json};
use super::fence;
use crate::env::{Env, Random};
use crate::intrinsic;

/// AWS's words for an expression that takes too much memory.
pub(super) const MEMORY_EXCEEDED: &str = "Expression evaluation memory limit exceeded";
const TIMED_OUT: &str = "Expression evaluation timeout: Check for infinite loop";
/// Items that AWS's `$range` makes at most.
const RANGE_ITEMS_MAX: f64 = 360_145.0;
/// What a character of a text is charged where an item may be made of each.
const SPLIT_SIZE: u64 = 32;
/// Characters of a text that a partially applied `$replace` puts in.
const SHORT_BYTES_MAX: usize = 1_000;

type Result = std::result::Result<JValue, EvaluatorError>;

/// AWS's words for an expression that nests too deep.
pub(super) fn too_deep() -> String {
    "Stack overflow error: Check for non-terminating recursive function.  Consider rewriting as tail-recursive. \
     Depth=101 max=100"
        .to_owned()
}

/// An error of the evaluator as AWS words it: the same but for those of the limits.
pub(super) fn in_aws_words(message: &str) -> String {
    match message.get(..5) {
        Some("D1012" | "U1003") => TIMED_OUT.to_owned(),
        Some("D1011" | "U1001") => too_deep(),
        Some("D2014" | "D2015") => MEMORY_EXCEEDED.to_owned(),
        Some("T1006") => "T1006: Attempted to invoke a non-function".to_owned(),
        _ => message.to_owned(),
    }
}

fn error(message: &str) -> EvaluatorError {
    EvaluatorError::EvaluationError(message.to_owned())
}

fn mismatch(function: &str, argument: usize) -> EvaluatorError {
    EvaluatorError::TypeError(format!(
        "T0410: Argument {argument} of function \"{function}\" does not match function signature"
    ))
}

/// Makes all of them known to an evaluator.
pub(super) fn register(
    evaluator: &mut Evaluator,
    env: &Env<'_>,
    budget: &Rc<Budget>,
) -> std::result::Result<(), EvaluatorError> {
    register_fence(evaluator, budget)?;
    register_clock(evaluator, env)?;
    let random = Rc::new(Random::new(env.random.draw()));
    let draws = Rc::clone(&random);
    evaluator.register_fn_override("random", move |args: &[JValue]| draw(args, &draws))?;
    let draws = Rc::clone(&random);
    evaluator.register_fn_override("shuffle", move |args: &[JValue]| shuffle(args, &draws))?;
    evaluator
        .register_fn("uuid", move |_: &[JValue]| Ok(JValue::string(intrinsic::uuid(&random))))?;
    evaluator.register_fn_override("eval", |_: &[JValue]| {
        Err(EvaluatorError::ReferenceError("T1006: Attempted to invoke a non-function".to_owned()))
    })?;
    evaluator.register_fn("parse", parse)?;
    evaluator.register_fn("hash", hash)?;
    evaluator.register_fn("partition", partition)?;
    evaluator.register_fn("range", range)
}

fn register_fence(
    evaluator: &mut Evaluator,
    budget: &Rc<Budget>,
) -> std::result::Result<(), EvaluatorError> {
    let mut add = |name: &str, check: fn(&[JValue], &Budget) -> Result| {
        let budget = Rc::clone(budget);
        evaluator.register_fn(name, move |args: &[JValue]| check(args, &budget))
    };
    add(fence::CHARGE, |args, budget| {
        budget.charge_value(first(args)).map_err(error)?;
        Ok(unwrapped(first(args)))
    })?;
    add(fence::CHARGE_ITEMS, |args, budget| {
        let items = first(args).as_array().map_or(1, Vec::len);
        budget.charge(items as u64 * 8).map_err(error)?;
        Ok(unwrapped(first(args)))
    })?;
    add(fence::RANGE, whole_range)?;
    add(fence::CHECK_REPLACE, check_replace)?;
    add(fence::CHECK_SHORT, |args, _| match first(args) {
        JValue::String(text) if text.len() > SHORT_BYTES_MAX => Err(error(MEMORY_EXCEEDED)),
        other => Ok(other.clone()),
    })?;
    add(fence::CHECK_COUNT, |args, budget| match first(args) {
        JValue::Number(number) if number.abs() > size_f64(budget.value_size()) => {
            Err(error(MEMORY_EXCEEDED))
        }
        other => Ok(other.clone()),
    })?;
    add(fence::CHARGE_SPLIT, |args, budget| {
        if let JValue::String(text) = first(args) {
            budget.charge(text.len() as u64 * SPLIT_SIZE).map_err(error)?;
        }
        Ok(first(args).clone())
    })?;
    add(fence::FENCED, |args, _| match first(args) {
        JValue::Builtin { name } if &**name == "join" => Ok(JValue::builtin(fence::JOIN)),
        JValue::Builtin { name } if &**name == "distinct" => Ok(JValue::builtin(fence::DISTINCT)),
        JValue::Builtin { name } if &**name == "pad" => Ok(JValue::builtin(fence::PAD)),
        other => Ok(other.clone()),
    })?;
    add(fence::JOIN, join)?;
    add(fence::DISTINCT, distinct)?;
    add(fence::PAD, pad)
}

fn register_clock(
    evaluator: &mut Evaluator,
    env: &Env<'_>,
) -> std::result::Result<(), EvaluatorError> {
    let millis = i64::try_from(env.now.as_millis()).unwrap_or(i64::MAX);
    evaluator.register_fn_override("millis", move |_: &[JValue]| Ok(JValue::from_i64(millis)))?;
    evaluator.register_fn_override("now", move |args: &[JValue]| {
        if args.is_empty() || args.iter().all(JValue::is_undefined) {
            return Ok(JValue::string(iso(millis)));
        }
        formatted(millis, args)
    })
}

/// `$now(picture, timezone)`: what `$fromMillis` makes of this time.
fn formatted(millis: i64, args: &[JValue]) -> Result {
    let text = |at: usize| args.get(at).and_then(JValue::as_str).unwrap_or("");
    let mut inner = Evaluator::new();
    let call = jsonata_core::ast::AstNode::Function {
        name: "fromMillis".to_owned(),
        args: std::iter::once(millis.to_string())
            .map(|digits| jsonata_core::ast::AstNode::Number(digits.parse().unwrap_or(0.0)))
            .chain(
                (0..args.len().min(2))
                    .map(|at| jsonata_core::ast::AstNode::String(text(at).to_owned())),
            )
            .collect(),
        is_builtin: true,
    };
    inner.evaluate(&call, &JValue::Undefined)
}

/// A time as JavaScript's `toISOString` prints it.
fn iso(millis: i64) -> String {
    let days = millis.div_euclid(86_400_000);
    let rest = millis.rem_euclid(86_400_000);
    // Howard Hinnant's days-to-civil.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// An argument as the result of a call. A sequence of one was replaced by its item when the argument was
/// evaluated, and will be again when the result is, so an item that is such a sequence must not be one.
fn unwrapped(value: &JValue) -> JValue {
    match value {
        JValue::Array(items) if items.sequence && items.len() < 2 => value.bare(),
        other => other.clone(),
    }
}

fn first(args: &[JValue]) -> &JValue {
    args.first().unwrap_or(&JValue::Undefined)
}

#[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
fn size_f64(size: u64) -> f64 {
    size as f64
}

/// `a..b` inside of an array constructor.
fn whole_range(args: &[JValue], budget: &Budget) -> Result {
    let side = |at: usize, code: &str, side: &str| match args.get(at) {
        None | Some(JValue::Undefined) => Ok(None),
        Some(JValue::Number(number)) if number.fract() == 0.0 => Ok(Some(*number)),
        Some(_) => Err(EvaluatorError::TypeError(format!(
            "{code}: The {side} side of the range operator (..) must evaluate to an integer"
        ))),
    };
    let (left, right) = (side(0, "T2003", "left")?, side(1, "T2004", "right")?);
    let (Some(left), Some(right)) = (left, right) else { return Ok(JValue::Undefined) };
    if left > right {
        return Ok(JValue::Undefined);
    }
    let count = right - left + 1.0;
    if count * 8.0 > size_f64(budget.value_size()) {
        return Err(error(MEMORY_EXCEEDED));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above"
    )]
    let count = count as u64;
    budget.charge(count * 8).map_err(error)?;
    Ok(JValue::sequence((0..count).map(|at| JValue::Number(left + size_f64(at))).collect()))
}

/// Refuses what `$replace(s, pattern, by, limit)` could make too long; gives nothing.
fn check_replace(args: &[JValue], budget: &Budget) -> Result {
    let (Some(text), Some(by)) = (first(args).as_str(), args.get(2).and_then(JValue::as_str))
    else {
        return Ok(JValue::Undefined);
    };
    let pattern = args.get(1).unwrap_or(&JValue::Undefined);
    let mut matches = match pattern {
        JValue::String(part) if !part.is_empty() => text.matches(&**part).count(),
        other => match string::extract_regex(other) {
            Some((pattern, flags)) => string::build_regex(&pattern, &flags)
                .map_or(0, |regex| regex.find_iter(text).count()),
            None => text.len() + 1,
        },
    };
    if let Some(limit) = args.get(3).and_then(JValue::as_i64) {
        matches = matches.min(usize::try_from(limit).unwrap_or(0));
    }
    let captures = by.matches('$').count() as u64;
    let size = (matches as u64).saturating_mul(by.len() as u64);
    budget
        .charge(size.saturating_add((captures + 1).saturating_mul(text.len() as u64)))
        .map_err(error)?;
    Ok(JValue::Undefined)
}

/// `$join`, after what it makes is charged.
fn join(args: &[JValue], budget: &Budget) -> Result {
    let separator = match args.get(1) {
        None | Some(JValue::Undefined) => None,
        Some(JValue::String(text)) => Some(&**text),
        Some(_) => return Err(mismatch("join", 2)),
    };
    let items = match first(args) {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::String(text) => return Ok(JValue::String(Rc::clone(text))),
        JValue::Array(items) => items,
        _ => {
            return Err(EvaluatorError::TypeError(
                "T0412: Argument 1 of function \"join\" must be an array of \"s\"".to_owned(),
            ));
        }
    };
    if !items.iter().all(JValue::is_string) {
        return Err(EvaluatorError::TypeError(
            "T0412: Argument 1 of function \"join\" must be an array of \"s\"".to_owned(),
        ));
    }
    let between = separator.map_or(0, str::len) as u64;
    let size: u64 =
        items.iter().filter_map(JValue::as_str).map(|text| text.len() as u64 + between).sum();
    budget.charge(size).map_err(error)?;
    Ok(string::join(items, separator)?)
}

/// `$distinct`, by the text of each item: that of the library compares each with each.
fn distinct(args: &[JValue], budget: &Budget) -> Result {
    let JValue::Array(items) = first(args) else { return Ok(first(args).clone()) };
    budget.charge_value(first(args)).map_err(error)?;
    let mut seen = BTreeSet::new();
    let mut unique = Vec::new();
    for item in items.iter() {
        if item.is_function() || seen.insert(canonical(item)) {
            unique.push(item.clone());
        }
    }
    Ok(JValue::Array(items.with_items(unique)))
}

/// A text that equal values share.
fn canonical(value: &JValue) -> String {
    match value {
        JValue::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(name, item)| format!("{name:?}:{}", canonical(item)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        JValue::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        JValue::String(text) => format!("{text:?}"),
        JValue::Number(number) => format!("{number}"),
        other => format!("{other:?}"),
    }
}

/// `$pad` as a value: `$map(names, $pad)` and the like.
fn pad(args: &[JValue], budget: &Budget) -> Result {
    let text = match first(args) {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::String(text) => text,
        _ => return Err(mismatch("pad", 1)),
    };
    let Some(width) = args.get(1).and_then(JValue::as_f64) else { return Err(mismatch("pad", 2)) };
    if args.get(2).is_some_and(|fill| !fill.is_undefined() && !fill.is_string()) {
        return Err(mismatch("pad", 3));
    }
    let fill = args.get(2).and_then(JValue::as_str).filter(|fill| !fill.is_empty()).unwrap_or(" ");
    if width.abs() > size_f64(budget.value_size()) {
        return Err(error(MEMORY_EXCEEDED));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked just above"
    )]
    let missing = (width.abs() as usize).saturating_sub(text.chars().count());
    budget.charge((missing + text.len()) as u64).map_err(error)?;
    let filling: String = fill.chars().cycle().take(missing).collect();
    Ok(JValue::string(if width < 0.0 {
        format!("{filling}{text}")
    } else {
        format!("{text}{filling}")
    }))
}

/// `$random()`, and `$random(seed)`, which is the same for the same seed.
fn draw(args: &[JValue], random: &Random) -> Result {
    let bits = match first(args) {
        JValue::Undefined => random.draw(),
        JValue::Number(seed) => Random::new(seed.to_bits()).draw(),
        _ => return Err(mismatch("random", 1)),
    };
    Ok(JValue::Number(size_f64(bits >> 11) / size_f64(1 << 53)))
}

fn shuffle(args: &[JValue], random: &Random) -> Result {
    let JValue::Array(items) = first(args) else { return Ok(first(args).clone()) };
    let mut items: Vec<JValue> = items.iter().cloned().collect();
    for at in (1..items.len()).rev() {
        let other = usize::try_from(random.draw() % (at as u64 + 1)).unwrap_or(0);
        items.swap(at, other);
    }
    Ok(JValue::array(items))
}

fn parse(args: &[JValue]) -> Result {
    match first(args) {
        JValue::Undefined => Ok(JValue::Undefined),
        JValue::String(text) => match intrinsic::parse_json(text) {
            Some(value) => Ok(from_json(&value)),
            None => Err(error("D3120: Invalid JSON in argument 1 of function \"parse\"")),
        },
        _ => Err(mismatch("parse", 1)),
    }
}

fn hash(args: &[JValue]) -> Result {
    match (first(args), args.get(1)) {
        (JValue::Undefined, _) | (_, None | Some(JValue::Undefined)) => Ok(JValue::Undefined),
        (JValue::String(text), Some(JValue::String(algorithm))) => {
            match intrinsic::hash(text, algorithm) {
                Some(digest) => Ok(JValue::string(digest)),
                None => Err(error("D3120: Unknown algorithm in argument 2 of function \"hash\"")),
            }
        }
        (JValue::String(_), _) => Err(mismatch("hash", 2)),
        _ => Err(mismatch("hash", 1)),
    }
}

/// `$partition(array, size)`; nothing for an empty array or a size of 0 or of no number. A fraction is
/// cut off.
fn partition(args: &[JValue]) -> Result {
    let single;
    let items: &[JValue] = match first(args) {
        JValue::Undefined => return Ok(JValue::Undefined),
        JValue::Array(items) => items,
        other => {
            single = [other.clone()];
            &single
        }
    };
    let size = match args.get(1) {
        None | Some(JValue::Undefined) => return Ok(JValue::Undefined),
        Some(JValue::Number(size)) => size.trunc(),
        Some(_) => return Err(mismatch("partition", 2)),
    };
    if size.is_nan() || size < 1.0 || items.is_empty() {
        return Ok(JValue::Undefined);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not below 1; a cast saturates"
    )]
    let size = size as usize;
    Ok(JValue::array(items.chunks(size).map(|chunk| JValue::array(chunk.to_vec())).collect()))
}

/// `$range(first, last, step)`; nothing without a step, or where the step leads away. One item is itself.
fn range(args: &[JValue]) -> Result {
    let mut numbers = [0.0; 3];
    for (at, number) in numbers.iter_mut().enumerate() {
        *number = match args.get(at) {
            None | Some(JValue::Undefined) => return Ok(JValue::Undefined),
            Some(JValue::Number(number)) => number.trunc(),
            Some(_) => return Err(mismatch("range", at + 1)),
        };
    }
    let [first, last, step] = numbers;
    let count = ((last - first) / step).floor() + 1.0;
    if step == 0.0 || !count.is_finite() || count < 1.0 {
        return Ok(JValue::Undefined);
    }
    if count > RANGE_ITEMS_MAX {
        return Err(error(MEMORY_EXCEEDED));
    }
    // Counted, since a large number does not grow by a small step.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to the most that is allowed"
    )]
    let count = count as u32;
    let items = (0..count).map(|at| JValue::Number(first + f64::from(at) * step)).collect();
    Ok(JValue::sequence(items))
}
