//! Goes through the instructions of functions, to find those whose effect cannot be saved.

use super::module::Reader;

/// What the instructions seen so far do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) exceptions: bool,
    pub(super) table_writes: bool,
    pub(super) atomics: bool,
    pub(super) objects: bool,
}

/// Looks at one function: its locals, then its instructions.
///
/// # Errors
/// An instruction that is not known.
pub(super) fn scan(body: &[u8], used: &mut Used) -> Result<(), String> {
    let mut reader = Reader { bytes: body, at: 0 };
    reader.each(|reader| {
        reader.u32()?;
        reader.value_type().map(|_| ())
    })?;
    while reader.at < body.len() {
        instruction(&mut reader, used)?;
    }
    Ok(())
}

/// Passes over a constant expression. Returns its value where it is one `i32.const`.
///
/// # Errors
/// An instruction that is not known.
pub(super) fn skip_expression(reader: &mut Reader<'_>) -> Result<Option<u32>, String> {
    const I32_CONST: u8 = 0x41;
    const END: u8 = 0x0b;
    let mut look = *reader;
    if look.byte()? == I32_CONST {
        let value = look.i32()?;
        if look.byte()? == END {
            *reader = look;
            return Ok(Some(value.cast_unsigned()));
        }
    }
    while reader.bytes.get(reader.at) != Some(&END) {
        instruction(reader, &mut Used::default())?;
    }
    reader.byte()?;
    Ok(None)
}

/// The global that a function of the form `global.get N` returns.
pub(super) fn global_returned(body: &[u8]) -> Option<u32> {
    const GLOBAL_GET: u8 = 0x23;
    let mut reader = Reader { bytes: body, at: 0 };
    let is_plain = reader.u32() == Ok(0) && reader.byte() == Ok(GLOBAL_GET);
    if is_plain { reader.u32().ok() } else { None }
}

fn instruction(reader: &mut Reader<'_>, used: &mut Used) -> Result<(), String> {
    let at = reader.at;
    let opcode = reader.byte()?;
    match opcode {
        0x06..=0x0a | 0x18 | 0x19 | 0x1f => {
            // Their further parts are of no interest: the module is refused.
            used.exceptions = true;
            reader.at = reader.bytes.len();
        }
        0xfe => {
            used.atomics = true;
            reader.at = reader.bytes.len();
        }
        0xfb | 0x14 | 0x15 | 0xd3..=0xd6 => {
            used.objects = true;
            reader.at = reader.bytes.len();
        }
        0x00 | 0x01 | 0x05 | 0x0b | 0x0f | 0x1a | 0x1b | 0x45..=0xc4 | 0xd1 => {}
        // Blocks, branches, calls, locals, globals, sizes, references: one number.
        0x02..=0x04 | 0x0c | 0x0d | 0x10 | 0x12 | 0x20..=0x25 | 0x3f..=0x42 | 0xd0 | 0xd2 => {
            reader.u64()?;
        }
        0x26 => {
            used.table_writes = true;
            reader.u64()?;
        }
        0x11 | 0x13 => {
            reader.u64()?;
            reader.u64()?;
        }
        0x0e => {
            reader.each(|reader| reader.u32().map(|_| ()))?;
            reader.u32()?;
        }
        0x1c => reader.each(|reader| reader.value_type().map(|_| ()))?,
        0x28..=0x3e => memory_argument(reader)?,
        0x43 => {
            reader.take(4)?;
        }
        0x44 => {
            reader.take(8)?;
        }
        0xfc => prefixed(reader, used)?,
        0xfd => vector(reader)?,
        _ => return Err(format!("an unknown instruction {opcode:#04x} at byte {at}")),
    }
    Ok(())
}

fn memory_argument(reader: &mut Reader<'_>) -> Result<(), String> {
    const NAMES_MEMORY: u32 = 1 << 6;
    if reader.u32()? & NAMES_MEMORY != 0 {
        reader.u32()?;
    }
    reader.u64().map(|_| ())
}

fn prefixed(reader: &mut Reader<'_>, used: &mut Used) -> Result<(), String> {
    let opcode = reader.u32()?;
    used.table_writes |= matches!(opcode, 12 | 14 | 15 | 17);
    let numbers = match opcode {
        0..=7 | 19..=22 => 0,
        9 | 11 | 13 | 15..=17 => 1,
        8 | 10 | 12 | 14 => 2,
        _ => return Err(format!("an unknown instruction 0xfc {opcode}")),
    };
    (0..numbers).try_for_each(|_| reader.u64().map(|_| ()))
}

fn vector(reader: &mut Reader<'_>) -> Result<(), String> {
    match reader.u32()? {
        0..=11 | 92 | 93 => memory_argument(reader),
        12 | 13 => reader.take(16).map(|_| ()),
        21..=34 => reader.byte().map(|_| ()),
        84..=91 => {
            memory_argument(reader)?;
            reader.byte().map(|_| ())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a function without locals uses that has this instruction and what it needs.
    #[track_caller]
    fn used(instruction: &[u8]) -> Used {
        let mut used = Used::default();
        scan(&[&[0], instruction, &[0x0b]].concat(), &mut used).unwrap();
        used
    }

    #[test]
    fn all_that_changes_a_table_is_found() {
        let writes = Used { table_writes: true, ..Used::default() };
        let set: &[u8] = &[0x26, 0];
        let [init, copy, grow, fill] = [12, 14, 15, 17].map(|opcode| [0xfc, opcode, 0, 0]);
        for instruction in [set, &init, &copy, &grow[..3], &fill[..3]] {
            assert_eq!(used(instruction), writes, "{instruction:x?}");
        }
        let [drop, size] = [13, 16].map(|opcode| [0xfc, opcode, 0]);
        for instruction in [&[0x25, 0][..], &drop, &size] {
            assert_eq!(used(instruction), Used::default(), "{instruction:x?}");
        }
    }

    #[test]
    fn exceptions_threads_and_objects_are_found_and_what_is_unknown_is_an_error() {
        assert!(used(&[0x08, 0]).exceptions && used(&[0x1f, 0x40, 0]).exceptions);
        assert!(used(&[0xfe, 0x10, 2, 0]).atomics);
        assert!(used(&[0xfb, 0, 0]).objects && used(&[0x14, 0]).objects);
        // A constant whose bytes look like instructions is passed over as a whole.
        assert_eq!(used(&[0x44, 8, 8, 8, 8, 8, 8, 8, 8]), Used::default());
        assert!(scan(&[0, 0xff], &mut Used::default()).unwrap_err().contains("at byte 1"));
    }
}
