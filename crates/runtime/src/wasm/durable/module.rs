//! Reads a module's sections by hand: what a durable function's deploy has to know of it.
//!
//! The module has been validated by the compiler before; what is malformed here all the same is an
//! error, not a panic.

use super::code;

/// Section numbers of the binary format.
pub(super) mod section {
    pub(in super::super) const CUSTOM: u8 = 0;
    pub(super) const IMPORT: u8 = 2;
    pub(super) const MEMORY: u8 = 5;
    pub(super) const GLOBAL: u8 = 6;
    pub(in super::super) const EXPORT: u8 = 7;
    pub(in super::super) const START: u8 = 8;
    pub(super) const CODE: u8 = 10;
    pub(super) const DATA: u8 = 11;
    pub(super) const TAG: u8 = 13;
}

/// What a module is, as far as it matters here.
#[derive(Debug, Default)]
pub(super) struct Module<'a> {
    pub(super) sections: Vec<Section<'a>>,
    /// Module and name of each imported function, in the order of their numbers.
    pub(super) imported_functions: Vec<(&'a str, &'a str)>,
    /// Imported ones first.
    pub(super) globals: Vec<Global>,
    pub(super) imported_global_count: usize,
    pub(super) memories: Vec<Memory>,
    pub(super) exports: Vec<Export<'a>>,
    pub(super) start: Option<u32>,
    pub(super) data: Vec<Data<'a>>,
    /// One for each function of its own.
    pub(super) bodies: Vec<&'a [u8]>,
    has_tags: bool,
}

/// A section as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) id: u8,
    /// Of a custom section.
    pub(super) name: &'a str,
    /// Without its number, length and name.
    pub(super) body: &'a [u8],
    /// As it stands.
    pub(super) whole: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) is_mutable: bool,
    /// The byte of its type.
    pub(super) type_byte: u8,
}

impl Global {
    /// Whether it holds a reference, which cannot be saved.
    pub(super) const fn is_reference(self) -> bool {
        self.type_byte < 0x7b
    }

    /// What the asyncify pass adds.
    pub(super) const fn is_mutable_i32(self) -> bool {
        self.is_mutable && self.type_byte == 0x7f
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) flags: u8,
    pub(super) pages: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Export<'a> {
    pub(super) name: &'a str,
    pub(super) kind: u8,
    pub(super) index: u32,
}

/// A part of the memory as the module begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data<'a> {
    /// None where it is only copied by an instruction.
    pub(super) address: Option<u32>,
    pub(super) bytes: &'a [u8],
}

/// What an export is.
pub(super) mod kind {
    pub(in super::super) const FUNCTION: u8 = 0;
    pub(in super::super) const GLOBAL: u8 = 3;
}

