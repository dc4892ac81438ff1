//! S3's actions: where each field of a request goes, and where each field of an answer is.

use std::fmt::Write as _;

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use serde_json::{Map, Value, json};

use super::query::{encode, encode_path};
use super::send::Answer;
use super::sign::{Unsigned, put};
use super::xml::{self, Shape};
use super::{crc32, text};

/// What an action is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Service,
    Bucket,
    Object,
}

/// What a request carries.
#[derive(Clone, Copy)]
enum Carries {
    Nothing,
    /// `Body`, as it is.
    Body,
    /// A field as XML, and the root's name.
    Xml(&'static str, &'static str),
}

/// What an answer carries beside its headers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gives {
    Nothing,
    /// `Body`.
    Body,
    Xml,
}

struct Action {
    name: &'static str,
    method: Method,
    about: About,
    /// What stands alone in the query.
    sub: Option<&'static str>,
    carries: Carries,
    gives: Gives,
}

macro_rules! action {
    ($name:literal, $method:ident, $about:ident, $sub:expr, $carries:expr, $gives:ident) => {
        Action {
            name: $name,
            method: Method::$method,
            about: About::$about,
            sub: $sub,
            carries: $carries,
            gives: Gives::$gives,
        }
    };
}

use Carries::{Body, Nothing, Xml};

const ACTIONS: &[Action] = &[
    action!("abortMultipartUpload", DELETE, Object, None, Nothing, Nothing),
    action!(
        "completeMultipartUpload",
        POST,
        Object,
        None,
        Xml("MultipartUpload", "CompleteMultipartUpload"),
        Xml
    ),
    action!("copyObject", PUT, Object, None, Nothing, Xml),
    action!(
        "createBucket",
        PUT,
        Bucket,
        None,
        Xml("CreateBucketConfiguration", "CreateBucketConfiguration"),
        Nothing
    ),
    action!("createMultipartUpload", POST, Object, Some("uploads"), Nothing, Xml),
    action!("deleteBucket", DELETE, Bucket, None, Nothing, Nothing),
    action!("deleteObject", DELETE, Object, None, Nothing, Nothing),
    action!("deleteObjectTagging", DELETE, Object, Some("tagging"), Nothing, Nothing),
    action!("deleteObjects", POST, Bucket, Some("delete"), Xml("Delete", "Delete"), Xml),
    action!("getObject", GET, Object, None, Nothing, Body),
    action!("getObjectTagging", GET, Object, Some("tagging"), Nothing, Xml),
    action!("headBucket", HEAD, Bucket, None, Nothing, Nothing),
    action!("headObject", HEAD, Object, None, Nothing, Nothing),
    action!("listBuckets", GET, Service, None, Nothing, Xml),
    action!("listObjectVersions", GET, Bucket, Some("versions"), Nothing, Xml),
    action!("listObjects", GET, Bucket, None, Nothing, Xml),
    action!("listObjectsV2", GET, Bucket, Some("list-type=2"), Nothing, Xml),
    action!("putObject", PUT, Object, None, Body, Nothing),
    action!("putObjectTagging", PUT, Object, Some("tagging"), Xml("Tagging", "Tagging"), Nothing),
    action!("uploadPart", PUT, Object, None, Body, Nothing),
    action!("uploadPartCopy", PUT, Object, None, Nothing, Xml),
];

/// Fields that go into the query.
const QUERIED: &[(&str, &str)] = &[
    ("ContinuationToken", "continuation-token"),
    ("Delimiter", "delimiter"),
    ("EncodingType", "encoding-type"),
    ("FetchOwner", "fetch-owner"),
    ("KeyMarker", "key-marker"),
    ("Marker", "marker"),
    ("MaxKeys", "max-keys"),
    ("PartNumber", "partNumber"),
    ("Prefix", "prefix"),
    ("StartAfter", "start-after"),
    ("UploadId", "uploadId"),
    ("VersionId", "versionId"),
    ("VersionIdMarker", "version-id-marker"),
];

/// Fields that go into headers.
const HEADED: &[(&str, &str)] = &[
    ("ACL", "x-amz-acl"),
    ("CacheControl", "cache-control"),
    ("ContentDisposition", "content-disposition"),
    ("ContentEncoding", "content-encoding"),
    ("ContentLanguage", "content-language"),
    ("ContentType", "content-type"),
    ("CopySource", "x-amz-copy-source"),
    ("CopySourceRange", "x-amz-copy-source-range"),
    ("ExpectedBucketOwner", "x-amz-expected-bucket-owner"),
    ("IfMatch", "if-match"),
    ("IfNoneMatch", "if-none-match"),
    ("MetadataDirective", "x-amz-metadata-directive"),
    ("Range", "range"),
    ("RequestPayer", "x-amz-request-payer"),
    ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id"),
    ("ServerSideEncryption", "x-amz-server-side-encryption"),
    ("StorageClass", "x-amz-storage-class"),
    ("Tagging", "x-amz-tagging"),
];

