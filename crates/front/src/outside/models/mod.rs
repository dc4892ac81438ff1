//! Services as their models say: the folder that the operator names has one for each, in the layout of
//! AWS's SDK for Python (`SERVICE/API-VERSION/service-2.json`, packed or not). A model is read when its
//! service is called first, and kept.
//!
//! Start reading at [`Models::find`]; [`api`] is what a model comes to. Parameters are held against it in
//! [`checked`], written down by [`request`], and [`answer`] reads what comes back.

mod answer;
mod api;
mod checked;
mod form;
mod json;
mod list;
pub(super) mod naming;
mod raw;
mod request;
mod time;
mod xml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::model::limits;
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use api::Kind;

use super::send::Answer;
use super::sign::Unsigned;
use super::{Way, services};
pub(super) use api::Api;

/// The models of a folder.
pub(super) struct Models {
    folder: PathBuf,
    /// Those that were read, or are being read, by the service's name.
    kept: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Api>>>>>,
}

/// An action of a service that has a model.
pub(super) struct Action<'a> {
    api: &'a Api,
    operation: &'a api::Operation,
    way: Way,
}

impl Models {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), kept: Mutex::default() }
    }

    /// The service of that name; none where the folder has none.
    pub(super) async fn find(&self, service: &str) -> Result<Option<Arc<Api>>, String> {
        let cell = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= limits::AWS_MODELS_KEPT_MAX && !kept.contains_key(service) {
                kept.clear();
            }
            Arc::clone(kept.entry(service.to_owned()).or_default())
        };
        let read = || async {
            let (folder, name) = (self.folder.clone(), service.to_owned());
            let read = tokio::task::spawn_blocking(move || load(&folder, &name)).await;
            match read.map_err(|error| error.to_string()) {
                Ok(Ok(Some(api))) => Ok(Arc::new(api)),
                Ok(Ok(None)) => Err(None),
                Ok(Err(why)) | Err(why) => Err(Some(why)),
            }
        };
        match cell.get_or_try_init(read).await {
            Ok(api) => Ok(Some(Arc::clone(api))),
            Err(None) => Ok(None),
            Err(Some(why)) => Err(why),
        }
    }
}

impl<'a> Action<'a> {
    pub(super) fn find(api: &'a Api, action: &str, way: Way) -> Result<Self, String> {
        let operation = api.operation(action)?;
        for to in [&operation.input, &operation.output].into_iter().flatten() {
            let members = api.structure(to).into_iter().flat_map(|structure| &structure.members);
            if members.into_iter().any(|member| member.to.stream) {
                let id = &api.id;
                return Err(format!("{action} of {id} is about a stream of events; none is read"));
            }
        }
        Ok(Self { api, operation, way })
    }

    pub(super) fn is_of(&self, service: &str) -> bool {
        self.api.client.eq_ignore_ascii_case(service)
    }

    /// Whether a field of the answer is its whole body, as it is.
    pub(super) fn gives_body(&self) -> bool {
        let output = self.operation.output.as_ref().and_then(|to| self.api.structure(to));
        let payload = output.and_then(|output| Some(&output.members[output.payload?]));
        payload.is_some_and(|member| matches!(self.api.kind(&member.to), Kind::Blob | Kind::Text))
    }

    /// The request, or all that is wrong with the parameters.
    pub(super) fn request(
        &self,
        endpoint: &str,
        parameters: Map<String, Value>,
    ) -> Result<Unsigned, String> {
        request::request(self.api, self.operation, self.way, endpoint, parameters)
    }

    pub(super) fn result(&self, answer: &Answer) -> Result<Map<String, Value>, String> {
        answer::result(self.api, self.operation, self.way, answer)
    }
}

/// Reads the model of a service; none where there is none.
fn load(folder: &Path, service: &str) -> Result<Option<Api>, String> {
    let unreadable = |path: &Path, why: std::io::Error| {
        format!(
            "{} cannot be read ({why}): --aws-models names the folder `data` of botocore",
            path.display()
        )
    };
    let names = names_in(folder).map_err(|why| unreadable(folder, why))?;
    // What is called by is never a path: it is held against names that are there.
    let same = |name: &&String| services::canonical(name) == service;
    let alike = |name: &&String| name.replace('-', "") == service;
    let Some(found) = names.iter().find(same).or_else(|| names.iter().find(alike)) else {
        return Ok(None);
    };
    let folder = folder.join(found);
    // Versions are dates, so the last is the newest.
    for version in names_in(&folder).map_err(|why| unreadable(&folder, why))?.iter().rev() {
        for file in ["service-2.json.gz", "service-2.json"] {
            let path = folder.join(version).join(file);
            if path.is_file() {
                let text = unpacked(&path).map_err(|why| unreadable(&path, why))?;
                let api = raw::parse(&text)
                    .map_err(|why| format!("{} is no model of a service: {why}", path.display()))?;
                return Ok(Some(api));
            }
        }
    }
    Ok(None)
}

/// What is in a folder, in order.
fn names_in(folder: &Path) -> std::io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<std::io::Result<Vec<String>>>()?;
    names.sort_unstable();
    Ok(names)
}

/// A file, unpacked where it is packed.
fn unpacked(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let most = limits::AWS_MODEL_BYTES_MAX;
    let mut text = Vec::new();
    let read = if path.extension().is_some_and(|ending| ending == "gz") {
        MultiGzDecoder::new(file).take(most + 1).read_to_end(&mut text)?
    } else {
        file.take(most + 1).read_to_end(&mut text)?
    };
    if u64::try_from(read).unwrap_or(u64::MAX) > most {
        return Err(std::io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(text)
}
