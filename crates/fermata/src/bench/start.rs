//! Cold starts, round trips, and calls a second.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use serde::Serialize;

use super::functions::{Function, Runtime, TOP, Task};
use super::probe::{Micros, Probe, Probed, round_trips};
use super::{Common, Origin, data_dir, save, temporary_folder};
use crate::load::closed::{self, MakeRequest, Pressure};
use crate::load::connection::invoke;
use crate::load::platform::{ANY_PORT, Deployed, Platform, Start, own_command};
use crate::load::report::rounded;
use crate::load::server::{Server, Speaks, raise_open_files};
use crate::load::table::{Cell, Style, Tone, layout, number};

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Connections for the calls a second
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    common: Common,
}

/// How much is done.
struct Amounts {
    /// Calls of the Wasm clock.
    wasm: usize,
    /// Functions deployed and called once.
    cold: usize,
    round_trips: usize,
    press: Duration,
}

impl Amounts {
    const fn of(common: &Common) -> Self {
        if common.quick {
            Self { wasm: 5, cold: 2, round_trips: 5, press: Duration::from_millis(50) }
        } else {
            Self { wasm: 2_000, cold: 40, round_trips: 10_000, press: Duration::from_secs(3) }
        }
    }
}

/// Time between calls: a calm machine, whose processors sleep before each.
const GAP: Duration = Duration::from_micros(2_300);

/// No time between them: the processors are awake, and nothing waits for anything else.
const NO_GAP: Duration = Duration::ZERO;

#[derive(Clone, Debug, Serialize)]
struct Figures {
    #[serde(flatten)]
    origin: Origin,
    /// From the request's sending to the handler's first instruction; each call has a new instance.
    wasm: Probed,
    /// The same, each call right after the answer to the one before.
    wasm_awake: Probed,
    /// The same for functions that were never called before.
    wasm_first_call: Probed,
    /// The same: no process runs that version yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_cold: Option<Probed>,
    /// The same, its process being there.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_warm: Option<Probed>,
    /// An empty Wasm function over HTTP on loopback, one call after another.
    warm_round_trip: Micros,
    bare_round_trip: BareRoundTrip,
    calls_per_s: CallsPerSecond,
    notes: Vec<String>,
}

/// What this machine asks for a request that nothing is done for, by an axum handler.
#[derive(Clone, Debug, Serialize)]
struct BareRoundTrip {
    /// As far apart as the starts are.
    apart: Micros,
    /// One after another.
    awake: Micros,
}

/// Answers a second in a closed loop, all by the same client.
#[derive(Clone, Debug, Serialize)]
struct CallsPerSecond {
    connections: usize,
    /// An empty Wasm function on this platform.
    fermata_wasm: f64,
    /// An axum handler that answers with nothing.
    bare_axum: f64,
    /// An empty component under `wasmtime serve`, where that is on the PATH.
    wasmtime_serve: Option<f64>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let origin = Origin::load(&args.common);
    origin.print("start");
    let folder = temporary_folder()?;
    let amounts = Amounts::of(&args.common);
    let data_dir = data_dir(folder.path(), "platform");
    let bench = Bench {
        platform: Platform::start(Start { policy: "xx", data_dir: &data_dir, listen: ANY_PORT })?,
        folder: folder.path(),
        amounts,
    };
    let mut notes = Vec::new();
    let Wasm { wasm, wasm_awake, wasm_first_call, warm_round_trip } = bench.wasm()?;
    let bare_round_trip = bench.bare_round_trip()?;
    let python = bench.python()?;
    let (python_cold, python_warm) = match python {
        Ok((cold, warm)) => (Some(cold), Some(warm)),
        Err(reason) => {
            notes.push(format!("no Python figures: {reason}"));
            (None, None)
        }
    };
    let (calls_per_s, note) = bench.press_all(args.connections.max(1))?;
    notes.extend(note);
    let figures = Figures {
        origin,
        wasm,
        wasm_awake,
        wasm_first_call,
        python_cold,
        python_warm,
        warm_round_trip,
        bare_round_trip,
        calls_per_s,
        notes,
    };
    show(&figures);
    save(&args.common, &figures)
}

