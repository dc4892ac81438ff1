//! `fermata sim` with tiny input: each experiment runs to its end, and its tables, JSON, CSV, plots
//! and report are there and in the agreed shape.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Server, eventually, fermata, guest};

/// Runs an experiment with `--out` and `--json`; gives the JSON and what was printed.
#[track_caller]
fn simulated(folder: &Path, arguments: &[&str]) -> (Value, String) {
    let out = folder.join("out");
    let json = folder.join("figures.json");
    let (out, json) = (out.to_str().unwrap(), json.to_str().unwrap());
    let all: Vec<&str> =
        ["sim"].iter().chain(arguments).copied().chain(["--out", out, "--json", json]).collect();
    let said = fermata(&all);
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
    let text = std::fs::read_to_string(json).unwrap();
    assert_eq!(text, std::fs::read_to_string(Path::new(out).join("figures.json")).unwrap());
    (serde_json::from_str(&text).unwrap(), said.out)
}

/// Every file of the report; the page needs no other file.
#[track_caller]
fn check_files(folder: &Path, pictures: &[&str], tables: &[&str]) {
    let read = |name: &str| {
        let path = folder.join("out").join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    for picture in pictures {
        let svg = String::from_utf8(read(&format!("{picture}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{picture}: {svg}");
        assert!(read(&format!("{picture}.png")).starts_with(b"\x89PNG"), "{picture}");
    }
    for table in tables {
        let csv = String::from_utf8(read(&format!("{table}.csv"))).unwrap();
        let columns = csv.lines().next().unwrap().matches(',').count();
        assert!(columns > 2 && csv.lines().count() > 1, "{table}: {csv}");
    }
    let page = String::from_utf8(read("report.html")).unwrap();
    assert_eq!(page.matches("<figure").count(), pictures.len());
    assert!(!page.contains("src=") && !page.contains("<link"), "it asks for nothing");
    assert!(page.contains("Made by <code>fermata sim"), "it says how it was made");
}

/// One line of the JSON in the shape that is promised.
#[track_caller]
fn check_row(row: &Value) {
    assert!(row["policy"].is_string() && row["class"].is_string(), "{row:#}");
    for phase in ["before", "overload", "after"] {
        let is_seen = row[phase]["count"].as_u64().unwrap() > 0;
        for figure in ["p50_slowdown", "p99_slowdown", "p99_ms"] {
            let of = |suffix: &str| row[phase][format!("{figure}{suffix}")].as_f64();
            if is_seen {
                let (mean, low, high) =
                    (of("").unwrap(), of("_low").unwrap(), of("_high").unwrap());
                assert!(low <= mean && mean <= high && mean > 0.0, "{phase} {figure}: {row:#}");
            } else {
                assert!(row[phase][figure].is_null(), "{phase} {figure}: {row:#}");
            }
        }
    }
}

#[track_caller]
fn rows(figures: &Value) -> &[Value] {
    let rows = figures["results"].as_array().unwrap();
    assert!(!rows.is_empty());
    rows.iter().for_each(check_row);
    rows
}

/// A figure of one class under one policy.
#[track_caller]
fn figure(rows: &[Value], policy: &str, class: &str, phase: &str, figure: &str) -> f64 {
    let row = rows.iter().find(|row| row["policy"] == policy && row["class"] == class);
    row.unwrap_or_else(|| panic!("no {policy} {class}"))[phase][figure].as_f64().unwrap()
}

#[test]
fn figure_3_shows_what_classes_do_and_hermod_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["figure3", "--seeds", "2", "--ticks", "90", "--policies", "xx-polling,hermod"];
    let (figures, out) = simulated(folder.path(), &arguments);
    let rows = rows(&figures);
    assert_eq!(rows.len(), 10);
    let p99 = |policy, class| figure(rows, policy, class, "overload", "p99_slowdown");
    assert!(p99("xx-polling", "critical") < 1.05);
    assert!(p99("hermod", "critical") > 2.0);
    assert!(p99("xx-polling", "background") > 10.0);
    assert_eq!(figures["seeds"], serde_json::json!([1, 2]));
    assert!(figures["policies"][0]["utilization"].as_f64().unwrap() > 0.5);
    assert!(out.contains("± half of the 95 % confidence interval"), "{out}");
    check_files(
        folder.path(),
        &["figure3", "figure3-classes"],
        &["classes", "policies", "results"],
    );
}

#[test]
fn figure_4_tells_which_classes_are_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["figure4", "--seeds", "1", "--ticks", "12", "--rates", "100,230"];
    let (figures, _) = simulated(folder.path(), &arguments);
    assert_eq!(rows(&figures).len(), 2 * 2 * 5, "rates, growths, classes");
    let point = &figures["points"][1];
    assert_eq!((&point["rate"], &point["growth"]), (&230.0.into(), &"front-loaded".into()));
    for spread in ["cores", "ram", "swap_total_gb", "swap_peak_gb"] {
        let of = |part: &str| point[spread][part].as_f64().unwrap();
        assert!(of("min") <= of("median") && of("median") <= of("max"), "{spread}: {point:#}");
    }
    let pictures = ["figure4-front-loaded", "figure4-linear", "figure4-classes"];
    check_files(folder.path(), &pictures, &["machines", "swapped", "results"]);
}

const SMALL: [&str; 8] =
    ["--machines", "4", "--ticks", "30", "--overload", "10,20", "--seeds", "2"];

#[test]
fn policies_are_compared_on_a_cluster_as_stated() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<&str> =
        ["compare", "--policies", "xx,fifo", "--ram-gb", "32", "--delay-us", "100"]
            .iter()
            .chain(&SMALL)
            .copied()
            .collect();
    let (figures, _) = simulated(folder.path(), &all);
    assert_eq!(rows(&figures).len(), 10);
    let notes = figures["notes"].to_string();
    assert!(notes.contains("4 machines × 8 cores") && notes.contains("32 GB RAM"), "{notes}");
    check_files(folder.path(), &["compare", "compare-over-time"], &["classes", "policies"]);
}

