//! Makes of a module one whose state the host can reach, and says what there is to reach.
//!
//! Each global that can change is exported, the start function becomes an export that is called in
//! the first turn only, and a section of its own marks the module. What is marked is verified again
//! wherever it is used.

use sha2::{Digest, Sha256};

use super::code;
use super::module::{Module, Section, kind, section};

/// The section that marks a module made ready for suspension.
const MARK: &str = "fermata.durable";
const MARK_VERSION: u8 = 1;
/// Arguments of a program after its name, one after the other, a NUL between them.
const ARGUMENTS: &str = "fermata.arguments";
/// Says that standard input is the request channel.
const CHANNEL: &str = "fermata.channel";
const CHANNEL_VERSION: u8 = 1;
/// Exports whose names begin so are ours.
const OWN: &str = "__fermata_";
const START: &str = "__fermata_start";

/// What the host reaches in a durable module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Layout {
    /// Exports of the globals that can change, in order.
    pub(super) globals: Vec<String>,
    /// Places in `globals` of the two that the asyncify pass added.
    pub(super) asyncify: Option<Asyncify>,
    /// The export that was the start function.
    pub(super) start: Option<&'static str>,
    /// Whether its way of suspension is to return and be called at `fermata_resume`.
    pub(super) resumes: bool,
    /// Whether it asks by reading and writing standard input.
    pub(super) has_channel: bool,
    /// Arguments of the program after its name.
    pub(in super::super) arguments: Vec<String>,
    /// The memory as it begins, without the zeros at its end.
    pub(super) initial: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asyncify {
    pub(super) state: usize,
    pub(super) data: usize,
}

/// The module with its state in reach.
///
/// # Errors
/// The module is malformed, or uses names that are ours.
pub(super) fn rewrite(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let module = Module::parse(bytes)?;
    if let Some(export) = module.exports.iter().find(|export| export.name.starts_with(OWN)) {
        return Err(format!("its export {:?} has a name that is ours", export.name));
    }
    let mut written = bytes[..8].to_vec();
    let has_exports = module.sections.iter().any(|section| section.id == section::EXPORT);
    if !has_exports {
        return Err("it exports nothing".into());
    }
    for section in &module.sections {
        match section.id {
            section::EXPORT => write_section(&mut written, section::EXPORT, &exports(&module)),
            section::START => {}
            _ => written.extend_from_slice(section.whole),
        }
    }
    append_custom(&mut written, MARK, &[MARK_VERSION]);
    Ok(written)
}

/// Adds arguments of the program, a NUL between them.
pub(in super::super) fn append_arguments(module: &mut Vec<u8>, arguments: &str) {
    append_custom(module, ARGUMENTS, arguments.as_bytes());
}

/// Says that standard input is the program's request channel.
pub(in super::super) fn mark_channel(module: &mut Vec<u8>) {
    append_custom(module, CHANNEL, &[CHANNEL_VERSION]);
}

/// Whether standard input is the program's request channel.
pub(super) fn has_channel(module: &Module<'_>) -> bool {
    module.custom(CHANNEL).is_some_and(|mark| mark == [CHANNEL_VERSION])
}

/// The hash of a program without its arguments: what packages of one interpreter have in common. None
/// where there are no arguments.
pub(in super::super) fn program_hash(bytes: &[u8]) -> Option<[u8; 32]> {
    let module = Module::parse(bytes).ok()?;
    module.custom(ARGUMENTS)?;
    let is_program =
        |section: &&Section<'_>| section.id != section::CUSTOM || section.name != ARGUMENTS;
    let mut hash = Sha256::new();
    for section in module.sections.iter().filter(is_program) {
        hash.update(section.whole);
    }
    Some(hash.finalize().into())
}

/// Adds a section that engines pass over.
fn append_custom(module: &mut Vec<u8>, name: &str, contents: &[u8]) {
    let mut body = Vec::new();
    write_name(&mut body, name);
    body.extend_from_slice(contents);
    write_section(module, section::CUSTOM, &body);
}

/// Whether a module has been made ready.
pub(super) fn is_marked(module: &Module<'_>) -> bool {
    module.custom(MARK).is_some_and(|mark| mark.first() == Some(&MARK_VERSION))
}

