//! `http:invoke`: requests of state machines to hosts that the operator allows. Nothing is allowed unless
//! it is named, no redirect is followed, and what a connection holds goes to its own hosts only.

use std::collections::BTreeMap;
use std::fmt;

use asl::ask::Failed;
use base64::Engine as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};
use serde_json::{Map, Value, json};

use super::query::encode;
use super::send::Answer;
use super::{Outside, text};

/// A host and port that may be reached: `api.example.com:443`, or `*.example.com:443` for all below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// In small letters.
    name: String,
    port: u16,
}

impl std::str::FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST:PORT, as in api.example.com:443");
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let bare = name.strip_prefix("*.").unwrap_or(name);
        if bare.is_empty() || bare.contains(['*', '/', '@']) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_ascii_lowercase(), port })
    }
}

impl Host {
    fn covers(&self, name: &str, port: u16) -> bool {
        let name = name.to_ascii_lowercase();
        let named = match self.name.strip_prefix('*') {
            Some(end) => name.len() > end.len() && name.ends_with(end),
            None => name == self.name,
        };
        named && port == self.port
    }
}

/// What stands behind a `ConnectionArn`.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    /// Where it may be sent.
    pub hosts: Vec<Host>,
    /// Headers that are added.
    pub headers: BTreeMap<String, String>,
    /// Query parameters that are added.
    pub query: BTreeMap<String, String>,
    /// A user and a password.
    pub basic: Option<(String, String)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

const METHODS: [Method; 7] = [
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
];

/// Headers that belong to the connection itself, or would lead a request elsewhere.
const REFUSED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Outside {
    /// Makes the request and gives the answer as a state sees it.
    pub(crate) async fn invoke_http(&self, parameters: &Value) -> Result<Value, Failed> {
        let request =
            self.http_request(parameters).map_err(|cause| failed("States.Runtime", cause))?;
        let room = self.room.acquire().await;
        let _room = room.map_err(|error| failed("States.Runtime", error.to_string()))?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|why| failed("States.Http.Socket", why))?;
        let reason = answer.status.canonical_reason().unwrap_or_default();
        if !answer.status.is_success() {
            let body = String::from_utf8_lossy(&answer.body);
            let cause = if body.is_empty() { reason.to_owned() } else { body.into_owned() };
            let name = format!("States.Http.StatusCode.{}", answer.status.as_u16());
            return Err(failed(&name, cause));
        }
        let mut headers = Map::new();
        for (name, value) in &answer.headers {
            let list = headers.entry(name.as_str()).or_insert_with(|| json!([]));
            if let (Value::Array(list), Ok(value)) = (list, value.to_str()) {
                list.push(value.into());
            }
        }
        Ok(json!({
            "Headers": headers,
            "ResponseBody": body(&answer),
            "StatusCode": answer.status.as_u16(),
            "StatusText": reason,
        }))
    }

    fn http_request(&self, parameters: &Value) -> Result<Request<Full<Bytes>>, String> {
        let text = |name: &str| {
            parameters
                .get(name)
                .and_then(Value::as_str)
                .ok_or_else(|| format!("The field '{name}' is required but was missing"))
        };
        let endpoint = text("ApiEndpoint")?;
        let method = text("Method")?;
        let method = METHODS.iter().find(|known| known.as_str() == method);
        let method = method.ok_or_else(|| "The field 'Method' is no method of HTTP".to_owned())?;
        let uri: Uri = endpoint.parse().map_err(|_| format!("{endpoint:?} is no URL"))?;
        let (name, port) = place(&uri).ok_or_else(|| format!("{endpoint:?} is no URL of HTTP"))?;
        if !self.settings.http_allow.iter().any(|host| host.covers(&name, port)) {
            return Err(format!(
                "{name}:{port} is not among the hosts that state machines may reach: start the server \
                 with --http-allow {name}:{port}, or set FERMATA_HTTP_ALLOW"
            ));
        }
        let connection = self.connection(parameters, &name, port)?;
        let mut query: Vec<String> = Vec::new();
        for (name, value) in
            parameters.get("QueryParameters").and_then(Value::as_object).into_iter().flatten()
        {
            pairs(&mut query, name, value, "REPEAT");
        }
        for (name, value) in connection.iter().flat_map(|connection| &connection.query) {
            query.push(format!("{}={}", encode(name), encode(value)));
        }
        let url = with_query(endpoint, &query);
        let (headers, body) = contents(parameters, connection)?;
        let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// What the `ConnectionArn` names, where there is one.
    fn connection(
        &self,
        parameters: &Value,
        host: &str,
        port: u16,
    ) -> Result<Option<&Connection>, String> {
        let of = |field: &str| parameters.get(field)?.get("ConnectionArn")?.as_str();
        let Some(arn) = of("Authentication").or_else(|| of("InvocationConfig")) else {
            return Ok(None);
        };
        let name = arn.split_once(":connection/").map_or(arn, |(_, rest)| rest);
        let name = name.split('/').next().unwrap_or_default();
        let connection = self.settings.connections.get(name).ok_or_else(|| {
            format!(
                "there is no connection {name:?}: add [http-connections.{name}] to the server's \
                 configuration file"
            )
        })?;
        if connection.hosts.iter().any(|known| known.covers(host, port)) {
            return Ok(Some(connection));
        }
        Err(format!("connection {name:?} is not for {host}:{port}"))
    }
}

