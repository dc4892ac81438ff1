//! What the host keeps for one running guest, and how it touches the guest's memory.

use std::sync::Arc;

use wasmtime::{Caller, Extern, Memory, ResourceLimiter};

use super::abi::Reply;
use super::durable::{Streams, Turn};
use super::guest::Services;
use super::job::Job;
use super::wasi::Wasi;
use model::limits;

/// The store's data: what belongs to one guest.
pub(super) struct Host {
    pub(super) job: Arc<Job>,
    pub(super) services: Arc<Services>,
    pub(super) wasi: Wasi,
    pub(super) reply: Reply,
    /// The turn of an execution that this is, where it is one and has begun.
    pub(super) turn: Option<Box<Turn>>,
    /// Set once it is instantiated; looked up before that.
    pub(super) memory: Option<Memory>,
    /// The size it last asked for and did not get.
    pub(super) memory_refused: Option<u64>,
}

/// Why the host ends a guest in the middle of an import.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error("exit code {0}")]
    Exit(u32),
    #[error("the answer is larger than {limit} bytes")]
    ResponseTooLarge { limit: usize },
    #[error("{import}: {length} bytes at address {address} lie outside the memory of {size} bytes")]
    OutOfBounds { import: &'static str, address: u32, length: u64, size: usize },
    #[error("{0}: the module exports no memory \"memory\"")]
    NoMemory(&'static str),
    #[error("{0}: the function is not durable; deploy it with --durable")]
    NotDurable(&'static str),
    #[error("the execution begins anew")]
    Again(Vec<u8>),
    #[error("{0}")]
    Misuse(String),
}

impl Host {
    pub(super) fn new(job: Arc<Job>, services: Arc<Services>, wasi: Wasi) -> Self {
        Self {
            job,
            services,
            wasi,
            reply: Reply::default(),
            turn: None,
            memory: None,
            memory_refused: None,
        }
    }

    /// What the next turn has to know beside memory and operations.
    pub(super) fn save(&mut self) -> Streams {
        let mut streams = self.wasi.save();
        streams.reply = self.reply.rest().to_vec();
        streams.real = self.services.clock.now().0;
        streams.cpu = streams.cpu.saturating_add(self.job.cpu_now().0);
        streams
    }

    /// Goes on where `save` was.
    pub(super) fn restore(&mut self, streams: &Streams) {
        let passed = self.services.clock.now().0.saturating_sub(streams.real);
        self.wasi.restore(streams, passed);
        self.reply = Reply::of_rest(&streams.reply);
    }
}

/// Growth that is refused makes `memory.grow` return -1, which a guest may survive.
impl ResourceLimiter for Host {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired as u64 > self.services.memory_bytes_max {
            self.memory_refused = Some(desired as u64);
            return Ok(false);
        }
        self.memory_refused = None;
        self.job.grow_region(desired);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= limits::WASM_TABLE_ELEMENTS_MAX)
    }
}

/// A guest's memory together with the host's data, for the length of one import.
///
/// Every access is checked; one outside the memory is an error that ends the guest and names the
/// import.
pub(super) struct Guest<'a> {
    memory: &'a mut [u8],
    pub(super) host: &'a mut Host,
    import: &'static str,
}

impl<'a> Guest<'a> {
    pub(super) fn of(
        caller: &'a mut Caller<'_, Host>,
        import: &'static str,
    ) -> wasmtime::Result<Self> {
        let memory = match caller.data().memory {
            Some(memory) => memory,
            // Called by the module's start function, before there is an instance to ask.
            None => caller
                .get_export("memory")
                .and_then(Extern::into_memory)
                .ok_or(Stop::NoMemory(import))?,
        };
        let (memory, host) = memory.data_and_store_mut(caller);
        Ok(Self { memory, host, import })
    }

    pub(super) fn bytes(&self, address: u32, length: u32) -> wasmtime::Result<&[u8]> {
        let range = self.range(address, u64::from(length))?;
        Ok(&self.memory[range])
    }

    pub(super) fn bytes_mut(&mut self, address: u32, length: u32) -> wasmtime::Result<&mut [u8]> {
        let range = self.range(address, u64::from(length))?;
        Ok(&mut self.memory[range])
    }

    /// The bytes for reading, with the host's data for writing.
    pub(super) fn split(
        &mut self,
        address: u32,
        length: u32,
    ) -> wasmtime::Result<(&mut [u8], &mut Host)> {
        let range = self.range(address, u64::from(length))?;
        Ok((&mut self.memory[range], self.host))
    }

    pub(super) fn array<const N: usize>(&self, address: u32) -> wasmtime::Result<[u8; N]> {
        let range = self.range(address, N as u64)?;
        Ok(self.memory[range].try_into().expect("the range has this length"))
    }

    pub(super) fn read_u32(&self, address: u32) -> wasmtime::Result<u32> {
        self.array(address).map(u32::from_le_bytes)
    }

    pub(super) fn read_u64(&self, address: u32) -> wasmtime::Result<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    pub(super) fn write(&mut self, address: u32, bytes: &[u8]) -> wasmtime::Result<()> {
        let range = self.range(address, bytes.len() as u64)?;
        self.memory[range].copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn write_u32(&mut self, address: u32, value: u32) -> wasmtime::Result<()> {
        self.write(address, &value.to_le_bytes())
    }

    pub(super) fn write_u64(&mut self, address: u32, value: u64) -> wasmtime::Result<()> {
        self.write(address, &value.to_le_bytes())
    }

    /// `base` plus `count` entries of `size` bytes; an address that overflows is out of bounds.
    pub(super) fn offset(&self, base: u32, count: u32, size: u32) -> wasmtime::Result<u32> {
        let address = u64::from(base) + u64::from(count) * u64::from(size);
        u32::try_from(address).map_err(|_| self.out_of_bounds(base, address).into())
    }

    fn range(&self, address: u32, length: u64) -> wasmtime::Result<std::ops::Range<usize>> {
        let end = u64::from(address) + length;
        match usize::try_from(end) {
            Ok(end) if end <= self.memory.len() => Ok(address as usize..end),
            Ok(_) | Err(_) => Err(self.out_of_bounds(address, length).into()),
        }
    }

    fn out_of_bounds(&self, address: u32, length: u64) -> Stop {
        Stop::OutOfBounds { import: self.import, address, length, size: self.memory.len() }
    }
}
