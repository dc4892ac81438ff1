//! `fermata deploy`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{field, package, python};
use crate::client::{Client, Failed};
use crate::text;

/// Packages above this get a spinner while they are sent and compiled.
const SLOW_BYTES: usize = 1 << 20;

/// Deploy a function, or its next version
///
/// PATH is a folder with a manifest (fermata.toml), a folder or zip in the Lambda layout with
/// --runtime, a .wasm module, a single .py, .js or .mjs file, a .sequence.json file, or a state
/// machine in the Amazon States Language (.asl.json).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to deploy
    path: PathBuf,
    /// The function's name [default: the manifest's, or that of the file or folder]
    #[arg(long)]
    name: Option<String>,
    /// wasm, provided, python3, nodejs (or with a version: python3.11, nodejs20.x)
    #[arg(long)]
    runtime: Option<String>,
    /// What to call inside the package, as FILE.FUNCTION
    #[arg(long)]
    handler: Option<String>,
    /// Price class of calls that state none
    #[arg(long)]
    class: Option<String>,
    /// Time limit in seconds, as 60 or 0.5
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// A variable that the function sees; may be given many times
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = parse_variable)]
    environment: Vec<(String, String)>,
    /// Ask for the machine's network, which an admin must have granted to the tenant
    #[arg(long)]
    network: bool,
    /// Let it suspend: each invocation is an execution that waits without memory and outlives the
    /// server. A .js or .py file then runs as WebAssembly, unless --runtime says otherwise
    #[arg(long)]
    durable: bool,
    /// The interpreter of durable .py files [default: python.wasm in the usual places]
    #[arg(long, value_name = "FILE", env = "FERMATA_PYTHON_WASM")]
    python_wasm: Option<PathBuf>,
    /// For a person
    #[arg(long)]
    description: Option<String>,
    #[command(flatten)]
    json: super::Json,
}

/// `fermata.toml`: one function, or several under `[[function]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    function: Vec<Function>,
}

/// What a manifest says of one function.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Function {
    name: Option<String>,
    runtime: Option<String>,
    handler: Option<String>,
    class: Option<String>,
    /// Seconds.
    timeout: Option<f64>,
    environment: BTreeMap<String, String>,
    network: bool,
    /// Whether it may suspend.
    durable: bool,
    description: Option<String>,
    /// Its code, from the manifest's folder: a folder, a zip, a module or a source file.
    path: Option<PathBuf>,
}

pub(crate) fn run(client: &Client, args: &Args) -> Result<(), Failed> {
    let functions = functions(args)?;
    let named = args.name.is_some() || args.handler.is_some() || args.runtime.is_some();
    if functions.len() > 1 && named {
        let message =
            "--name, --runtime and --handler are for one function, the manifest has several";
        return Err(Failed::Usage(message.into()));
    }
    for (path, function) in functions {
        deploy(client, args, &path, function)?;
    }
    Ok(())
}

/// What there is to deploy: each function with the path of its code.
fn functions(args: &Args) -> Result<Vec<(PathBuf, Function)>, Failed> {
    if !args.path.exists() {
        return Err(Failed::Usage(format!("there is no {}", args.path.display())));
    }
    let manifest = args.path.join(package::MANIFEST);
    if !manifest.is_file() {
        return Ok(vec![(args.path.clone(), Function::default())]);
    }
    let text = String::from_utf8(package::read(&manifest)?)
        .map_err(|_| Failed::Usage(format!("{} is not UTF-8", manifest.display())))?;
    let functions = parse_manifest(&text)
        .map_err(|error| Failed::Usage(format!("{}: {error}", manifest.display())))?;
    let place = |function: Function| {
        let path =
            function.path.as_ref().map_or_else(|| args.path.clone(), |path| args.path.join(path));
        (path, function)
    };
    Ok(functions.into_iter().map(place).collect())
}

fn parse_manifest(text: &str) -> Result<Vec<Function>, toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    if table.contains_key("function") {
        Ok(toml::from_str::<Manifest>(text)?.function)
    } else {
        Ok(vec![toml::from_str(text)?])
    }
}