/// Host and port of a URL of HTTP.
fn place(uri: &Uri) -> Option<(String, u16)> {
    let default = match uri.scheme_str()? {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = uri.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    Some((authority.host().to_ascii_lowercase(), authority.port_u16().unwrap_or(default)))
}

fn with_query(endpoint: &str, query: &[String]) -> String {
    if query.is_empty() {
        return endpoint.to_owned();
    }
    let mark = if endpoint.contains('?') { '&' } else { '?' };
    format!("{endpoint}{mark}{}", query.join("&"))
}

/// The headers and the body.
fn contents(
    parameters: &Value,
    connection: Option<&Connection>,
) -> Result<(HeaderMap, Bytes), String> {
    let mut headers = HeaderMap::new();
    headers
        .insert(header::USER_AGENT, HeaderValue::from_static("Fermata|StepFunctions|HttpInvoke"));
    let body = match parameters.get("RequestBody") {
        None | Some(Value::Null) => Bytes::new(),
        Some(body) => {
            let transform = parameters.get("Transform");
            let option = |name: &str| transform.and_then(|transform| transform.get(name));
            let (kind, text) = match option("RequestBodyEncoding").and_then(Value::as_str) {
                Some("URL_ENCODED") => {
                    let arrays = option("RequestEncodingOptions")
                        .and_then(|options| options.get("ArrayFormat")?.as_str());
                    let mut form = Vec::new();
                    for (name, value) in body.as_object().into_iter().flatten() {
                        pairs(&mut form, name, value, arrays.unwrap_or("INDICES"));
                    }
                    ("application/x-www-form-urlencoded", form.join("&"))
                }
                _ => ("application/json; charset=UTF-8", text::of(body)),
            };
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            Bytes::from(text)
        }
    };
    let stated = parameters.get("Headers").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in stated {
        put(&mut headers, name, &text::of(value))?;
    }
    // What the operator set goes before what a machine states.
    if let Some(connection) = connection {
        for (name, value) in &connection.headers {
            put(&mut headers, name, value)?;
        }
        if let Some((user, password)) = &connection.basic {
            let pair = format!("{user}:{password}");
            let coded = base64::engine::general_purpose::STANDARD.encode(pair);
            put(&mut headers, "authorization", &format!("Basic {coded}"))?;
        }
    }
    Ok((headers, body))
}

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let wrong = || format!("the header {name:?} cannot be sent");
    let parsed: HeaderName = name.parse().map_err(|_| wrong())?;
    if REFUSED.contains(&parsed.as_str()) {
        return Err(wrong());
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(parsed == header::AUTHORIZATION);
    headers.insert(parsed, value);
    Ok(())
}

/// A field as parts of a form; lists as the machine wants them.
fn pairs(out: &mut Vec<String>, name: &str, value: &Value, arrays: &str) {
    match value {
        Value::Null => {}
        Value::Array(items) if arrays == "COMMAS" => {
            let items: Vec<String> = items.iter().map(text::of).collect();
            out.push(format!("{}={}", encode(name), encode(&items.join(","))));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let name = match arrays {
                    "INDICES" => format!("{name}[{index}]"),
                    "BRACKETS" => format!("{name}[]"),
                    _ => name.to_owned(),
                };
                pairs(out, &name, item, arrays);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                pairs(out, &format!("{name}[{field}]"), value, arrays);
            }
        }
        scalar => out.push(format!("{}={}", encode(name), encode(&text::of(scalar)))),
    }
}