/// Headers of any answer, and their fields.
const ANSWERED: &[(&str, &str)] = &[
    ("etag", "ETag"),
    ("x-amz-bucket-region", "BucketRegion"),
    ("x-amz-checksum-crc32", "ChecksumCRC32"),
    ("x-amz-checksum-type", "ChecksumType"),
    ("x-amz-delete-marker", "DeleteMarker"),
    ("x-amz-server-side-encryption", "ServerSideEncryption"),
    ("x-amz-version-id", "VersionId"),
];

/// Further headers where the answer is about an object itself.
const OF_OBJECT: &[(&str, &str)] = &[
    ("accept-ranges", "AcceptRanges"),
    ("cache-control", "CacheControl"),
    ("content-disposition", "ContentDisposition"),
    ("content-encoding", "ContentEncoding"),
    ("content-language", "ContentLanguage"),
    ("content-length", "ContentLength"),
    ("content-range", "ContentRange"),
    ("content-type", "ContentType"),
    ("last-modified", "LastModified"),
    ("x-amz-storage-class", "StorageClass"),
    ("x-amz-tagging-count", "TagCount"),
];

const META: &str = "x-amz-meta-";

const SHAPE: Shape = Shape {
    repeated: &[
        ("Bucket", "Buckets"),
        ("CommonPrefixes", "CommonPrefixes"),
        ("Contents", "Contents"),
        ("DeleteMarker", "DeleteMarkers"),
        ("Deleted", "Deleted"),
        ("Error", "Errors"),
        ("Tag", "TagSet"),
        ("Version", "Versions"),
    ],
    numbers: &["KeyCount", "MaxKeys", "Size"],
    flags: &["IsLatest", "IsTruncated"],
};

fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The request of an action.
pub(super) fn request(
    endpoint: &str,
    name: &str,
    parameters: &Map<String, Value>,
) -> Result<Unsigned, String> {
    let action = find(name).ok_or_else(|| {
        let known: Vec<&str> = ACTIONS.iter().map(|action| action.name).collect();
        format!("of s3 this server calls {}, and not {name}", known.join(", "))
    })?;
    let text = |name: &str| parameters.get(name).map(text::of);
    let required = |name: &str| {
        text(name)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| format!("The field '{name}' is required but was missing"))
    };
    let mut url = endpoint.to_owned();
    url.push('/');
    if action.about != About::Service {
        url.push_str(&encode(&required("Bucket")?));
    }
    if action.about == About::Object {
        url.push('/');
        url.push_str(&encode_path(&required("Key")?));
    }
    let mut query: Vec<String> = action.sub.into_iter().map(str::to_owned).collect();
    for (field, name) in QUERIED {
        query.extend(text(field).map(|value| format!("{name}={}", encode(&value))));
    }
    if !query.is_empty() {
        let _ = write!(url, "?{}", query.join("&"));
    }
    let body = match action.carries {
        Carries::Nothing => None,
        // What is no text is stored as the JSON that it is.
        Carries::Body => Some(text("Body").unwrap_or_default()),
        Carries::Xml(field, root) => parameters.get(field).map(|value| {
            let mut xml = String::new();
            xml::write(&mut xml, root, value);
            xml
        }),
    };
    let headers = headers(parameters, body.as_deref())?;
    let body = body.map_or_else(Bytes::new, Bytes::from);
    Ok(Unsigned { method: action.method.clone(), url, headers, body })
}

fn headers(parameters: &Map<String, Value>, body: Option<&str>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: &str| put(&mut headers, name, value);
    for (field, name) in HEADED {
        // A tag set of `putObjectTagging` goes into the body.
        if let Some(value) = parameters.get(*field).filter(|value| !value.is_object()) {
            put(name, &text::of(value))?;
        }
    }
    for (name, value) in parameters.get("Metadata").and_then(Value::as_object).into_iter().flatten()
    {
        put(&format!("{META}{name}"), &text::of(value))?;
    }
    if let Some(body) = body {
        put("x-amz-checksum-crc32", &crc32(body.as_bytes()))?;
    }
    Ok(headers)
}

/// Whether an action gives an object itself.
pub(super) fn gives_body(name: &str) -> bool {
    find(name).is_some_and(|action| action.gives == Gives::Body)
}

