//! Reads the items of distributed Map states from S3, as they come in.

use std::io::{Read as _, Write as _};

use asl::ask::Failed;
use asl::definition::Format;
use asl::items::{Held, Items, Layout};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use model::limits;
use node::states::Read;
use ruzstd::decoding::StreamingDecoder;
use serde_json::{Map, Value, json};

use super::aws::{Way, no_endpoint};
use super::query;
use super::send::{Answer, chain};
use super::services::{self, Service};
use super::{Outside, s3};

/// What has been read, and what room there is.
struct Taken {
    items: Vec<Value>,
    /// Where they come from, as the state machine wants it.
    places: Vec<Value>,
    items_max: usize,
    room: usize,
}

/// An object.
struct Object {
    bucket: String,
    key: String,
    version: Option<String>,
}

impl Object {
    fn parameters(&self) -> Map<String, Value> {
        let mut parameters = Map::new();
        parameters.insert("Bucket".to_owned(), self.bucket.clone().into());
        parameters.insert("Key".to_owned(), self.key.clone().into());
        if let Some(version) = &self.version {
            parameters.insert("VersionId".to_owned(), version.clone().into());
        }
        parameters
    }
}

impl Taken {
    fn is_full(&self) -> bool {
        self.items.len() >= self.items_max
    }

    /// Adds what was found in one place.
    fn add(&mut self, place: &str, found: Held) {
        let first = self.items.len();
        self.items.extend(found.items);
        if self.items.len() > first {
            self.places.push(if found.are_fields {
                json!([first, place, true])
            } else {
                json!([first, place])
            });
        }
    }

    /// Adds what an object held.
    fn took(&mut self, object: &Object, items: Items) -> Result<(), Failed> {
        self.room = items.room();
        self.add(&format!("s3://{}/{}", object.bucket, object.key), items.finish()?);
        Ok(())
    }

    fn told(self) -> Value {
        let mut both = Map::new();
        both.insert("Items".to_owned(), self.items.into());
        both.insert("Places".to_owned(), self.places.into());
        both.into()
    }

    fn layout(&self, read: &Read, format: Option<Format>) -> Layout {
        let left = self.items_max.saturating_sub(self.items.len());
        Layout {
            format,
            csv_headers: read.csv_headers.clone(),
            csv_delimiter: read.csv_delimiter,
            items_pointer: read.items_pointer.clone(),
            max_items: u64::try_from(left).ok(),
        }
    }
}

impl Outside {
    /// The items, an array.
    pub(crate) async fn read(&self, read: &Read) -> Result<Value, Failed> {
        let format = read.format.as_deref().and_then(Format::from_name);
        let most = read.max_items.and_then(|most| usize::try_from(most).ok());
        let mut taken = Taken {
            items: Vec::new(),
            places: Vec::new(),
            items_max: most.unwrap_or(usize::MAX),
            room: limits::ASL_ITEMS_BYTES_MAX,
        };
        if read.resource.ends_with(":s3:listObjectsV2") {
            self.listing(read, format, &mut taken).await?;
            return Ok(taken.told());
        }
        let text = |name: &str| read.arguments.get(name).and_then(Value::as_str).map(str::to_owned);
        let object = Object {
            bucket: text("Bucket").unwrap_or_default(),
            key: text("Key").unwrap_or_default(),
            version: text("VersionId"),
        };
        match (format, read.manifest_type.as_deref()) {
            (_, Some("ATHENA_DATA")) => self.of_athena(read, format, &object, &mut taken).await?,
            (Some(Format::Manifest), _) => self.of_inventory(read, &object, &mut taken).await?,
            _ => {
                let layout = taken.layout(read, format);
                self.object(&object, layout, &mut taken).await?;
            }
        }
        Ok(taken.told())
    }

    /// The items of one object, added to those that were taken.
    async fn object(
        &self,
        object: &Object,
        layout: Layout,
        taken: &mut Taken,
    ) -> Result<(), Failed> {
        let body = self.get(object).await?;
        let mut items = Items::new(layout, taken.room);
        if object.key.ends_with(".zstd") || object.key.ends_with(".zst") {
            let packed = self.whole(body, limits::ASL_ITEMS_BYTES_MAX).await?;
            let key = object.key.clone();
            let unpacked = move || unpack(&packed, &mut items, &key).map(|()| items);
            let unpacked = tokio::task::spawn_blocking(unpacked).await;
            let items = unpacked.map_err(|error| failed(error.to_string()))??;
            return taken.took(object, items);
        }
        let packed = object.key.ends_with(".gz");
        let mut unpack = MultiGzDecoder::new(Vec::new());
        self.each(body, &mut |bytes: &[u8]| {
            if packed {
                let unpacked = unpack.write_all(bytes);
                unpacked.map_err(|error| failed(format!("{}: {error}", object.key)))?;
                items.push(&std::mem::take(unpack.get_mut()))?;
            } else {
                items.push(bytes)?;
            }
            Ok(items.is_full())
        })
        .await?;
        if packed && !items.is_full() {
            let rest = unpack.finish();
            items.push(&rest.map_err(|error| failed(format!("{}: {error}", object.key)))?)?;
        }
        taken.took(object, items)
    }

