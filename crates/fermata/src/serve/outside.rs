//! What state machines may reach outside: flags and environment, then the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use front::outside::{self, Endpoint, Host, Keys, Settings};
use serde::Deserialize;

/// What was said about it. Of a pair the first is of flags or environment.
pub(super) struct Outside {
    pub(super) endpoints: (Vec<Endpoint>, BTreeMap<String, String>),
    pub(super) credentials: Option<PathBuf>,
    pub(super) models: Option<PathBuf>,
    pub(super) authorities: Option<PathBuf>,
    pub(super) http_allow: (Vec<Host>, Vec<String>),
    pub(super) connections: BTreeMap<String, Connection>,
}

/// What stands behind a `ConnectionArn`, as the file has it.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Connection {
    hosts: Vec<String>,
    headers: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    username: Option<String>,
    password: Option<String>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Outside {
    /// What holds. A flag goes before the same service in the file.
    pub(super) fn settings(self) -> anyhow::Result<Settings> {
        let mut settings = Settings::default();
        for (service, url) in self.endpoints.1 {
            let named = if service == "all" { url } else { format!("{service}={url}") };
            let endpoint = named.parse::<Endpoint>().map_err(anyhow::Error::msg);
            settings.allow(endpoint.context("read aws-endpoints of the configuration file")?);
        }
        self.endpoints.0.into_iter().for_each(|endpoint| settings.allow(endpoint));
        if let Some(path) = &self.credentials {
            settings.keys = keys(path)?;
        }
        if let Some(folder) = &self.models
            && !folder.is_dir()
        {
            anyhow::bail!(
                "there is no folder {}: --aws-models names the folder `data` of botocore (`pip install \
                 botocore`)",
                folder.display()
            );
        }
        settings.models = self.models;
        if let Some(path) = &self.authorities {
            let mut read = || settings.trust(&std::fs::read(path)?).map_err(anyhow::Error::msg);
            read().with_context(|| format!("read the authorities in {}", path.display()))?;
        }
        settings.http_allow = self.http_allow.0;
        if settings.http_allow.is_empty() {
            settings.http_allow =
                hosts(&self.http_allow.1).context("read http-allow of the configuration file")?;
        }
        for (name, connection) in self.connections {
            let made = connection.made();
            let made = made.with_context(|| format!("read [http-connections.{name}]"))?;
            settings.connections.insert(name, made);
        }
        Ok(settings)
    }
}

impl Connection {
    fn made(self) -> anyhow::Result<outside::Connection> {
        let basic = match (self.username, self.password) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            _ => anyhow::bail!("username and password stand together"),
        };
        if self.hosts.is_empty() {
            anyhow::bail!("say with hosts = [\"HOST:PORT\"] where it may be sent");
        }
        let hosts = hosts(&self.hosts)?;
        Ok(outside::Connection { hosts, headers: self.headers, query: self.query, basic })
    }
}

/// Keys of AWS in a file.
pub(super) fn keys(path: &Path) -> anyhow::Result<Keys> {
    let read = || {
        let text = std::fs::read_to_string(path)?;
        Keys::parse(&text).map_err(anyhow::Error::msg)
    };
    read().with_context(|| format!("read the credentials in {}", path.display()))
}

fn hosts(texts: &[String]) -> anyhow::Result<Vec<Host>> {
    texts.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fermata.toml");
        std::fs::write(&path, file).unwrap();
        let args = super::super::Args { config: Some(path), ..super::super::Args::default() };
        super::super::config::load(args).map(|config| config.aws.outside)
    }

    #[test]
    fn the_file_names_endpoints_hosts_and_connections() {
        let settings = load(
            "http-allow = [\"api.test:443\"]\n[aws-endpoints]\nsqs = \"http://127.0.0.1:1\"\n\
             all = \"http://127.0.0.1:2\"\n[http-connections.c]\nhosts = [\"api.test:443\"]\n\
             headers = { x-key = \"secret\" }\n",
        )
        .unwrap();
        assert_eq!(settings.http_allow, ["api.test:443".parse::<Host>().unwrap()]);
        assert_eq!(settings.connections["c"].headers["x-key"], "secret");
        assert!(!format!("{settings:?}").contains("secret"));
        let error = load("[http-connections.c]\nheaders = {}\n").unwrap_err();
        assert!(format!("{error:#}").contains("hosts"), "{error:#}");
        let error = load("[aws-endpoints]\nsqs = \"nowhere\"\n").unwrap_err();
        assert!(format!("{error:#}").contains("SERVICE=URL"), "{error:#}");
    }

    #[test]
    fn a_folder_of_models_and_a_file_of_authorities_are_there_and_are_what_they_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display();
        let settings = load(&format!("aws-models = \"{here}\"\n")).unwrap();
        assert_eq!(settings.models.as_deref(), Some(dir.path()));
        for (file, expected) in [
            (format!("aws-models = \"{here}/none\"\n"), "--aws-models names the folder `data`"),
            (format!("aws-ca = \"{here}/none\"\n"), "read the authorities in"),
            (format!("aws-ca = \"{here}/empty\"\n"), "has no certificate"),
            (format!("aws-ca = \"{here}/wrong\"\n"), "one of its certificates is none"),
        ] {
            std::fs::write(dir.path().join("empty"), "").unwrap();
            let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            std::fs::write(dir.path().join("wrong"), wrong).unwrap();
            let error = load(&file).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
