//! `/metrics` in the Prometheus text format (OpenMetrics).

use axum::http::header;
use axum::response::{IntoResponse, Response};
use node::{ClassStatus, MachineStatus, MemoryStatus, NodesStatus, Phase, RuntimeStatus, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(crate) fn respond(status: &Status) -> Response {
    let mut registry = Registry::with_prefix("fermata");
    registry.register_collector(Box::new(Snapshot(status.clone())));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response(),
        Err(error) => {
            let problem = node::Error::new(node::ErrorKind::Internal, "cannot render the metrics");
            crate::problem::Problem::from(problem.because(error)).into_response()
        }
    }
}

#[derive(Debug)]
struct Snapshot(Status);

/// Exemplars would carry labels; there are none.
type NoLabels = [(String, String); 0];

type Encoded = Result<(), std::fmt::Error>;

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        let status = &self.0;
        lanes(&mut encoder, &status.classes)?;
        ends(&mut encoder, &status.classes)?;
        latency(&mut encoder, &status.classes)?;
        machines(&mut encoder, &status.machines, &status.classes)?;
        runtimes(&mut encoder, &status.runtimes)?;
        swapping(&mut encoder, &status.memory, &status.classes)?;
        nodes(&mut encoder, &status.nodes)?;
        gauge(
            &mut encoder,
            "async_pending",
            "Asynchronous calls not settled",
            status.async_pending,
        )?;
        let help = "Receipts not in the store yet";
        gauge(&mut encoder, "receipts_pending", help, status.receipts_pending)?;
        let help = "The version that runs and its scheduling policy";
        let mut info = encoder.encode_descriptor("build", help, None, MetricType::Info)?;
        info.encode_info(&[("version", env!("CARGO_PKG_VERSION")), ("policy", &status.policy)])
    }
}

/// This node among those that share the store.
fn nodes(encoder: &mut DescriptorEncoder<'_>, nodes: &NodesStatus) -> Encoded {
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    gauge(encoder, "nodes", "Nodes that share the store", wide(nodes.nodes))?;
    let help = "Partitions of executions that this node has";
    gauge(encoder, "partitions", help, wide(nodes.partitions))?;
    let help = "Partitions of executions that this node took, lost, and was refused a step in";
    let mut family = encoder.encode_descriptor("leases", help, None, MetricType::Counter)?;
    let events = [("taken", nodes.taken), ("lost", nodes.lost), ("fenced", nodes.fenced)];
    for (event, count) in events {
        counter(&mut family, &[("event", event)], count)?;
    }
    let help = "Requests to other nodes, those not answered in time, and those of other nodes";
    let mut family = encoder.encode_descriptor("hops", help, None, MetricType::Counter)?;
    let ends = [("sent", nodes.hops), ("failed", nodes.hops_failed), ("answered", nodes.answered)];
    for (end, count) in ends {
        counter(&mut family, &[("event", end)], count)?;
    }
    Ok(())
}

/// Where invocations are now.
fn lanes(encoder: &mut DescriptorEncoder<'_>, classes: &[ClassStatus]) -> Encoded {
    let help = "Invocations under way, by class and place";
    let mut family = encoder.encode_descriptor("invocations", help, None, MetricType::Gauge)?;
    for class in classes {
        let places = [
            ("queued", class.queued),
            ("waiting", class.waiting),
            ("running", class.running),
            ("preempted", class.preempted),
            ("blocked", class.blocked),
        ];
        for (place, count) in places {
            let labels = [("class", class.name.as_str()), ("place", place)];
            family.encode_family(&labels)?.encode_gauge(&wide(count))?;
        }
    }
    Ok(())
}

/// What became of them since the start.
fn ends(encoder: &mut DescriptorEncoder<'_>, classes: &[ClassStatus]) -> Encoded {
    let help = "Invocations that ended, by class and outcome";
    let mut family = encoder.encode_descriptor("ended", help, None, MetricType::Counter)?;
    for class in classes {
        let outcomes =
            [("succeeded", class.succeeded), ("failed", class.failed), ("refused", class.refused)];
        for (outcome, count) in outcomes {
            counter(&mut family, &[("class", &class.name), ("outcome", outcome)], count)?;
        }
    }
    let help = "Times that a function lost its core to a higher class";
    let mut family = encoder.encode_descriptor("preemptions", help, None, MetricType::Counter)?;
    for class in classes {
        counter(&mut family, &[("class", &class.name)], class.preemptions)?;
    }
    let (help, unit) = ("CPU time billed, by effective class", Some(&Unit::Seconds));
    let mut family = encoder.encode_descriptor("cpu", help, unit, MetricType::Counter)?;
    for class in classes {
        let seconds = class.cpu.as_duration().as_secs_f64();
        let labels = [("class", class.name.as_str())];
        family.encode_family(&labels)?.encode_counter::<NoLabels, f64, f64>(&seconds, None)?;
    }
    Ok(())
}