/// What the host reaches in a module that was made ready.
///
/// # Errors
/// It was not, or does not keep what its mark promises.
pub(in super::super) fn layout(bytes: &[u8]) -> Result<Layout, String> {
    let module = Module::parse(bytes)?;
    if !is_marked(&module) {
        return Err("it was not made ready for suspension at its deploy".into());
    }
    if module.start.is_some() {
        return Err("it is marked as ready for suspension and has a start function".into());
    }
    let mut globals = Vec::new();
    let mut numbers = Vec::new();
    for (index, _) in module.globals.iter().enumerate().filter(|(_, global)| global.is_mutable) {
        let name = global_name(index);
        let is_there = module.exports.iter().any(|export| {
            export.kind == kind::GLOBAL && export.name == name && export.index as usize == index
        });
        if !is_there {
            return Err(format!("it is marked as ready for suspension and hides global {index}"));
        }
        globals.push(name);
        numbers.push(index);
    }
    let start = module.exported_function(START).map(|_| START);
    let resumes = module.exported_function(super::RESUME).is_some();
    let asyncify = asyncify(&module)?;
    let place = |global: usize| numbers.iter().position(|number| *number == global);
    let asyncify = match asyncify {
        None => None,
        Some((state, data)) => match (place(state), place(data)) {
            (Some(state), Some(data)) => Some(Asyncify { state, data }),
            _ => return Err("what the asyncify pass added is not what it should be".into()),
        },
    };
    let arguments = match module.custom(ARGUMENTS) {
        None => Vec::new(),
        Some(section) => {
            let text = std::str::from_utf8(section);
            let text = text.map_err(|_| format!("its section {ARGUMENTS} is not UTF-8"))?;
            text.split('\0').map(str::to_owned).collect()
        }
    };
    let has_channel = has_channel(&module);
    let initial = initial(&module)?;
    Ok(Layout { globals, asyncify, start, resumes, has_channel, arguments, initial })
}

/// The numbers of the two globals that the asyncify pass added, state and data: it appends them to
/// all others, in this order.
fn asyncify(module: &Module<'_>) -> Result<Option<(usize, usize)>, String> {
    let Some(function) = module.exported_function("asyncify_get_state") else { return Ok(None) };
    let body = (function as usize).checked_sub(module.imported_functions.len());
    let body = body.and_then(|body| module.bodies.get(body));
    let state = body.and_then(|body| code::global_returned(body)).map(|state| state as usize);
    let pair = state.map(|state| (state, state + 1));
    let is_right = |index: usize| module.globals.get(index).is_some_and(|g| g.is_mutable_i32());
    match pair {
        Some((state, data)) if is_right(state) && is_right(data) => Ok(Some((state, data))),
        Some(_) | None => Err("its export \"asyncify_get_state\" is not the pass's own".into()),
    }
}

fn exports(module: &Module<'_>) -> Vec<u8> {
    let mut added = Vec::new();
    for (index, _) in module.globals.iter().enumerate().filter(|(_, global)| global.is_mutable) {
        added.push((global_name(index), kind::GLOBAL, index as u64));
    }
    if let Some(start) = module.start {
        added.push((START.to_owned(), kind::FUNCTION, u64::from(start)));
    }
    let mut body = Vec::new();
    write_number(&mut body, (module.exports.len() + added.len()) as u64);
    for export in &module.exports {
        write_name(&mut body, export.name);
        body.push(export.kind);
        write_number(&mut body, u64::from(export.index));
    }
    for (name, kind, index) in added {
        write_name(&mut body, &name);
        body.push(kind);
        write_number(&mut body, index);
    }
    body
}

fn initial(module: &Module<'_>) -> Result<Vec<u8>, String> {
    let size = module.memories.first().map_or(0, |memory| memory.pages << 16);
    let mut initial = Vec::new();
    for data in &module.data {
        let Some(address) = data.address else { continue };
        let (from, end) = (address as usize, address as usize + data.bytes.len());
        if end as u64 > size {
            return Err("a part of its memory lies outside of it".into());
        }
        if initial.len() < end {
            initial.resize(end, 0);
        }
        initial[from..end].copy_from_slice(data.bytes);
    }
    let used = initial.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    initial.truncate(used);
    Ok(initial)
}

fn global_name(index: usize) -> String {
    format!("{OWN}global_{index}")
}

fn write_section(to: &mut Vec<u8>, id: u8, body: &[u8]) {
    to.push(id);
    write_number(to, body.len() as u64);
    to.extend_from_slice(body);
}

fn write_name(to: &mut Vec<u8>, name: &str) {
    write_number(to, name.len() as u64);
    to.extend_from_slice(name.as_bytes());
}

fn write_number(to: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            to.push(low);
            return;
        }
        to.push(low | 0x80);
    }
}