struct Bench<'a> {
    platform: Platform,
    folder: &'a Path,
    amounts: Amounts,
}

/// See [`Figures`].
struct Wasm {
    wasm: Probed,
    wasm_awake: Probed,
    wasm_first_call: Probed,
    warm_round_trip: Micros,
}

impl Bench<'_> {
    fn wasm(&self) -> anyhow::Result<Wasm> {
        let refused = |reason| anyhow::anyhow!("Wasm is refused: {reason}");
        let first = self.deploy(Runtime::Wasm, Task::Clock, self.amounts.cold)?.map_err(refused)?;
        // One more function takes what only the very first call of a platform pays.
        let warm_up = self.deploy(Runtime::Wasm, Task::Empty, 1)?.map_err(refused)?;
        let address = self.platform.address();
        round_trips(address, &warm_up[0], TOP, 20, NO_GAP).context("call the empty function")?;
        let wasm_first_call = self.probe(first.iter().map(String::as_str).collect(), GAP)?;
        let again = |gap| self.probe(vec![first[0].as_str(); self.amounts.wasm], gap);
        let (wasm, wasm_awake) = (again(GAP)?, again(NO_GAP)?);
        let trips = self.amounts.round_trips;
        let warm_round_trip = round_trips(address, &warm_up[0], TOP, trips, NO_GAP)?;
        Ok(Wasm { wasm, wasm_awake, wasm_first_call, warm_round_trip })
    }

    fn bare_round_trip(&self) -> anyhow::Result<BareRoundTrip> {
        let server = self.bare_server()?;
        let trips = |calls, gap| round_trips(server.address(), "empty", TOP, calls, gap);
        trips(20, NO_GAP).context("call the bare server")?;
        let apart = trips(self.amounts.wasm, GAP)?;
        Ok(BareRoundTrip { apart, awake: trips(self.amounts.round_trips, NO_GAP)? })
    }

    fn python(&self) -> anyhow::Result<Result<(Probed, Probed), String>> {
        let names = match self.deploy(Runtime::Process, Task::Clock, self.amounts.cold)? {
            Ok(names) => names,
            Err(reason) => return Ok(Err(reason)),
        };
        let cold = self.probe(names.iter().map(String::as_str).collect(), GAP)?;
        let warm = self.probe(vec![names[0].as_str(); self.amounts.cold * 5], GAP)?;
        Ok(Ok((cold, warm)))
    }

    /// Deploys that many functions of the same code. Gives their names, or the refusal's reason.
    fn deploy(
        &self,
        runtime: Runtime,
        task: Task,
        count: usize,
    ) -> anyhow::Result<Result<Vec<String>, String>> {
        let mut names = Vec::new();
        for number in 0..count {
            let name = format!("{task:?}-{runtime:?}-{number}").to_lowercase();
            let function = Function { name: name.clone(), runtime, task, class: TOP };
            if let Deployed::Refused(reason) = function.deploy(&self.platform, self.folder)? {
                return Ok(Err(reason));
            }
            names.push(name);
        }
        Ok(Ok(names))
    }

    fn probe(&self, functions: Vec<&str>, gap: Duration) -> anyhow::Result<Probed> {
        let first = functions.first().copied().unwrap_or_default().to_owned();
        let probe = Probe { address: self.platform.address(), functions, class: TOP, gap };
        probe.run().with_context(|| format!("call {first}"))
    }

    /// The same closed loop against each server, one after the other.
    fn press_all(&self, connections: usize) -> anyhow::Result<(CallsPerSecond, Option<String>)> {
        let connections = connections.min(raise_open_files());
        let press = |address| {
            let request: MakeRequest =
                Arc::new(move |_| invoke(address, "empty-wasm-0", TOP, Bytes::from_static(b"{}")));
            let pressure = Pressure { address, connections, length: self.amounts.press };
            closed::run(pressure, &request).map(|closed| rounded(closed.per_s))
        };
        let fermata_wasm = press(self.platform.address()).context("press the platform")?;
        let bare = self.bare_server()?;
        let bare_axum = press(bare.address()).context("press the bare server")?;
        drop(bare);
        let (wasmtime_serve, note) = match self.wasmtime_server()? {
            Ok(server) => (Some(press(server.address()).context("press wasmtime serve")?), None),
            Err(reason) => (None, Some(format!("no figure of wasmtime serve: {reason}"))),
        };
        Ok((CallsPerSecond { connections, fermata_wasm, bare_axum, wasmtime_serve }, note))
    }

    fn bare_server(&self) -> anyhow::Result<Server> {
        let executable = std::env::current_exe().context("find this program's own file")?;
        let mut command = own_command(&executable);
        command.args(["bench", "bare-server"]);
        Server::start(command, Speaks::Stdout, &self.folder.join("bare.log"))
    }

    /// `wasmtime serve` with an empty component, or why there is none.
    fn wasmtime_server(&self) -> anyhow::Result<Result<Server, String>> {
        match Command::new("wasmtime").arg("--version").output() {
            Ok(output) if output.status.success() => {}
            Ok(_) => return Ok(Err("`wasmtime --version` fails".into())),
            Err(_) => return Ok(Err("there is no `wasmtime` on the PATH".into())),
        }
        let component = self.folder.join("empty-http.wat");
        std::fs::write(&component, include_str!("guests/empty-http.wat"))
            .context("write the empty component")?;
        let mut command = Command::new("wasmtime");
        command.args(["serve", "--addr", ANY_PORT]).arg(component);
        Server::start(command, Speaks::Stderr, &self.folder.join("wasmtime.log")).map(Ok)
    }
}