fn deploy(client: &Client, args: &Args, path: &Path, said: Function) -> Result<(), Failed> {
    let named = args.runtime.as_ref().or(said.runtime.as_ref());
    let is_durable = args.durable || said.durable;
    let (runtime, default_handler, package) = match (is_durable, named) {
        (true, None) if has_extension(path, &["js", "mjs"]) => javascript(path)?,
        (true, None) if has_extension(path, &["py"]) => {
            let package = python::package(path, args.python_wasm.as_deref())?;
            ("wasm".into(), String::new(), package)
        }
        _ => code(path, named)?,
    };
    let mut environment = said.environment;
    environment.extend(args.environment.iter().cloned());
    let timeout = args.timeout.or(said.timeout).map(milliseconds).transpose()?;
    let name = args.name.clone().or(said.name).map_or_else(|| name_of(path), Ok)?;
    let spinner = (package.len() > SLOW_BYTES).then(|| {
        let spinner = ProgressBar::new_spinner();
        spinner.set_message(format!("deploying {name} ({})", text::bytes(package.len() as u64)));
        spinner.enable_steady_tick(Duration::from_millis(100));
        spinner
    });
    let mut body = json!({
        "name": name,
        "runtime": runtime,
        "handler": args.handler.clone().or(said.handler).unwrap_or(default_handler),
        "class": args.class.as_ref().or(said.class.as_ref()),
        "timeout_ms": timeout,
        "environment": environment,
        "network": args.network || said.network,
        "description": args.description.clone().or(said.description).unwrap_or_default(),
        "package": BASE64_STANDARD.encode(&package),
    });
    if is_durable {
        body["durable"] = way(&runtime, &package).into();
    }
    let deployed: Result<Value, Failed> = client.post("/v1/functions", &body);
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    let function = deployed?;
    if args.json.json {
        text::print_json(&function);
    } else {
        let class =
            function["class"].as_str().unwrap_or("the cheapest class unless a call states one");
        let (version, runtime) = (field(&function, "version"), field(&function, "runtime"));
        text::print(&format!("deployed {name}:{version} ({runtime}, {class})\n"));
    }
    Ok(())
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension().is_some_and(|found| extensions.iter().any(|extension| found == *extension))
}

/// A durable function in JavaScript: a module with the interpreter and the source in it.
fn javascript(path: &Path) -> Result<(String, String, Vec<u8>), Failed> {
    let source = String::from_utf8(package::read(path)?)
        .map_err(|_| Failed::Usage(format!("{} is not UTF-8", path.display())))?;
    let package = runtime::wasm::javascript(&source)
        .map_err(|error| Failed::Usage(format!("{}: {error}", path.display())))?;
    Ok(("wasm".into(), String::new(), package))
}

/// How a durable function suspends, in the words of the API.
fn way(runtime: &str, package: &[u8]) -> &'static str {
    match runtime {
        "wasm" if runtime::wasm::waits_in_calls(package) => "stackful",
        "wasm" => "quiescent",
        _ => "explicit",
    }
}

/// The runtime, the handler where none is named, and the package.
fn code(path: &Path, runtime: Option<&String>) -> Result<(String, String, Vec<u8>), Failed> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let handler = format!("{stem}.handler");
    let or = |default: &str| runtime.cloned().unwrap_or_else(|| default.to_owned());
    let needed = || {
        let message = format!(
            "{} does not tell its runtime: add --runtime (or `runtime` to {}): wasm, provided, \
             python3 or nodejs",
            path.display(),
            package::MANIFEST
        );
        runtime.cloned().ok_or(Failed::Usage(message))
    };
    if path.is_dir() {
        let runtime = needed()?;
        let package = if runtime == "wasm" { module_in(path)? } else { package::zip_folder(path)? };
        return Ok((runtime, default_handler(path), package));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("wasm") => Ok((or("wasm"), String::new(), package::read(path)?)),
        Some("py") => Ok((or("python3"), handler, package::zip_file(path)?)),
        Some("js" | "mjs" | "cjs") => Ok((or("nodejs"), handler, package::zip_file(path)?)),
        Some("zip") => Ok((needed()?, String::new(), package::read(path)?)),
        Some("json") if stem.ends_with(".sequence") => {
            Ok((or("sequence"), String::new(), package::read(path)?))
        }
        Some("json") if stem.ends_with(".asl") => {
            Ok((or("state-machine"), String::new(), package::read(path)?))
        }
        _ => Err(Failed::Usage(format!(
            "{} is neither a folder nor a .wasm, .zip, .py, .js, .mjs, .sequence.json or .asl.json file",
            path.display()
        ))),
    }
}