fn latency(encoder: &mut DescriptorEncoder<'_>, classes: &[ClassStatus]) -> Encoded {
    let (help, unit) = ("Latency by class and phase", Some(&Unit::Seconds));
    let mut family = encoder.encode_descriptor("latency", help, unit, MetricType::Histogram)?;
    for class in classes {
        for (phase, histogram) in &class.phases {
            let bounds = histogram.bounds.iter().map(std::time::Duration::as_secs_f64);
            let bounds = bounds.chain([f64::MAX]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
            let labels = [("class", class.name.as_str()), ("phase", phase_name(*phase))];
            let (sum, count) = (histogram.sum.as_secs_f64(), histogram.counts.iter().sum());
            let mut metric = family.encode_family(&labels)?;
            metric.encode_histogram::<NoLabels>(sum, count, &buckets, None)?;
        }
    }
    Ok(())
}

fn machines(
    encoder: &mut DescriptorEncoder<'_>,
    machines: &[MachineStatus],
    classes: &[ClassStatus],
) -> Encoded {
    let help = "Cores held, by machine and class";
    let mut family = encoder.encode_descriptor("cores_held", help, None, MetricType::Gauge)?;
    for machine in machines {
        let name = machine.id.to_string();
        for (class, held) in classes.iter().zip(&machine.cores_held) {
            let labels = [("machine", name.as_str()), ("class", &class.name)];
            family.encode_family(&labels)?.encode_gauge(&wide(*held))?;
        }
    }
    let help = "Cores of each machine";
    let mut family = encoder.encode_descriptor("cores", help, None, MetricType::Gauge)?;
    for machine in machines {
        let name = machine.id.to_string();
        family.encode_family(&[("machine", &name)])?.encode_gauge(&wide(machine.cores))?;
    }
    let (help, unit) = ("Memory of functions, by machine", Some(&Unit::Bytes));
    let mut family = encoder.encode_descriptor("memory", help, unit, MetricType::Gauge)?;
    for machine in machines {
        let name = machine.id.to_string();
        for (what, bytes) in [("total", machine.memory_total), ("used", machine.memory_used)] {
            let labels = [("machine", name.as_str()), ("what", what)];
            family.encode_family(&labels)?.encode_gauge(&bytes.0)?;
        }
    }
    Ok(())
}

fn runtimes(encoder: &mut DescriptorEncoder<'_>, runtimes: &[RuntimeStatus]) -> Encoded {
    let help = "Whether a runtime can start functions";
    let mut family = encoder.encode_descriptor("runtime_up", help, None, MetricType::Gauge)?;
    for runtime in runtimes {
        let is_up = u64::from(runtime.trouble.is_none());
        family.encode_family(&[("kind", runtime.kind.as_str())])?.encode_gauge(&is_up)?;
    }
    let help = "Times that a part of a runtime died and was started again";
    let name = "runtime_restarts";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for runtime in runtimes {
        counter(&mut family, &[("kind", runtime.kind.as_str())], runtime.restarts)?;
    }
    Ok(())
}

/// What was swapped, whose, and what swap holds.
fn swapping(
    encoder: &mut DescriptorEncoder<'_>,
    memory: &MemoryStatus,
    classes: &[ClassStatus],
) -> Encoded {
    let each_swap = || {
        let both = [("file", memory.swap), ("system", memory.system_swap)];
        both.into_iter().filter_map(|(place, swap)| Some((place, swap?)))
    };
    let help = "The swap file of Wasm functions, and the system's swap, where processes are moved";
    let unit = Some(&Unit::Bytes);
    let mut family = encoder.encode_descriptor("swap", help, unit, MetricType::Gauge)?;
    for (place, swap) in each_swap() {
        for (what, bytes) in [("total", swap.total), ("used", swap.used), ("held", swap.held)] {
            family.encode_family(&[("place", place), ("what", what)])?.encode_gauge(&bytes.0)?;
        }
    }
    let help = "Bytes of functions through each swap; zeros were not written";
    let mut family = encoder.encode_descriptor("swap_io", help, unit, MetricType::Counter)?;
    for (place, swap) in each_swap() {
        let ways = [("written", swap.written), ("read", swap.read), ("zeros", swap.zeros)];
        for (way, bytes) in ways {
            counter(&mut family, &[("place", place), ("way", way)], bytes.0)?;
        }
    }
    let each = || classes.iter().map(|class| class.name.as_str()).zip(&memory.classes);
    let help = "Functions by class whose memory is swapped out, or that wait for memory";
    let mut family = encoder.encode_descriptor("memory_lanes", help, None, MetricType::Gauge)?;
    for (name, class) in each() {
        for (place, count) in [("swapped", class.swapped), ("waiting", class.waiting)] {
            let labels = [("class", name), ("place", place)];
            family.encode_family(&labels)?.encode_gauge(&wide(count))?;
        }
    }
    let help = "Functions swapped out, brought back, not swappable and killed for memory, by class";
    let mut family = encoder.encode_descriptor("memory_acts", help, None, MetricType::Counter)?;
    for (name, class) in each() {
        let acts = [
            ("swapped_out", class.swap_outs),
            ("swapped_in", class.swap_ins),
            ("failed", class.swap_failures),
            ("killed", class.kills),
            ("idle_freed", class.idle_freed),
            ("executions_freed", class.executions_freed),
        ];
        for (act, count) in acts {
            counter(&mut family, &[("class", name), ("act", act)], count)?;
        }
    }
    let (help, unit) = ("Memory swapped, by class", Some(&Unit::Bytes));
    let mut family = encoder.encode_descriptor("swapped", help, unit, MetricType::Counter)?;
    for (name, class) in each() {
        for (way, bytes) in [("out", class.swapped_out), ("in", class.swapped_in)] {
            counter(&mut family, &[("class", name), ("way", way)], bytes.0)?;
        }
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Encoded {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

fn counter(family: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: u64) -> Encoded {
    let labels: Vec<(&str, &str)> = labels.to_vec();
    family.encode_family(&labels)?.encode_counter::<NoLabels, u64, f64>(&value, None)
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Waiting => "waiting",
        Phase::Starting => "starting",
        Phase::Preempted => "preempted",
        Phase::Blocked => "blocked",
        Phase::Running => "running",
        Phase::Total => "total",
        Phase::Memory => "memory",
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
