//! Tenants, keys and functions in memory, as the store has them. The path of a call reads here and
//! never touches the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use engine::Orchestrator;
use model::{Durable, FunctionName, KeyId, Kind, PriceList, TenantName, Timestamp, Version};
use runtime::{Code, Network};
use sha2::{Digest, Sha256};
use store::{FunctionQuery, FunctionVersion, Key, Store, Tenant};
use tokio::sync::OnceCell;

use crate::types::FunctionInfo;

/// Rows asked of the store at a time.
const PAGE: usize = 500;

/// A version of a function, and whether its artifact is on the disk.
pub(crate) struct Entry {
    pub(crate) info: FunctionInfo,
    pub(crate) code: Arc<Code>,
    /// Set once the artifact was found or made.
    pub(crate) ready: OnceCell<()>,
    /// Runs its turns, where they are interpreted; set once the definition was read.
    pub(crate) orchestrator: OnceLock<Arc<dyn Orchestrator>>,
}

/// What a reload found.
#[derive(Default)]
pub(crate) struct Changed {
    /// New ones, and those whose settings are others.
    pub(crate) tenants: Vec<Tenant>,
    /// Functions that are no more.
    pub(crate) removed: Vec<(TenantName, FunctionName)>,
}

impl Entry {
    /// Whether it is that of the store.
    fn is(&self, function: &FunctionVersion) -> bool {
        let spec = &function.spec;
        self.info.version == function.version
            && self.info.created == spec.created
            && self.info.code_hash == spec.code_hash.0
    }

    /// Whether a call of it is an execution.
    pub(crate) fn orchestrates(&self) -> bool {
        match self.info.kind {
            Kind::StateMachine | Kind::Sequence => true,
            Kind::Wasm | Kind::Process => self.info.durable != Durable::No,
        }
    }
}

/// Everything that the path of a call looks up.
pub(crate) struct Catalog {
    artifacts: PathBuf,
    response_bytes_max: usize,
    tables: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    tenants: BTreeMap<TenantName, Tenant>,
    keys: HashMap<[u8; 32], Key>,
    /// By what each is found in `keys`.
    key_ids: HashMap<KeyId, [u8; 32]>,
    /// Versions of each function, rising.
    functions: HashMap<TenantName, BTreeMap<FunctionName, BTreeMap<Version, Arc<Entry>>>>,
}

impl Catalog {
    /// Reads everything from the store.
    pub(crate) fn load(
        store: &dyn Store,
        data: &Path,
        response_bytes_max: usize,
    ) -> Result<Self, store::Error> {
        let artifacts = data.join("artifacts");
        let catalog = Self { artifacts, response_bytes_max, tables: RwLock::default() };
        for tenant in store.tenants()? {
            for function in all_functions(store, &tenant.name)? {
                catalog.add_function(function);
            }
            catalog.put_tenant(tenant);
        }
        for key in store.keys()? {
            catalog.put_key(key);
        }
        Ok(catalog)
    }

    /// Takes over what other nodes changed in the store. What is known already stays as it is, so
    /// that nothing is made ready twice.
    pub(crate) fn reload(&self, store: &dyn Store) -> Result<Changed, store::Error> {
        let before = self.names();
        let mut changed = Changed::default();
        for tenant in store.tenants()? {
            let known = before.get(&tenant.name);
            let mut gone: BTreeSet<&FunctionName> = known.into_iter().flatten().collect();
            for latest in latest_functions(store, &tenant.name)? {
                gone.remove(&latest.spec.name);
                let entry = self.find(&tenant.name, &latest.spec.name, None);
                if !entry.is_some_and(|entry| entry.is(&latest)) {
                    self.replace_versions(&tenant.name, all_versions(store, latest)?);
                }
            }
            for name in gone {
                self.remove_function(&tenant.name, name);
                changed.removed.push((tenant.name.clone(), name.clone()));
            }
            if self.tenant(&tenant.name).as_ref() != Some(&tenant) {
                self.put_tenant(tenant.clone());
                changed.tenants.push(tenant);
            }
        }
        for key in store.keys()? {
            self.put_key(key);
        }
        Ok(changed)
    }

    fn names(&self) -> HashMap<TenantName, Vec<FunctionName>> {
        let tables = self.read();
        let names = |(tenant, functions): (&TenantName, &BTreeMap<FunctionName, _>)| {
            (tenant.clone(), functions.keys().cloned().collect())
        };
        tables.functions.iter().map(names).collect()
    }

