//! `fermata sim figure4`: paper XX, Figure 4.

use std::collections::BTreeMap;
use std::time::Instant;

use plotters::style::RGBColor;
use serde_json::{Map, Value, json};
use sim::experiment::{Figure4, Figure4Config, Figure4Point, Five, figure4, swapping_xx};
use sim::memory::Growth;
use sim::statistics::Estimate;
use sim::workload::MB;

use super::figure::{Axis, Figure, Look, Panel, Point, Row, Series};
use super::options::{Runs, entries};
use super::results::{Cell, Results, Table, class_rows, digits, insert};
use super::{charts, output, progress};

/// How memory, swap and load spread over machines as the load rises
///
/// Paper XX, Figure 4: 100 machines × 8 cores, 32 GB of RAM and 500 GB of swap each; the whole of XX,
/// idle lists and all.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct Args {
    /// Invocations a tick
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "80,110,140,170,185,200,210,220,230"
    )]
    rates: Vec<f64>,
    /// Ticks at each rate
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    ticks: u64,
    /// The policy; without it xx that takes more while RAM is full, as long as there is swap
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Bandwidth to and from swap; 0: it takes no time, as in the paper
    #[arg(long, value_name = "MB/S", default_value_t = 0)]
    swap_mb_s: u64,
    /// RAM of each machine
    #[arg(long, value_name = "GB", default_value_t = 32)]
    ram_gb: u64,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    output: output::Args,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut config = Figure4Config { rates: args.rates.clone(), ..Figure4Config::default() };
    config.workload.end_tick = args.ticks;
    config.workload.overload_ticks = (args.ticks, args.ticks);
    config.seeds = args.runs.seeds();
    config.memory.ram = args.ram_gb.max(1).saturating_mul(1_000 * MB);
    config.memory.swap_out_per_s = args.swap_mb_s.saturating_mul(MB);
    config.memory.swap_in_per_s = config.memory.swap_out_per_s;
    config.policy = match &args.policy {
        Some(name) => entries(std::slice::from_ref(name), 3)?.remove(0),
        None => swapping_xx(3),
    };
    let figure = progress::with(args.runs.threads, "figure 4", |runner| figure4(&config, runner));
    let title = "Memory, swap and load over machines as the load rises (paper XX, Figure 4)";
    let mut results = Results::new("figure4", title, &config.seeds);
    let swap =
        if args.swap_mb_s == 0 { "free".to_owned() } else { format!("at {} MB/s", args.swap_mb_s) };
    let about = format!(
        "100 machines × 8 cores, {} GB of RAM, 500 GB of swap ({swap}); {} ticks at each rate",
        args.ram_gb, args.ticks
    );
    results.notes = vec![about.clone(), figure.recipe.clone()];
    results.findings = figure.points.iter().filter(|p| is_last(&figure, p)).map(finding).collect();
    for point in &figure.points {
        results.rows.extend(class_rows(&point.classes, &place(point)));
    }
    results.extra.insert("points".into(), figure.points.iter().map(point_json).collect());
    results.tables = vec![machines_table(&figure), swapped_table(&figure)];
    for growth in [Growth::FrontLoaded, Growth::Linear] {
        let name = growth_name(growth);
        let picture = machines_figure(&figure, growth, &about);
        results.figures.push((format!("figure4-{name}"), picture));
    }
    results.figures.push(("figure4-classes".into(), classes_figure(&figure, &about)));
    output::write(&args.output, &results, begun)
}

const fn growth_name(growth: Growth) -> &'static str {
    match growth {
        Growth::FrontLoaded => "front-loaded",
        Growth::Linear => "linear",
        Growth::First { .. } => "in the first part of a run",
    }
}

fn place(point: &Figure4Point) -> BTreeMap<&'static str, Value> {
    BTreeMap::from([("rate", json!(point.rate)), ("growth", json!(growth_name(point.growth)))])
}

fn of(figure: &Figure4, growth: Growth) -> impl Iterator<Item = &Figure4Point> {
    figure.points.iter().filter(move |point| point.growth == growth)
}

fn is_last(figure: &Figure4, point: &Figure4Point) -> bool {
    let last = of(figure, point.growth).map(|point| point.rate).fold(0.0, f64::max);
    point.rate >= last
}

fn finding(point: &Figure4Point) -> String {
    let low: f64 = point.swapped.iter().rev().take(2).map(|swap| swap.part.mean).sum();
    format!(
        "{} growth, {} a tick: cores busy {} to {} % (idlest and busiest machine); swapped in all \
         {} GB a machine (median; most {}), at one time {} GB (most {}); {} % of it of the two \
         lowest classes; {} kills",
        growth_name(point.growth),
        point.rate,
        digits(100.0 * point.cores.min.mean),
        digits(100.0 * point.cores.max.mean),
        digits(point.swap_total_gb.median.mean),
        digits(point.swap_total_gb.max.mean),
        digits(point.swap_peak_gb.median.mean),
        digits(point.swap_peak_gb.max.mean),
        digits(100.0 * low),
        digits(point.kills.mean),
    )
}

