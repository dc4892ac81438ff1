//! Every bench, and the demo, with tiny input: they run to their end and their figures have the
//! agreed shape. What the figures are is of no interest here.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs this package's binary in an own folder and gives what it wrote to `figures.json`.
#[track_caller]
fn figures(arguments: &[&str]) -> (Value, String, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{stdout}\n{stderr}", output.status);
    let json = std::fs::read_to_string(folder.path().join("figures.json")).unwrap();
    (serde_json::from_str(&json).unwrap(), stdout, folder)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fermata"))
        .args(arguments)
        .args(["--json", "figures.json"])
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn has_python() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[track_caller]
fn check_origin(figures: &Value) {
    assert!(figures["machine"]["cores"].as_u64().unwrap() >= 1, "{figures:#}");
    for field in ["cpu", "kernel"] {
        assert!(figures["machine"][field].is_string(), "{field}: {figures:#}");
    }
    assert!(figures["commit"].is_string(), "{figures:#}");
}

/// The shape that the demo and the flood share.
#[track_caller]
fn check_runs(figures: &Value, policies: &[&str], classes: &[&str]) {
    check_origin(figures);
    let runs = figures["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["policy"].as_str().unwrap()).collect();
    assert_eq!(names, policies);
    for run in runs {
        let found: Vec<&str> = run["classes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|class| class["class"].as_str().unwrap())
            .collect();
        assert_eq!(found, classes, "{run:#}");
        for class in run["classes"].as_array().unwrap() {
            assert!(class["price"].as_f64().unwrap() > 0.0, "{class:#}");
            for phase in ["calm", "overload"] {
                check_phase(&class[phase]);
            }
        }
        let top = &run["classes"][0];
        assert!(top["calm"]["count"].as_u64().unwrap() > 0, "{top:#}");
    }
}

#[track_caller]
fn check_phase(phase: &Value) {
    for field in ["count", "errors", "unfinished"] {
        assert!(phase[field].is_u64(), "{field}: {phase:#}");
    }
    let measured = phase["count"].as_u64().unwrap() + phase["unfinished"].as_u64().unwrap() > 0;
    for field in ["p50_ms", "p99_ms", "p99_9_ms", "max_ms"] {
        assert_eq!(phase[field].is_number(), measured, "{field}: {phase:#}");
    }
    assert!(phase["offered_per_s"].is_number(), "{phase:#}");
}

#[track_caller]
fn check_micros(micros: &Value) {
    assert!(micros["count"].as_u64().unwrap() > 0, "{micros:#}");
    let quantile = |name: &str| micros[name].as_f64().unwrap();
    assert!(quantile("p50_us") > 0.0, "{micros:#}");
    assert!(quantile("p99_us") >= quantile("p50_us"), "{micros:#}");
    assert!(quantile("max_us") >= quantile("p99_us"), "{micros:#}");
}

#[test]
fn bench_flood_of_wasm_compares_three_policies() {
    let (figures, stdout, _) = figures(&["bench", "flood", "--quick"]);
    check_runs(&figures, &["xx", "hermod", "fifo"], &["critical", "background"]);
    assert!(stdout.contains("top-class p99, with the flood against alone"), "{stdout}");
}

#[test]
fn bench_flood_of_both_runtimes_has_the_same_shape() {
    if !has_python() {
        return;
    }
    let (figures, _, _) = figures(&["bench", "flood", "--quick", "--runtime", "mixed"]);
    check_runs(&figures, &["xx", "hermod", "fifo"], &["critical", "background"]);
}

#[test]
fn bench_preempt_times_the_first_instruction_of_both_runtimes() {
    let (figures, _, _) = figures(&["bench", "preempt", "--quick"]);
    check_origin(&figures);
    check_micros(&figures["wasm"]);
    assert_eq!(figures["process"].is_object(), has_python(), "{figures:#}");
    if has_python() {
        check_micros(&figures["process"]);
    }
}

#[test]
fn bench_start_times_starts_round_trips_and_calls_a_second() {
    let (figures, stdout, _) = figures(&["bench", "start", "--quick", "--connections", "4"]);
    check_origin(&figures);
    check_micros(&figures["wasm"]);
    check_micros(&figures["wasm_awake"]);
    check_micros(&figures["wasm_first_call"]);
    check_micros(&figures["bare_round_trip"]["apart"]);
    check_micros(&figures["bare_round_trip"]["awake"]);
    check_micros(&figures["warm_round_trip"]);
    assert_eq!(figures["python_cold"].is_object(), has_python(), "{figures:#}");
    for server in ["fermata_wasm", "bare_axum"] {
        assert!(figures["calls_per_s"][server].as_f64().unwrap() > 0.0, "{figures:#}");
    }
    assert!(stdout.contains("wasmtime serve"), "{stdout}");
}

#[test]
fn bench_steps_times_a_step_its_floor_and_a_continuation() {
    for store in ["sqlite", "memory"] {
        let (figures, ..) = figures(&["bench", "steps", "--quick", "--store", store]);
        check_origin(&figures);
        assert_eq!(figures["store"], store);
        for spread in ["step_us", "fsync_us", "start_us", "suspend_us", "resume_us"] {
            for share in ["p50", "p99"] {
                assert!(figures[spread][share].as_f64().unwrap() > 0.0, "{spread}: {figures:#}");
            }
        }
        for executions in ["1", "64"] {
            let rate = figures["steps_per_second"][executions].as_f64().unwrap();
            assert!(rate > 0.0, "{figures:#}");
        }
    }
}

#[test]
fn bench_sleep_tells_of_memory_and_lateness() {
    let (figures, ..) = figures(&["bench", "sleep", "--quick"]);
    check_origin(&figures);
    let night = &figures["sleeping"][0];
    assert_eq!(night["executions"], 20, "{figures:#}");
    assert!(night["late_max_ms"].as_f64().unwrap() > 0.0, "{figures:#}");
    assert!(figures["recovery"]["recovered_s"].is_f64(), "{figures:#}");
}

#[test]
fn bench_kills_counts_everything_in_the_end() {
    let (figures, out, _) = figures(&["bench", "kills", "--quick", "--seed", "1"]);
    check_origin(&figures);
    assert_eq!(figures["kills"], 5);
    assert!(out.contains("--seed 1"), "{out}");
}

#[test]
fn bench_states_times_chains_and_fan_outs() {
    let (figures, _, _) = figures(&["bench", "states", "--quick"]);
    check_origin(&figures);
    let rows = figures["rows"].as_array().unwrap();
    // Chains of two sleeps and fan-outs, two sorts, two payloads.
    assert_eq!(rows.len(), 12, "{figures:#}");
    let least = |row: &Value| if row["sleep_ms"] == 0 { 0.0 } else { 10.0 };
    assert!(rows.iter().all(|row| row["p50_ms"].as_f64().unwrap() >= least(row)), "{figures:#}");
    // A function takes no less than it sleeps, so no more is left that is spent outside of it.
    let [outside, beyond] = ["overhead_ms", "beyond_sleep_ms"];
    let is_part = |row: &Value| row[outside].as_f64().unwrap() <= row[beyond].as_f64().unwrap();
    assert!(rows.iter().all(is_part), "{figures:#}");
    assert!(rows.iter().any(|row| row[outside].as_f64().unwrap() > 0.0), "{figures:#}");
    assert_eq!(figures["maps"].as_array().unwrap().len(), 2, "{figures:#}");
}

#[test]
fn bench_states_runs_the_same_machines_on_another_server_of_the_api() {
    let other = support::Server::dev(&[]);
    let (figures, _, _) = figures(&["bench", "states", "--quick", "--beside", other.url()]);
    check_origin(&figures);
    let rows = figures["beside"].as_array().unwrap();
    let shapes: Vec<&str> = rows.iter().map(|row| row["shape"].as_str().unwrap()).collect();
    assert_eq!(shapes, ["pass", "parallel", "wait"], "{figures:#}");
    for row in rows {
        let waits = row["waits_ms"].as_f64().unwrap();
        for time in ["here_p50_ms", "beside_p50_ms"] {
            assert!(row[time].as_f64().unwrap() >= waits, "{time}: {figures:#}");
        }
    }
    let listed = other.ok(&["executions", "list", "--json"]);
    assert!(listed.contains("parallel-2-"), "{listed}");
}

/// The rules that hold on every machine, however slow: what the times are is of no interest.
#[track_caller]
fn check_pressed(run: &Value) {
    for count in ["top_swapped", "top_killed", "top_errors"] {
        assert_eq!(run[count], 0, "{count}: {run:#}");
    }
    assert_eq!(run["order"]["out_of_order"], 0, "{run:#}");
    assert!(run["top_tail"]["running_ms"].as_f64().unwrap() > 0.0, "{run:#}");
    assert_eq!(run["completed"], run["functions"], "{run:#}");
    assert_eq!(run["right"], run["functions"], "{run:#}");
    let (peak, limit) = (&run["memory_peak_bytes"], &run["memory_limit_bytes"]);
    let most = limit.as_u64().unwrap() + model::limits::MEMORY_OVER_BYTES_MAX;
    assert!(peak.as_u64().unwrap() <= most, "{run:#}");
    // Not every machine lets the bench make a control group.
    assert!(run["group_kills"].is_null() || run["group_kills"] == 0, "{run:#}");
}

#[test]
fn bench_memory_swaps_by_class_and_compares_with_killing_with_the_disk_and_with_the_simulator() {
    let parts = "device,pressure,room,first-come,faults,growing";
    let (figures, stdout, _) =
        figures(&["bench", "memory", "--quick", "--times", "2", "--parts", parts]);
    check_origin(&figures);
    let device = &figures["device"];
    for rate in ["disk_write_mb_s", "disk_read_mb_s"] {
        assert!(device[rate].as_f64().unwrap() > 0.0, "{device:#}");
    }
    let codings = device["codings"].as_array().unwrap();
    assert_eq!(codings.len(), 4, "{device:#}");
    for coding in codings {
        for figure in ["out_mb_s", "in_mb_s", "free_ms", "back_ms"] {
            assert!(coding[figure].as_f64().unwrap() > 0.0, "{coding:#}");
        }
    }
    let runs = figures["pressure"].as_array().unwrap();
    let manners: Vec<&str> = runs.iter().map(|run| run["manner"].as_str().unwrap()).collect();
    let others = ["with room for all", "first come first served, killing when full"];
    assert_eq!(manners, ["swapping by class", others[0], others[1]]);
    check_pressed(&runs[0]);
    for run in &runs[1..] {
        assert_eq!(run["swap_written_bytes"], 0, "{run:#}");
    }
    assert!(stdout.contains("scarce memory adds"), "{stdout}");
    let sides = &figures["predicted"][0];
    for side in ["predicted", "measured"] {
        for figure in ["makespan_s", "low_cores_busy", "memory_in_use", "slowdown_mean"] {
            assert!(sides[side][figure].as_f64().unwrap() > 0.0, "{sides:#}");
        }
        assert!(sides[side]["swap_outs"].is_u64(), "{sides:#}");
    }
    let growing = figures["growing"].as_array().unwrap();
    assert_eq!(growing.len(), 2, "{growing:#?}");
    for run in growing {
        assert_eq!(run["outcome"], "out-of-memory", "{run:#}");
        assert!(run["group_kills"].is_null() || run["group_kills"] == 0, "{run:#}");
    }
    let faults = &figures["faults"];
    assert_eq!(faults["killed"]["files_left"], 0, "{faults:#}");
    assert!(faults["read_error"].as_str().unwrap().contains("read memory back"), "{faults:#}");
    assert!(stdout.contains("simulated"), "{stdout}");
}

#[test]
fn bench_agree_has_what_was_measured_and_what_was_predicted() {
    let (figures, stdout, folder) =
        figures(&["bench", "agree", "--quick", "--policies", "xx", "--out", "out"]);
    check_origin(&figures);
    for source in ["measured", "predicted"] {
        for class in ["critical", "background"] {
            let rows = figures["results"].as_array().unwrap();
            let row = rows.iter().find(|row| row["source"] == source && row["class"] == class);
            let overload = &row.unwrap_or_else(|| panic!("{source} {class}"))["overload"];
            assert!(overload["count"].as_u64().unwrap() > 0, "{overload:#}");
            assert!(overload["p99_slowdown"].as_f64().unwrap() >= 0.9, "{overload:#}");
        }
    }
    assert!(stdout.contains("Measured and predicted"), "{stdout}");
    assert!(folder.path().join("out/agree.png").exists());
}

#[test]
fn the_demo_gives_a_table_a_plot_a_bill_and_figures() {
    let arguments = ["demo", "--seconds", "3", "--svg", "plot.svg"];
    let (figures, stdout, folder) = figures(&arguments);
    let runs = figures["runs"].as_array().unwrap();
    // Python and Node are not on every machine; Wasm and the native function are.
    let mut classes: Vec<&str> = runs[0]["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| class["class"].as_str().unwrap())
        .collect();
    check_runs(&figures, &["xx", "hermod"], &classes);
    classes.retain(|class| ["critical", "background"].contains(class));
    assert_eq!(classes, ["critical", "background"]);
    let svg = std::fs::read_to_string(folder.path().join("plot.svg")).unwrap();
    assert!(svg.contains("critical, 2.0 µ¢ per CPU s"), "the plot has a legend");
    assert!(stdout.contains("bill of the run under xx"), "{stdout}");
    assert!(stdout.contains("plot: plot.svg"), "{stdout}");
}

#[test]
fn an_unknown_policy_is_said_and_not_measured() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["demo", "--seconds", "3", "--policies", "nonsense"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("nonsense"), "{}", text(&output.stderr));
    assert!(!folder.path().join("figures.json").exists());
}