    fn replace_versions(&self, tenant: &TenantName, versions: Vec<FunctionVersion>) {
        let Some(name) = versions.first().map(|function| function.spec.name.clone()) else {
            return;
        };
        let fresh: Vec<_> = versions
            .into_iter()
            .map(|function| {
                let known = self.find(tenant, &name, Some(function.version));
                let known = known.filter(|entry| entry.is(&function));
                (function.version, known.unwrap_or_else(|| Arc::new(self.entry(function))))
            })
            .collect();
        let mut tables = self.write();
        let functions = tables.functions.entry(tenant.clone()).or_default();
        let newest = fresh.iter().map(|(version, _)| *version).max();
        let versions = functions.entry(name).or_default();
        // One that was published here a moment ago may not have been read yet.
        versions.retain(|version, _| Some(*version) > newest);
        versions.extend(fresh);
    }

    pub(crate) fn put_tenant(&self, tenant: Tenant) {
        self.write().tenants.insert(tenant.name.clone(), tenant);
    }

    pub(crate) fn tenant(&self, name: &TenantName) -> Option<Tenant> {
        self.read().tenants.get(name).cloned()
    }

    pub(crate) fn tenants(&self) -> Vec<Tenant> {
        self.read().tenants.values().cloned().collect()
    }

    pub(crate) fn put_key(&self, key: Key) {
        let mut tables = self.write();
        tables.key_ids.insert(key.id, key.secret_hash);
        tables.keys.insert(key.secret_hash, key);
    }

    /// The key of this secret, revoked or not.
    pub(crate) fn key(&self, secret: &str) -> Option<Key> {
        self.read().keys.get(&hash_secret(secret)).cloned()
    }

    pub(crate) fn key_by_id(&self, id: KeyId) -> Option<Key> {
        let tables = self.read();
        tables.keys.get(tables.key_ids.get(&id)?).cloned()
    }

    pub(crate) fn revoke(&self, id: KeyId, at: Timestamp) {
        let mut tables = self.write();
        if let Some(hash) = tables.key_ids.get(&id).copied()
            && let Some(key) = tables.keys.get_mut(&hash)
        {
            key.revoked.get_or_insert(at);
        }
    }