    /// Objects that a manifest of S3's inventory lists: one item for each line of its files.
    async fn of_inventory(
        &self,
        read: &Read,
        manifest: &Object,
        taken: &mut Taken,
    ) -> Result<(), Failed> {
        let text = self.text(manifest).await?;
        let listed: Value =
            serde_json::from_str(&text).map_err(|_| failed("The manifest is not valid JSON."))?;
        if listed["fileFormat"].as_str() != Some("CSV") {
            return Err(failed("Of S3's inventories this server reads those in CSV."));
        }
        let schema = listed["fileSchema"].as_str().unwrap_or_default();
        let headers: Vec<String> = schema.split(',').map(|name| name.trim().to_owned()).collect();
        let bucket = listed["destinationBucket"].as_str().unwrap_or(&manifest.bucket);
        let bucket = bucket.rsplit(':').next().unwrap_or_default().to_owned();
        for file in listed["files"].as_array().into_iter().flatten() {
            if taken.is_full() {
                break;
            }
            let key = file["key"].as_str().unwrap_or_default().to_owned();
            let object = Object { bucket: bucket.clone(), key, version: None };
            let layout = Layout {
                csv_headers: Some(headers.clone()),
                csv_delimiter: ',',
                items_pointer: None,
                ..taken.layout(read, Some(Format::Csv))
            };
            self.object(&object, layout, taken).await?;
        }
        Ok(())
    }