/// The figures that spread over machines, under the names of the JSON.
fn spreads(point: &Figure4Point) -> [(&'static str, &Five); 5] {
    [
        ("cores", &point.cores),
        ("ram", &point.ram),
        ("ram_peak", &point.ram_peak),
        ("swap_total_gb", &point.swap_total_gb),
        ("swap_peak_gb", &point.swap_peak_gb),
    ]
}

const fn quantiles(five: &Five) -> [(&'static str, Estimate); 5] {
    [
        ("min", five.min),
        ("p10", five.p10),
        ("median", five.median),
        ("p90", five.p90),
        ("max", five.max),
    ]
}

fn point_json(point: &Figure4Point) -> Value {
    let mut map = Map::new();
    map.insert("rate".into(), json!(point.rate));
    map.insert("growth".into(), json!(growth_name(point.growth)));
    for (name, five) in spreads(point) {
        let mut inner = Map::new();
        for (quantile, estimate) in quantiles(five) {
            insert(&mut inner, quantile, Some(estimate));
        }
        map.insert(name.into(), Value::Object(inner));
    }
    let swap = |swap: &sim::experiment::ClassSwap| {
        let mut inner = Map::new();
        inner.insert("class".into(), json!(swap.class));
        insert(&mut inner, "swap_outs", Some(swap.swap_outs));
        insert(&mut inner, "part", Some(swap.part));
        insert(&mut inner, "kills", Some(swap.kills));
        Value::Object(inner)
    };
    map.insert("swapped".into(), point.swapped.iter().map(swap).collect());
    insert(&mut map, "kills", Some(point.kills));
    Value::Object(map)
}

fn machines_table(figure: &Figure4) -> Table {
    let mut header = vec!["growth".to_owned(), "a tick".to_owned()];
    for name in ["cores busy", "RAM used", "swapped in all, GB", "in swap at most, GB"] {
        header.extend(["least", "median", "most"].map(|part| format!("{name}: {part}")));
    }
    header.push("kills".to_owned());
    let row = |point: &Figure4Point| {
        let mut cells = vec![Cell::text(growth_name(point.growth)), Cell::Number(point.rate)];
        for five in [&point.cores, &point.ram, &point.swap_total_gb, &point.swap_peak_gb] {
            cells.extend([five.min, five.median, five.max].map(Cell::Estimate));
        }
        cells.push(Cell::Estimate(point.kills));
        cells
    };
    Table {
        name: "machines".into(),
        title: "Spread over machines".into(),
        header,
        rows: figure.points.iter().map(row).collect(),
    }
}

fn swapped_table(figure: &Figure4) -> Table {
    let header = [
        "growth",
        "a tick",
        "class",
        "swapped out",
        "part of bytes",
        "kills",
        "p99 slowdown",
        "p99 ms",
    ];
    let mut rows = Vec::new();
    for point in &figure.points {
        for (swap, report) in point.swapped.iter().zip(&point.classes) {
            rows.push(vec![
                Cell::text(growth_name(point.growth)),
                Cell::Number(point.rate),
                Cell::text(&swap.class),
                Cell::Estimate(swap.swap_outs),
                Cell::Estimate(swap.part),
                Cell::Estimate(swap.kills),
                Cell::Estimate(report.before.p99_slowdown),
                Cell::Estimate(report.before.p99_ms),
            ]);
        }
    }
    Table {
        name: "swapped".into(),
        title: "Which classes are swapped, and what each class has".into(),
        header: header.map(str::to_owned).to_vec(),
        rows,
    }
}

const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const GRAY: RGBColor = RGBColor(0x8a, 0x8f, 0x98);

/// What a panel of [`machines_figure`] shows.
struct Spread {
    title: &'static str,
    label: &'static str,
    pick: fn(&Figure4Point) -> Five,
    factor: f64,
}

const SPREADS: [Spread; 4] = [
    Spread {
        title: "Cores busy",
        label: "% of the machine's cores",
        pick: |p| p.cores,
        factor: 100.0,
    },
    Spread {
        title: "RAM in use, mean over time",
        label: "% of the machine's RAM",
        pick: |p| p.ram,
        factor: 100.0,
    },
    Spread {
        title: "Swapped out in all",
        label: "GB a machine",
        pick: |p| p.swap_total_gb,
        factor: 1.0,
    },
    Spread {
        title: "Most in swap at one time",
        label: "GB a machine",
        pick: |p| p.swap_peak_gb,
        factor: 1.0,
    },
];

/// Median over machines with the band of eight tenths, and the extremes dashed.
fn machines_figure(figure: &Figure4, growth: Growth, about: &str) -> Figure {
    let points: Vec<&Figure4Point> = of(figure, growth).collect();
    let panels: Vec<Panel> = SPREADS.iter().map(|spread| spread_panel(&points, spread)).collect();
    let rows = panels.chunks(2).map(|panels| Row { height_px: 320, panels: panels.to_vec() });
    Figure {
        title: format!(
            "How load, memory and swap spread over machines, {} growth",
            growth_name(growth)
        ),
        subtitle: about.to_owned(),
        rows: rows.collect(),
        legend: vec![
            ("median machine, band: eight tenths of the machines".to_owned(), BLUE),
            ("least and most of any machine (dashed)".to_owned(), GRAY),
        ],
    }
}

fn spread_panel(points: &[&Figure4Point], spread: &Spread) -> Panel {
    let Spread { title, label, pick, factor } = spread;
    let line = |part: fn(&Five) -> f64| -> Vec<Point> {
        points.iter().map(|p| Point::at(p.rate, factor * part(&pick(p)))).collect()
    };
    let middle = points.iter().map(|p| {
        let five = pick(p);
        let span = Some((factor * five.p10.mean, factor * five.p90.mean));
        Point { x: p.rate, y: factor * five.median.mean, span }
    });
    let series = vec![
        Series { color: GRAY, look: Look::Dashes, points: line(|five| five.min.mean) },
        Series { color: GRAY, look: Look::Dashes, points: line(|five| five.max.mean) },
        Series { color: BLUE, look: Look::Dotted(2), points: middle.collect() },
    ];
    let values: Vec<f64> = series.iter().flat_map(|s| &s.points).map(|p| p.y).collect();
    Panel {
        title: (*title).to_owned(),
        x: Axis::linear("invocations a tick", points.iter().map(|p| p.rate)),
        // A part of the whole is shown against the whole.
        y: Axis::linear(label, values.into_iter().chain([0.0, *factor])),
        shade: None,
        mark: None,
        series,
    }
}

/// Which classes are swapped, and their tail latency.
fn classes_figure(figure: &Figure4, about: &str) -> Figure {
    let classes =
        figure.points.first().map(|point| charts::classes_of(&point.classes)).unwrap_or_default();
    let lines = |growth: Growth,
                 pick: &dyn Fn(&Figure4Point, usize) -> Estimate,
                 factor: f64|
     -> Vec<Series> {
        let line = |(at, (class, _)): (usize, &(String, f64))| Series {
            color: charts::color(class, at),
            look: Look::Dotted(2),
            points: of(figure, growth)
                .map(|point| {
                    let value = pick(point, at);
                    let span = Some((factor * value.low, factor * value.high));
                    Point { x: point.rate, y: factor * value.mean, span }
                })
                .collect(),
        };
        classes.iter().enumerate().rev().map(line).collect()
    };
    let rates = || figure.points.iter().map(|point| point.rate);
    let panel = |title: String, y: Axis, series: Vec<Series>| Panel {
        title,
        x: Axis::linear("invocations a tick", rates()),
        y,
        shade: None,
        mark: None,
        series,
    };
    let growths = [Growth::FrontLoaded, Growth::Linear];
    let swapped = growths.map(|growth| {
        let series = lines(growth, &|point, at| point.swapped[at].part, 100.0);
        let y = Axis::linear("% of the bytes swapped out", [0.0, 100.0]);
        panel(format!("Which classes are swapped, {} growth", growth_name(growth)), y, series)
    });
    let slowdown = growths.map(|growth| {
        let series = lines(growth, &|point, at| point.classes[at].before.p99_slowdown, 1.0);
        let values: Vec<f64> = figure
            .points
            .iter()
            .flat_map(|p| &p.classes)
            .map(|r| r.before.p99_slowdown.mean)
            .collect();
        let y = Axis::log("p99 slowdown (log scale)", values);
        panel(format!("p99 slowdown, {} growth", growth_name(growth)), y, series)
    });
    let reports = figure.points.first().map(|point| point.classes.as_slice()).unwrap_or_default();
    Figure {
        title: "Which classes are swapped, and what they have of it".to_owned(),
        subtitle: about.to_owned(),
        rows: vec![
            Row { height_px: 320, panels: swapped.to_vec() },
            Row { height_px: 320, panels: slowdown.to_vec() },
        ],
        legend: charts::class_legend(reports),
    }
}