impl<'a> Module<'a> {
    /// Reads all that is listed above.
    ///
    /// # Errors
    /// Where the bytes are not a module, with the place.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        const HEADER_BYTES: usize = 8;
        let mut module = Self::default();
        let mut reader = Reader { bytes, at: HEADER_BYTES };
        while reader.at < bytes.len() {
            let section = reader.section()?;
            module.sections.push(section);
            module.read(section)?;
        }
        Ok(module)
    }

    fn read(&mut self, section: Section<'a>) -> Result<(), String> {
        let mut reader = Reader { bytes: section.body, at: 0 };
        match section.id {
            section::IMPORT => reader.each(|reader| self.import(reader)),
            section::MEMORY => reader.each(|reader| {
                self.memories.push(reader.memory()?);
                Ok(())
            }),
            section::GLOBAL => reader.each(|reader| {
                self.globals.push(reader.global_type()?);
                code::skip_expression(reader).map(|_| ())
            }),
            section::EXPORT => reader.each(|reader| {
                let (name, kind, index) = (reader.name()?, reader.byte()?, reader.u32()?);
                self.exports.push(Export { name, kind, index });
                Ok(())
            }),
            section::START => {
                self.start = Some(reader.u32()?);
                Ok(())
            }
            section::CODE => reader.each(|reader| {
                let length = reader.u32()?;
                self.bodies.push(reader.take(length)?);
                Ok(())
            }),
            section::DATA => reader.each(|reader| {
                self.data.push(reader.data()?);
                Ok(())
            }),
            section::TAG => {
                self.has_tags = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn import(&mut self, reader: &mut Reader<'a>) -> Result<(), String> {
        let (module, name) = (reader.name()?, reader.name()?);
        match reader.byte()? {
            0 => {
                reader.u32()?;
                self.imported_functions.push((module, name));
            }
            1 => {
                reader.value_type()?;
                reader.limits()?;
            }
            2 => self.memories.push(reader.memory()?),
            3 => {
                self.globals.push(reader.global_type()?);
                self.imported_global_count += 1;
            }
            4 => {
                self.has_tags = true;
                reader.byte()?;
                reader.u32()?;
            }
            other => return Err(format!("an import of unknown kind {other}")),
        }
        Ok(())
    }

    /// The section of that name.
    pub(super) fn custom(&self, name: &str) -> Option<&'a [u8]> {
        let found = self
            .sections
            .iter()
            .find(|section| section.id == section::CUSTOM && section.name == name);
        found.map(|section| section.body)
    }

    /// The exported function of that name.
    pub(super) fn exported_function(&self, name: &str) -> Option<u32> {
        let found =
            self.exports.iter().find(|export| export.kind == kind::FUNCTION && export.name == name);
        found.map(|export| export.index)
    }

    pub(super) fn imports(&self, module: &str, name: &str) -> bool {
        self.imported_functions.contains(&(module, name))
    }

    /// Everything in it that cannot be saved and brought back, each in words.
    pub(super) fn obstacles(&self) -> Result<Vec<String>, String> {
        const SHARED: u8 = 2;
        const WIDE: u8 = 4;
        let mut found = Vec::new();
        if self.memories.iter().any(|memory| memory.flags & SHARED != 0) {
            found.push("its memory is shared between threads".into());
        }
        if self.memories.iter().any(|memory| memory.flags & WIDE != 0) {
            found.push("its memory has 64-bit addresses".into());
        }
        if self.memories.len() > 1 {
            found.push("it has more than one memory".into());
        }
        if self.imported_global_count > 0 {
            found.push("it imports globals".into());
        }
        let is_kept = |global: &Global| global.is_mutable && global.is_reference();
        if let Some(index) = self.globals.iter().position(is_kept) {
            found.push(format!("its global {index} holds a reference and can change"));
        }
        if self.data.iter().any(|data| data.address == Some(u32::MAX)) {
            found.push("a part of its memory begins where only its host knows".into());
        }
        let used = self.bodies.iter().try_fold(code::Used::default(), |mut used, body| {
            code::scan(body, &mut used)?;
            Ok::<_, String>(used)
        })?;
        if self.has_tags || used.exceptions {
            found.push("it uses exceptions (build with -fno-exceptions, without setjmp)".into());
        }
        if used.table_writes {
            found.push("it changes a table of functions while it runs".into());
        }
        if used.atomics {
            found.push("it uses atomic instructions, which are for threads".into());
        }
        if used.objects {
            found.push("it uses garbage-collected objects".into());
        }
        Ok(found)
    }
}

/// Goes through bytes; what is missing is an error that names the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, String> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| self.cut())?;
        self.at += 1;
        Ok(byte)
    }

    pub(super) fn take(&mut self, length: u32) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length as usize);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| self.cut())?;
        self.at += taken.len();
        Ok(taken)
    }

    /// An unsigned number in LEB128.
    pub(super) fn u64(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits.checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(format!("a number without end at byte {}", self.at))
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        u32::try_from(self.u64()?).map_err(|_| format!("a number too large at byte {}", self.at))
    }

    /// A signed number of 32 bits in LEB128.
    pub(super) fn i32(&mut self) -> Result<i32, String> {
        let mut value = 0_i64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let unused = 64 - (shift + 7);
                let signed = (value << unused) >> unused;
                return i32::try_from(signed)
                    .map_err(|_| format!("a number too large at byte {}", self.at));
            }
        }
        Err(format!("a number without end at byte {}", self.at))
    }

    pub(super) fn name(&mut self) -> Result<&'a str, String> {
        let length = self.u32()?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("no UTF-8 at byte {at}"))
    }

    pub(super) fn each(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let count = self.u32()?;
        (0..count).try_for_each(|_| item(self))
    }

    /// The first byte of a type; the number of a typed reference is passed over.
    pub(super) fn value_type(&mut self) -> Result<u8, String> {
        let first = self.byte()?;
        if matches!(first, 0x63 | 0x64) {
            self.u64()?;
        }
        Ok(first)
    }

    fn global_type(&mut self) -> Result<Global, String> {
        let type_byte = self.value_type()?;
        Ok(Global { type_byte, is_mutable: self.byte()? == 1 })
    }

    fn memory(&mut self) -> Result<Memory, String> {
        let (flags, pages) = self.limits()?;
        Ok(Memory { flags, pages })
    }

    fn limits(&mut self) -> Result<(u8, u64), String> {
        let (flags, least) = (self.byte()?, self.u64()?);
        if flags & 1 != 0 {
            self.u64()?;
        }
        Ok((flags, least))
    }

    fn data(&mut self) -> Result<Data<'a>, String> {
        let address = match self.u32()? {
            1 => None,
            sort => {
                if sort == 2 {
                    self.u32()?;
                }
                // What is not a plain number is named by the highest address; see `obstacles`.
                let constant = code::skip_expression(self)?;
                Some(constant.unwrap_or(u32::MAX))
            }
        };
        let length = self.u32()?;
        Ok(Data { address, bytes: self.take(length)? })
    }

    fn section(&mut self) -> Result<Section<'a>, String> {
        let from = self.at;
        let (id, length) = (self.byte()?, self.u32()?);
        let body = self.take(length)?;
        let whole = &self.bytes[from..self.at];
        if id != section::CUSTOM {
            return Ok(Section { id, name: "", body, whole });
        }
        let mut inside = Reader { bytes: body, at: 0 };
        let name = inside.name()?;
        Ok(Section { id, name, body: &body[inside.at..], whole })
    }

    fn cut(&self) -> String {
        format!("the module ends in the middle at byte {} of a section", self.at)
    }
}
