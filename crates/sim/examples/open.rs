//! A workload that other simulators can express too: Poisson arrivals, exponential run times, more
//! cores than are ever busy. Prints one line of JSON; `cargo xtask simfaas` compares.
//!
//! `cargo run --release -p fermata-sim --example open RATE MEAN_S LENGTH_S`
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use std::time::Instant;

use model::{ClassId, PriceList};
use sim::random::{Purpose, Stream};
use sim::workload::{Arrival, Arrivals, Phases, Workload};
use sim::{WorldConfig, find, simulate};

const CORES: usize = 256;

#[derive(Debug)]
struct Open {
    rate: f64,
    mean_s: f64,
    length_s: f64,
    prices: PriceList,
}

impl Workload for Open {
    fn arrivals(&self, seed: u64) -> Arrivals<'_> {
        let mut arrival = Stream::new(seed, Purpose::Arrival);
        let mut run_time = Stream::new(seed, Purpose::RunTime);
        let mut at_s = 0.0;
        Box::new(std::iter::from_fn(move || {
            at_s += arrival.exponential() / self.rate;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive; saturates"
            )]
            let ns = |s: f64| (s * 1e9) as u64;
            let cpu_ns = ns(run_time.exponential() * self.mean_s).max(1);
            let class = ClassId(0);
            let arrival = Arrival { at_ns: ns(at_s), function: 0, class, cpu_ns, memory_peak: 0 };
            (at_s < self.length_s).then_some(arrival)
        }))
    }

    fn prices(&self) -> &PriceList {
        &self.prices
    }

    fn phases(&self) -> Phases {
        Phases::NONE
    }

    fn recipe(&self) -> String {
        "Poisson arrivals, exponential run times".into()
    }
}

fn main() {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let &[rate, mean_s, length_s] = &numbers[..] else {
        println!("usage: open RATE MEAN_S LENGTH_S");
        return;
    };
    let workload = Open { rate, mean_s, length_s, prices: PriceList::default() };
    let world = WorldConfig { machines: 1, cores: CORES, shards: 1, ..WorldConfig::default() };
    let policy = find("xx", 3).expect("xx is a policy");
    let begun = Instant::now();
    let outcome = simulate(&world, &policy, &workload, 1);
    let seconds = begun.elapsed().as_secs_f64();
    let running = outcome.utilization(CORES)[0] * CORES as f64;
    let invocations = outcome.counts.completed;
    println!(r#"{{"invocations":{invocations},"running":{running},"seconds":{seconds}}}"#);
}