/// JSON where it is announced and is some, a text otherwise.
fn body(answer: &Answer) -> Value {
    let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let text = String::from_utf8_lossy(&answer.body);
    if kind.is_some_and(|kind| kind.contains("json"))
        && let Ok(document) = asl::Document::parse(&text)
    {
        return document.value().clone();
    }
    text.into()
}

fn failed(error: &str, cause: impl Into<String>) -> Failed {
    Failed { error: error.to_owned(), cause: Some(cause.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Settings;

    fn outside() -> Outside {
        let connection = Connection {
            hosts: vec!["api.test:443".parse().unwrap()],
            headers: [("x-key".to_owned(), "secret".to_owned())].into(),
            query: BTreeMap::new(),
            basic: Some(("u".to_owned(), "p".to_owned())),
        };
        let mut settings = Settings::default();
        settings.http_allow =
            vec!["api.test:443".parse().unwrap(), "*.in.test:80".parse().unwrap()];
        settings.connections = [("c".to_owned(), connection)].into();
        Outside::new(&settings, "us-east-1")
    }

    #[track_caller]
    fn check(parameters: &Value, expected: &str) {
        let shown = match outside().http_request(parameters) {
            Ok(request) => format!("{} {}", request.method(), request.uri()),
            Err(error) => error,
        };
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn only_hosts_that_are_allowed_are_reached() {
        let get = |url: &str| json!({ "ApiEndpoint": url, "Method": "GET" });
        check(&get("https://api.test/a?b=c"), "GET https://api.test/a?b=c");
        check(&get("http://x.in.test/"), "GET http://x.in.test/");
        check(&get("http://in.test/"), "--http-allow in.test:80");
        check(&get("http://api.test/"), "--http-allow api.test:80");
        check(&get("https://api.test:8443/"), "--http-allow api.test:8443");
        check(&get("https://api.test@evil.test/"), "is no URL of HTTP");
        check(&get("https://api.test.evil.test/"), "--http-allow api.test.evil.test:443");
        check(&get("http://169.254.169.254/"), "--http-allow 169.254.169.254:80");
        check(&get("file:///etc/passwd"), "is no URL");
        let host = json!({ "ApiEndpoint": "https://api.test", "Method": "GET",
                           "Headers": { "Host": "evil.test" } });
        check(&host, "cannot be sent");
    }

    #[test]
    fn a_connection_goes_to_its_own_hosts() {
        let with = |url: &str| {
            json!({ "ApiEndpoint": url, "Method": "POST", "RequestBody": { "a": [1, 2] },
                    "Authentication": { "ConnectionArn": "arn:aws:events:r:a:connection/c/uuid" } })
        };
        let request = outside().http_request(&with("https://api.test/")).unwrap();
        assert_eq!(request.headers()["x-key"], "secret");
        assert_eq!(request.headers()["authorization"], "Basic dTpw");
        check(&with("http://x.in.test/"), "connection \"c\" is not for x.in.test:80");
    }

    #[test]
    fn lists_of_a_form_are_written_as_the_machine_wants() {
        let form = |arrays: &str| {
            let mut out = Vec::new();
            pairs(&mut out, "a", &json!([1, "b c"]), arrays);
            out.join("&")
        };
        assert_eq!(form("INDICES"), "a%5B0%5D=1&a%5B1%5D=b%20c");
        assert_eq!(form("BRACKETS"), "a%5B%5D=1&a%5B%5D=b%20c");
        assert_eq!(form("REPEAT"), "a=1&a=b%20c");
        assert_eq!(form("COMMAS"), "a=1%2Cb%20c");
    }
}