    /// All keys, oldest first.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.read().keys.values().cloned().collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    pub(crate) fn add_function(&self, function: FunctionVersion) -> Arc<Entry> {
        let entry = Arc::new(self.entry(function));
        let (tenant, name) = (entry.code.tenant.clone(), entry.info.name.clone());
        let mut tables = self.write();
        let versions = tables.functions.entry(tenant).or_default().entry(name).or_default();
        versions.insert(entry.info.version, Arc::clone(&entry));
        entry
    }

    pub(crate) fn remove_function(&self, tenant: &TenantName, name: &FunctionName) {
        if let Some(functions) = self.write().functions.get_mut(tenant) {
            functions.remove(name);
        }
    }

    /// One version, the latest where none is named.
    pub(crate) fn find(
        &self,
        tenant: &TenantName,
        name: &FunctionName,
        version: Option<Version>,
    ) -> Option<Arc<Entry>> {
        let tables = self.read();
        let versions = tables.functions.get(tenant)?.get(name)?;
        match version {
            Some(version) => versions.get(&version).cloned(),
            None => versions.last_key_value().map(|(_, entry)| Arc::clone(entry)),
        }
    }

    /// The latest version of each function, by name.
    pub(crate) fn latest(&self, tenant: &TenantName) -> Vec<FunctionInfo> {
        let tables = self.read();
        let functions = tables.functions.get(tenant).into_iter().flat_map(BTreeMap::values);
        functions.filter_map(|v| v.last_key_value()).map(|(_, entry)| entry.info.clone()).collect()
    }

    /// All versions of a function, newest first.
    pub(crate) fn versions(&self, tenant: &TenantName, name: &FunctionName) -> Vec<FunctionInfo> {
        let tables = self.read();
        let versions = tables.functions.get(tenant).and_then(|functions| functions.get(name));
        let newest_first = versions.into_iter().flat_map(|versions| versions.values().rev());
        newest_first.map(|entry| entry.info.clone()).collect()
    }

    fn entry(&self, function: FunctionVersion) -> Entry {
        let FunctionVersion { version, spec } = function;
        let hash = spec.code_hash.0;
        let code = Arc::new(Code {
            tenant: spec.tenant.clone(),
            function: spec.name.clone(),
            version,
            runtime: spec.runtime.clone(),
            handler: spec.handler.clone(),
            environment: spec.environment.clone(),
            network: if spec.network { Network::Granted } else { Network::None },
            timeout: spec.timeout,
            response_bytes_max: self.response_bytes_max,
            durable: suspends(spec.kind, spec.durable),
            hash,
            artifact_dir: self.artifact_dir(&spec.tenant, &spec.runtime, hash),
        });
        let info = FunctionInfo {
            name: spec.name,
            version,
            kind: spec.kind,
            runtime: spec.runtime,
            handler: spec.handler,
            class: spec.default_class,
            timeout: spec.timeout,
            environment: spec.environment,
            network: spec.network,
            durable: spec.durable,
            description: spec.description,
            code_hash: hash,
            code_bytes: spec.code_size_bytes,
            created: spec.created,
        };
        Entry { info, code, ready: OnceCell::new(), orchestrator: OnceLock::new() }
    }

    /// Each tenant has its own artifacts, so that nothing tells whether another one has the same
    /// code.
    pub(crate) fn artifact_dir(
        &self,
        tenant: &TenantName,
        runtime: &str,
        hash: [u8; 32],
    ) -> PathBuf {
        self.artifacts.join(tenant.as_str()).join(format!("{}-{}", hex(&hash), runtime))
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the runtime has to do with a function's suspension: what an explicit one says in its
/// answers is the node's to read.
pub(crate) const fn suspends(kind: Kind, durable: Durable) -> runtime::Durable {
    match (kind, durable) {
        (Kind::Wasm, Durable::Stackful | Durable::Quiescent) => runtime::Durable::Yes,
        (Kind::Wasm, Durable::No | Durable::Explicit)
        | (Kind::Process | Kind::StateMachine | Kind::Sequence, _) => runtime::Durable::No,
    }
}

/// The class that a key may state at most.
pub(crate) fn max_class(key: &Key, prices: &PriceList) -> model::ClassId {
    match &key.max_class {
        None => prices.highest(),
        // A class that is no longer on the list allows the least.
        Some(name) => prices.find(name).unwrap_or_else(|| prices.lowest()),
    }
}

/// How a secret is kept. Secrets are 256 random bits, so one round of a plain hash suffices.
pub(crate) fn hash_secret(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// The secret by which AWS's clients sign for a key. It follows from what is kept of the key's own
/// secret: who verifies a signature must know what it is made with.
pub(crate) fn signing_secret(key: &Key) -> String {
    let digest = Sha256::new()
        .chain_update(b"secret access key of ")
        .chain_update(key.secret_hash)
        .finalize();
    hex(&digest)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

fn all_functions(
    store: &dyn Store,
    tenant: &TenantName,
) -> Result<Vec<FunctionVersion>, store::Error> {
    let mut all = Vec::new();
    for latest in latest_functions(store, tenant)? {
        all.extend(all_versions(store, latest)?);
    }
    Ok(all)
}

/// The latest version of each function of a tenant.
fn latest_functions(
    store: &dyn Store,
    tenant: &TenantName,
) -> Result<Vec<FunctionVersion>, store::Error> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let query = FunctionQuery::Latest { after: after.clone(), limit: PAGE };
        let page = store.functions(tenant, &query)?;
        let Some(last) = page.last() else { return Ok(all) };
        after = Some(last.spec.name.clone());
        all.extend(page);
    }
}

/// All versions of a function, of which the latest is known.
fn all_versions(
    store: &dyn Store,
    latest: FunctionVersion,
) -> Result<Vec<FunctionVersion>, store::Error> {
    let (tenant, name) = (latest.spec.tenant.clone(), latest.spec.name.clone());
    let mut before = Some(latest.version);
    let mut all = vec![latest];
    while before.is_some() {
        let query = FunctionQuery::Versions { name: name.clone(), before, limit: PAGE };
        let older = store.functions(&tenant, &query)?;
        before = older.last().map(|function| function.version);
        all.extend(older);
    }
    Ok(all)
}