/// The usual names, where the folder has such a file.
fn default_handler(folder: &Path) -> String {
    let usual = ["app.py", "lambda_function.py", "index.mjs", "index.js", "app.mjs", "app.js"];
    let found = usual.into_iter().find(|file| folder.join(file).is_file());
    found.map_or_else(String::new, |file| {
        format!("{}.handler", file.split('.').next().unwrap_or_default())
    })
}

/// The one module of a folder.
fn module_in(folder: &Path) -> Result<Vec<u8>, Failed> {
    let entries = std::fs::read_dir(folder)
        .map_err(|error| Failed::Usage(format!("read {}: {error}", folder.display())))?;
    let modules: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    match &modules[..] {
        [module] => package::read(module),
        _ => Err(Failed::Usage(format!(
            "{} has {} .wasm files, one is needed; name it with `path` in {}",
            folder.display(),
            modules.len(),
            package::MANIFEST
        ))),
    }
}

fn name_of(path: &Path) -> Result<String, Failed> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
    let bare = |name: &str| name.trim_end_matches(".sequence").trim_end_matches(".asl").to_owned();
    let name = name.map(|name| bare(&name.to_string_lossy()));
    name.ok_or_else(|| Failed::Usage("give the function a name with --name".into()))
}

fn milliseconds(seconds: f64) -> Result<u64, Failed> {
    let length = Duration::try_from_secs_f64(seconds).ok();
    let millis = length.and_then(|length| u64::try_from(length.as_millis()).ok());
    millis.filter(|millis| *millis > 0).ok_or_else(|| {
        Failed::Usage(format!("{seconds} is not a time limit: seconds, 0.001 at least"))
    })
}

fn parse_variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a variable is NAME=VALUE")?;
    if name.is_empty() {
        Err("a variable has a name".into())
    } else {
        Ok((name.into(), value.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_one_function_or_several() {
        let one = parse_manifest("name = 'a'\nruntime = 'python3'\ntimeout = 0.5\n").unwrap();
        assert_eq!((one.len(), one[0].timeout), (1, Some(0.5)));
        let text = "[[function]]\nname = 'a'\npath = 'a.py'\n[[function]]\nname = 'b'\n\
                    [function.environment]\nX = '1'\n";
        let two = parse_manifest(text).unwrap();
        assert_eq!(two[0].path, Some("a.py".into()));
        assert_eq!(two[1].environment["X"], "1");
        assert!(parse_manifest("memory = 128").unwrap_err().to_string().contains("memory"));
    }

    #[test]
    fn a_path_tells_runtime_and_handler_where_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            std::fs::write(folder.path().join(name), "x").unwrap();
            folder.path().join(name)
        };
        let told =
            |name: &str| code(&path(name), None).map(|(runtime, handler, _)| (runtime, handler));
        let pair = |runtime: &str, handler: &str| Ok((runtime.to_owned(), handler.to_owned()));
        assert_eq!(told("mail.py"), pair("python3", "mail.handler"));
        assert_eq!(told("mail.mjs"), pair("nodejs", "mail.handler"));
        assert_eq!(told("mail.wasm"), pair("wasm", ""));
        assert!(told("mail.zip").is_err() && told("mail.exe").is_err());
        let runtime = "python3".to_owned();
        assert_eq!(code(&path("mail.zip"), Some(&runtime)).unwrap().0, "python3");
    }

    #[test]
    fn a_durable_function_suspends_as_its_code_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("order.js");
        std::fs::write(&path, "export default () => 1").unwrap();
        assert!(has_extension(&path, &["js", "mjs"]) && !has_extension(&path, &["py"]));
        let (runtime, handler, package) = javascript(&path).unwrap();
        assert_eq!((&*runtime, &*handler), ("wasm", ""));
        assert_eq!(way("wasm", &package), "quiescent");
        let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/guests");
        let order = std::fs::read(guests.join("order.wasm")).unwrap();
        assert_eq!(way("wasm", &order), "stackful");
        assert_eq!(way("python3", b""), "explicit");
    }

    #[test]
    fn time_limits_are_seconds() {
        assert_eq!(milliseconds(1.5), Ok(1_500));
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.000_1] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }
}