#[test]
fn a_sweep_has_a_row_for_each_value() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<&str> =
        ["sweep", "k", "1,3", "--policies", "xx-polling"].iter().chain(&SMALL).copied().collect();
    let (figures, _) = simulated(folder.path(), &all);
    let values: Vec<f64> =
        rows(&figures).iter().map(|row| row["value"].as_f64().unwrap()).collect();
    assert_eq!((values.len(), values[0], values[9]), (10, 1.0, 3.0));
    check_files(folder.path(), &["sweep-k"], &["classes", "results"]);
}

#[test]
fn a_plan_names_the_fewest_machines() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "plan",
        "--target",
        "critical=1.2",
        "--target",
        "economy=5000ms",
        "--rates",
        "6",
        "--ticks",
        "20",
        "--seeds",
        "2",
    ];
    let (figures, out) = simulated(folder.path(), &arguments);
    let machines = figures["machines"].as_u64().unwrap();
    assert!((1..10).contains(&machines), "{machines}");
    assert!(out.contains(&format!("{machines} machines keep")), "{out}");
    check_files(folder.path(), &["plan"], &["tried", "results"]);
}

#[test]
fn what_a_server_records_is_played_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.jsonl");
    let file = file.to_str().unwrap();
    let mut server = Server::dev(&["--record", file]);
    server.ok(&["deploy", &guest("echo"), "--class", "interactive"]);
    for _ in 0..5 {
        server.ok(&["invoke", "echo", "1"]);
    }
    server.ok(&["invoke", "echo", "1", "--class", "critical"]);
    let lines = || std::fs::read_to_string(file).map_or(0, |text| text.lines().count());
    eventually("the recording is written while the server runs", || lines() == 7);
    server.terminate();
    let arguments = [
        "replay",
        file,
        "--try-machines",
        "1,2",
        "--class",
        "default/echo=background",
        "--cores",
        "1",
    ];
    let (figures, _) = simulated(folder.path(), &arguments);
    let rows = rows(&figures);
    let seen = |policy: &str, class: &str| -> u64 {
        let of = rows.iter().filter(|row| row["policy"] == policy && row["class"] == class);
        of.map(|row| row["before"]["count"].as_u64().unwrap()).sum()
    };
    assert_eq!((seen("measured", "interactive"), seen("measured", "critical")), (5, 1));
    // Two numbers of machines and five seeds, once as recorded and once with the class changed.
    assert_eq!((seen("xx", "interactive"), seen("xx", "background")), (2 * 5 * 5, 2 * 5 * 6));
    check_files(folder.path(), &["replay"], &["classes", "policies"]);
}

#[test]
fn what_cannot_be_simulated_is_told_with_what_could_be() {
    for (arguments, expected) in [
        (&["compare", "--policies", "none"][..], "no policy \"none\"; there are xx,"),
        (&["sweep", "weather", "1,2"], "\"weather\" is no parameter; there are load,"),
        (&["plan", "--target", "gold=1"], "no class \"gold\" arrives; there are background,"),
        (&["replay", "/no/such/file"], "load the recording /no/such/file"),
        (&["compare", "--trace", "/no/such/file.csv"], "load the trace /no/such/file.csv"),
        (&["compare", "--rates", "1,2"], "--rates is one number or three"),
        (&["compare", "--alpha", "0.5"], "--alpha is above 1"),
        (&["sweep", "delay-us", "0,10000"], "no answer to a poll would come in time"),
    ] {
        let all: Vec<&str> = ["sim"].iter().chain(arguments).copied().collect();
        let said = fermata(&all);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(expected), "{expected}: {said:?}");
    }
    let policies = fermata(&["sim", "policies"]);
    assert!(policies.out.contains("hermod-full") && policies.code == 0, "{policies:?}");
}

#[test]
fn the_simulators_speed_is_measured_with_its_growth() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["speed", "--limit-s", "0.05", "--policies", "xx-polling", "--ticks", "20"];
    let (figures, _) = simulated(folder.path(), &arguments);
    for part in ["figure3", "policies", "growth"] {
        for run in figures[part].as_array().unwrap() {
            let of = |name: &str| run[name].as_f64().unwrap();
            assert!(of("events") > of("completions") && of("completions") > 0.0, "{run:#}");
            assert!(of("events_per_s") > 0.0 && of("seconds") > 0.0, "{run:#}");
        }
    }
    assert_eq!(figures["figure3"].as_array().unwrap().len(), 2);
}