fn show(figures: &Figures) {
    let faint = |text: &str| Cell::new(Tone::Faint, text);
    let heads = ["", "calls", "p50 µs", "p99 µs", "max µs", "in the platform: p50 µs", "p99 µs"];
    let mut rows = vec![heads.map(faint).to_vec()];
    let mut push = |name: &str, micros: &Micros, in_platform: Option<&Micros>| {
        let us = |value| Cell::plain(number(Some(value), false, ""));
        rows.push(vec![
            Cell::new(Tone::Head, name),
            Cell::plain(micros.count.to_string()),
            us(micros.p50_us),
            us(micros.p99_us),
            us(micros.max_us),
            in_platform.map_or_else(|| Cell::plain(""), |micros| us(micros.p50_us)),
            in_platform.map_or_else(|| Cell::plain(""), |micros| us(micros.p99_us)),
        ]);
    };
    let starts = [
        ("Wasm, a new instance each time", Some(&figures.wasm)),
        ("Wasm, right after an answer", Some(&figures.wasm_awake)),
        ("Wasm, first call of a function", Some(&figures.wasm_first_call)),
        ("Python, cold", figures.python_cold.as_ref()),
        ("Python, warm", figures.python_warm.as_ref()),
    ];
    for (name, probed) in starts {
        let Some(probed) = probed else { continue };
        push(name, &probed.start, Some(&probed.in_platform));
    }
    push("whole round trip, empty Wasm", &figures.warm_round_trip, None);
    push("the same, bare axum", &figures.bare_round_trip.awake, None);
    push("bare axum, calls apart", &figures.bare_round_trip.apart, None);
    println!("from a request's sending to its handler's first instruction, on a calm machine:\n");
    println!("{}", layout(&rows, 1, Style::for_stdout()));
    let CallsPerSecond { connections, fermata_wasm, bare_axum, wasmtime_serve } =
        &figures.calls_per_s;
    println!("calls a second over {connections} connections:");
    println!("  empty Wasm function on Fermata  {}", number(Some(*fermata_wasm), false, ""));
    println!("  bare axum handler               {}", number(Some(*bare_axum), false, ""));
    println!("  wasmtime serve                  {}", number(*wasmtime_serve, false, ""));
    for note in &figures.notes {
        println!("Note: {note}.");
    }
}