/// What an action gave.
pub(super) fn result(name: &str, answer: &Answer) -> Result<Map<String, Value>, String> {
    let gives = find(name).map_or(Gives::Nothing, |action| action.gives);
    let mut fields = Map::new();
    let of_object = matches!(name, "getObject" | "headObject");
    let object: &[_] = if of_object { OF_OBJECT } else { &[] };
    for (header, field) in ANSWERED.iter().chain(object) {
        if let Some(value) = answer.headers.get(*header).and_then(|value| value.to_str().ok()) {
            fields.insert((*field).to_owned(), field_of(field, value));
        }
    }
    if of_object {
        let meta = answer.headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(META)?;
            Some((name.to_owned(), value.to_str().ok()?.into()))
        });
        fields.insert("Metadata".to_owned(), Value::Object(meta.collect()));
    }
    match gives {
        Gives::Nothing => {}
        Gives::Body => {
            fields.insert("Body".to_owned(), text::of_body(&answer.body));
        }
        Gives::Xml => {
            let body = String::from_utf8_lossy(&answer.body);
            let document = xml::parse(&body)?;
            let root = document.root_element();
            let mut told = xml::fields(root, &SHAPE);
            unwrap_lists(&mut told);
            if let "copyObject" | "uploadPartCopy" = name {
                let around = root.tag_name().name().to_owned();
                told = [(around, Value::Object(told))].into_iter().collect();
            }
            fields.extend(told);
        }
    }
    Ok(fields)
}

/// `Buckets` and `TagSet` have an element around their items.
fn unwrap_lists(fields: &mut Map<String, Value>) {
    for name in ["Buckets", "TagSet"] {
        if let Some(list) = fields.get_mut(name)
            && let Some(inner) = list.get_mut(name)
        {
            *list = inner.take();
        }
    }
}

fn field_of(field: &str, value: &str) -> Value {
    match field {
        "ContentLength" | "TagCount" => {
            value.parse::<u64>().map_or_else(|_| json!(value), Into::into)
        }
        "DeleteMarker" => (value == "true").into(),
        "LastModified" => {
            let parsed = jiff::fmt::rfc2822::parse(value).map(|at| at.timestamp().to_string());
            parsed.unwrap_or_else(|_| value.to_owned()).into()
        }
        _ => value.into(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(action: &str, parameters: &Value, expected: &str) {
        let request = request("http://e", action, parameters.as_object().unwrap());
        let shown = match request {
            Err(error) => error,
            Ok(request) => {
                let body = String::from_utf8_lossy(&request.body);
                format!("{} {} {body}", request.method, request.url).trim_end().to_owned()
            }
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn fields_of_a_request_go_where_s3_wants_them() {
        let object = json!({ "Bucket": "b", "Key": "a b/c?", "VersionId": "1" });
        check("getObject", &object, "GET http://e/b/a%20b/c%3F?versionId=1");
        let list = json!({ "Bucket": "b", "Prefix": "p/", "MaxKeys": 2 });
        check("listObjectsV2", &list, "GET http://e/b?list-type=2&max-keys=2&prefix=p%2F");
        let put = json!({ "Bucket": "b", "Key": "k", "Body": { "a": 1 } });
        check("putObject", &put, r#"PUT http://e/b/k {"a":1}"#);
        let gone = json!({ "Bucket": "b", "Delete": { "Objects": [{ "Key": "k" }] } });
        let body = "<Delete><Object><Key>k</Key></Object></Delete>";
        check("deleteObjects", &gone, &format!("POST http://e/b?delete {body}"));
        check(
            "getObject",
            &json!({ "Bucket": "b" }),
            "The field 'Key' is required but was missing",
        );
        check("listBuckets", &json!({}), "GET http://e/");
    }

    #[test]
    fn fields_of_an_answer_are_found_in_headers_and_body() {
        let mut headers = HeaderMap::new();
        headers.insert("etag", HeaderValue::from_static("\"e\""));
        headers.insert("content-length", HeaderValue::from_static("2"));
        headers.insert("x-amz-meta-k", HeaderValue::from_static("v"));
        headers.insert("last-modified", HeaderValue::from_static("Fri, 15 Nov 2024 13:57:13 GMT"));
        let answer = |body: &'static str| Answer {
            status: hyper::StatusCode::OK,
            headers: headers.clone(),
            body: body.into(),
        };
        let read = Value::Object(result("getObject", &answer("hi")).unwrap());
        let expected = json!({ "ETag": "\"e\"", "ContentLength": 2, "Metadata": { "k": "v" },
                               "LastModified": "2024-11-15T13:57:13Z", "Body": "hi" });
        assert_eq!(read, expected);
        let list = "<L><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated><Contents><Key>k</Key>\
                    <Size>3</Size></Contents></L>";
        let list = Value::Object(result("listObjectsV2", &answer(list)).unwrap());
        assert_eq!(list["Contents"], json!([{ "Key": "k", "Size": 3 }]));
        assert_eq!((&list["KeyCount"], &list["IsTruncated"]), (&json!(1), &json!(false)));
        let buckets = "<L><Buckets><Bucket><Name>b</Name></Bucket></Buckets></L>";
        let buckets = Value::Object(result("listBuckets", &answer(buckets)).unwrap());
        assert_eq!(buckets["Buckets"], json!([{ "Name": "b" }]));
    }
}