    /// Items of the objects that a manifest of Athena's `UNLOAD` names, one a line.
    async fn of_athena(
        &self,
        read: &Read,
        format: Option<Format>,
        manifest: &Object,
        taken: &mut Taken,
    ) -> Result<(), Failed> {
        let text = self.text(manifest).await?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if taken.is_full() {
                break;
            }
            let place = line.strip_prefix("s3://").and_then(|rest| rest.split_once('/'));
            let (bucket, key) = place.ok_or_else(|| {
                failed(format!("The manifest names {line:?}, which is no object."))
            })?;
            let object = Object { bucket: bucket.to_owned(), key: key.to_owned(), version: None };
            let layout = taken.layout(read, format);
            self.object(&object, layout, taken).await?;
        }
        Ok(())
    }

    /// The objects of a listing, or with `LOAD_AND_FLATTEN` what is in them.
    async fn listing(
        &self,
        read: &Read,
        format: Option<Format>,
        taken: &mut Taken,
    ) -> Result<(), Failed> {
        let loads = read.transformation.as_deref() == Some("LOAD_AND_FLATTEN");
        let mut parameters = read.arguments.as_object().cloned().unwrap_or_default();
        let bucket =
            parameters.get("Bucket").and_then(Value::as_str).unwrap_or_default().to_owned();
        loop {
            let page = self.page(&parameters).await?;
            for object in page["Contents"].as_array().into_iter().flatten() {
                if taken.is_full() {
                    return Ok(());
                }
                let key = object["Key"].as_str().unwrap_or_default();
                if loads {
                    let key = key.to_owned();
                    let object = Object { bucket: bucket.clone(), key, version: None };
                    let layout = taken.layout(read, format);
                    self.object(&object, layout, taken).await?;
                    continue;
                }
                taken.room = taken.room.checked_sub(key.len() + LISTED_BYTES).ok_or_else(full)?;
                let items = vec![listed(object)];
                let found = Held { items, are_fields: false };
                // All of a listing come from one place.
                if taken.places.is_empty() {
                    taken.add(&format!("s3://{bucket}"), found);
                } else {
                    taken.items.extend(found.items);
                }
            }
            match page.get("NextContinuationToken").and_then(Value::as_str) {
                Some(token) if page["IsTruncated"] == true => {
                    parameters.insert("ContinuationToken".to_owned(), token.into());
                }
                _ => return Ok(()),
            }
        }
    }

    async fn page(&self, parameters: &Map<String, Value>) -> Result<Value, Failed> {
        let (service, endpoint) = self.storage()?;
        let request = s3::request(endpoint, "listObjectsV2", parameters).map_err(failed)?;
        let answer = self.exchange(service.signing, request).await.map_err(failed)?;
        let answer = succeeded(service, answer)?;
        s3::result("listObjectsV2", &answer).map(Value::Object).map_err(failed)
    }

    /// A whole small object.
    async fn text(&self, object: &Object) -> Result<String, Failed> {
        let body = self.get(object).await?;
        let whole = self.whole(body, limits::OUTSIDE_ANSWER_BYTES_MAX).await?;
        String::from_utf8(whole).map_err(|_| failed("The file is not encoded in UTF-8."))
    }

    /// All bytes of an object.
    async fn whole(&self, body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Failed> {
        let mut whole = Vec::new();
        self.each(body, &mut |bytes: &[u8]| {
            if whole.len() + bytes.len() > bytes_max {
                return Err(full());
            }
            whole.extend_from_slice(bytes);
            Ok(false)
        })
        .await?;
        Ok(whole)
    }

    /// An object's bytes, to be read as they come.
    async fn get(&self, object: &Object) -> Result<Incoming, Failed> {
        let (service, endpoint) = self.storage()?;
        let request = s3::request(endpoint, "getObject", &object.parameters()).map_err(failed)?;
        let request = self.signed(service.signing, request).map_err(failed)?;
        let begun = tokio::time::timeout(limits::OUTSIDE_CALL_TIME_MAX, self.client.begin(request));
        let response = begun.await.map_err(|_| failed(silent()))?.map_err(failed)?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let collected = tokio::time::timeout(limits::OUTSIDE_CALL_TIME_MAX, body.collect()).await;
        let body = match collected {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        let answer = Answer { status: head.status, headers: head.headers, body };
        succeeded(service, answer).and_then(|_| Err(failed("an answer without an object")))
    }

    /// Hands the bytes over as they come, until `take` has enough.
    async fn each(
        &self,
        mut body: Incoming,
        take: &mut (dyn FnMut(&[u8]) -> Result<bool, Failed> + Send),
    ) -> Result<(), Failed> {
        loop {
            let frame = tokio::time::timeout(limits::OUTSIDE_CALL_TIME_MAX, body.frame()).await;
            let Some(frame) = frame.map_err(|_| failed(silent()))? else { return Ok(()) };
            let frame = frame.map_err(|error| failed(chain(&error)))?;
            if let Some(bytes) = frame.data_ref()
                && take(bytes)?
            {
                return Ok(());
            }
        }
    }

    fn storage(&self) -> Result<(&'static Service, &str), Failed> {
        let without = || failed(no_endpoint("s3").cause.unwrap_or_default());
        let service = services::find("s3").ok_or_else(without)?;
        Ok((service, self.settings.endpoint("s3").ok_or_else(without)?))
    }
}

/// Unpacks frames of Zstandard, until there are items enough.
fn unpack(mut packed: &[u8], items: &mut Items, key: &str) -> Result<(), Failed> {
    let mut bytes = vec![0; 64 << 10];
    while !packed.is_empty() {
        let frame = StreamingDecoder::new(&mut packed);
        let mut frame = frame.map_err(|error| failed(format!("{key}: {error}")))?;
        loop {
            let read = frame.read(&mut bytes);
            let read = read.map_err(|error| failed(format!("{key}: {error}")))?;
            if read == 0 {
                break;
            }
            items.push(&bytes[..read])?;
            if items.is_full() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// About what an item of a listing has beside its key.
const LISTED_BYTES: usize = 128;

/// An object of a listing, as a reader shows it.
fn listed(object: &Value) -> Value {
    let at = object["LastModified"].as_str().unwrap_or_default();
    let modified =
        at.parse::<jiff::Timestamp>().map_or_else(|_| at.into(), |at| at.as_second().into());
    let modified: Value = modified;
    json!({
        "Etag": object["ETag"],
        "Key": object["Key"],
        "LastModified": modified,
        "Size": object["Size"],
        "StorageClass": object["StorageClass"],
    })
}

fn succeeded(service: &Service, answer: Answer) -> Result<Answer, Failed> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let refusal = query::refusal(&answer).told(&service.names(), Way::Optimized);
    Err(failed(refusal.cause.unwrap_or_default()))
}

fn silent() -> String {
    format!("S3 was silent for {} s", limits::OUTSIDE_CALL_TIME_MAX.as_secs())
}

fn full() -> Failed {
    failed("The items have more bytes than this server holds for one Map state.")
}

fn failed(cause: impl Into<String>) -> Failed {
    Failed { error: "States.ItemReaderFailed".to_owned(), cause: Some(cause.into()) }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    #[test]
    fn frames_are_unpacked_one_after_the_other_and_what_is_none_is_refused() {
        let held = |packed: &[u8], max_items, bytes_max| {
            let layout = Layout {
                format: Some(Format::Jsonl),
                csv_headers: None,
                csv_delimiter: ',',
                items_pointer: None,
                max_items,
            };
            let mut items = Items::new(layout, bytes_max);
            unpack(packed, &mut items, "k.zstd")?;
            items.finish().map(|held| held.items)
        };
        let frame = |text: &str| compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let long = "7\n".repeat(100_000);
        let packed = [frame(&long), frame("8\n9")].concat();
        let items = held(&packed, None, usize::MAX).unwrap();
        assert_eq!((items.len(), &items[99_999..]), (100_002, &[7.into(), 8.into(), 9.into()][..]));
        assert_eq!(held(&packed, Some(2), usize::MAX).unwrap().len(), 2);
        assert!(held(&packed, None, long.len()).is_err(), "unpacked it has more bytes");
        assert!(held(b"no frame", None, usize::MAX).unwrap_err().cause.unwrap().contains("k.zstd"));
    }
}
