//! Tenants and keys.

use model::{Amount, KeyId, TenantName};
use store::{Change, Key, Month, Tenant};

use crate::catalog::{hash_secret, signing_secret};
use crate::control::Message;
use crate::error::{Error, ErrorKind};
use crate::handle::Handle;
use crate::ids;
use crate::types::{AccessKey, KeyInfo, NewKey, NewTenant, Principal, Role, TenantInfo};

/// The tenant that every node has.
pub(crate) fn default_tenant() -> TenantName {
    "default".parse().expect("the name is well formed")
}

pub(crate) const fn role_of(role: store::Role) -> Role {
    match role {
        store::Role::Admin => Role::Admin,
        store::Role::Member => Role::Member,
    }
}

/// A key and its secret, which is nowhere else.
pub(crate) fn new_key(new: NewKey, now: model::Timestamp) -> (Key, String) {
    let secret = ids::secret();
    let key = Key {
        id: ids::key(now),
        tenant: new.tenant,
        label: new.label,
        role: match new.role {
            Role::Admin => store::Role::Admin,
            Role::Member => store::Role::Member,
        },
        max_class: new.max_class,
        secret_hash: hash_secret(&secret),
        created: now,
        revoked: None,
    };
    (key, secret)
}

impl Handle {
    /// Makes a tenant.
    ///
    /// # Errors
    /// `Forbidden` but for admins, `Conflict`, `Storage`.
    pub async fn create_tenant(
        &self,
        who: &Principal,
        new: NewTenant,
    ) -> Result<TenantInfo, Error> {
        self.check_admin(who)?;
        if self.inner.catalog.tenant(&new.name).is_some() {
            let message = format!("tenant {} exists; `fermata tenant update` changes it", new.name);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let tenant = Tenant {
            name: new.name,
            created: self.now(),
            monthly_budget: new.budget,
            allow_network: new.network,
        };
        self.apply(Change::CreateTenant(tenant.clone())).await?;
        self.tenant_changed(tenant).await
    }

    /// Changes a tenant's budget and network right.
    ///
    /// # Errors
    /// `Forbidden` but for admins, `NotFound`, `Storage`.
    pub async fn update_tenant(
        &self,
        who: &Principal,
        new: NewTenant,
    ) -> Result<TenantInfo, Error> {
        self.check_admin(who)?;
        let mut tenant = self.known_tenant(&new.name)?;
        tenant.monthly_budget = new.budget;
        tenant.allow_network = new.network;
        let change = Change::UpdateTenant {
            name: new.name,
            monthly_budget: new.budget,
            allow_network: new.network,
        };
        self.apply(change).await?;
        self.tenant_changed(tenant).await
    }

    /// All tenants for an admin, one's own else.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn tenants(&self, who: &Principal) -> Result<Vec<TenantInfo>, Error> {
        let mut infos = Vec::new();
        for tenant in self.inner.catalog.tenants() {
            if who.role == Role::Admin || tenant.name == who.tenant {
                infos.push(self.tenant_info(tenant).await?);
            }
        }
        Ok(infos)
    }

    /// Makes a key; its secret is returned this once and kept nowhere.
    ///
    /// # Errors
    /// `Forbidden` but for admins, `NotFound` (tenant), `UnknownClass`, `Storage`.
    pub async fn create_key(
        &self,
        who: &Principal,
        new: NewKey,
    ) -> Result<(KeyInfo, String), Error> {
        self.check_admin(who)?;
        self.known_tenant(&new.tenant)?;
        if let Some(class) = &new.max_class {
            self.inner.class(class, self.inner.prices.highest())?;
        }
        let (key, secret) = new_key(new, self.now());
        self.apply(Change::CreateKey(key.clone())).await?;
        self.inner.catalog.put_key(key.clone());
        Ok((self.key_info(key), secret))
    }

    /// Keys of one tenant or of all, oldest first.
    ///
    /// # Errors
    /// `Forbidden` but for admins.
    pub async fn keys(
        &self,
        who: &Principal,
        tenant: Option<&TenantName>,
    ) -> Result<Vec<KeyInfo>, Error> {
        self.check_admin(who)?;
        let mut keys = self.inner.catalog.keys();
        keys.retain(|key| tenant.is_none_or(|tenant| key.tenant == *tenant));
        Ok(keys.into_iter().map(|key| self.key_info(key)).collect())
    }

    /// Ends a key's validity at once.
    ///
    /// # Errors
    /// `Forbidden` but for admins, `NotFound`, `Storage`.
    pub async fn revoke_key(&self, who: &Principal, id: KeyId) -> Result<(), Error> {
        self.check_admin(who)?;
        let Some(key) = self.inner.catalog.key_by_id(id) else {
            return Err(Error::new(ErrorKind::NotFound, format!("no key {id}")));
        };
        let at = self.now();
        self.apply(Change::RevokeKey { tenant: key.tenant, id, at }).await?;
        self.inner.catalog.revoke(id, at);
        Ok(())
    }

    /// The key of that id, for verifying what was signed with it. None where it is unknown or was
    /// revoked.
    #[must_use]
    pub fn access_key(&self, id: &str) -> Option<AccessKey> {
        let key = self.inner.catalog.key_by_id(id.parse().ok()?)?;
        if key.revoked.is_some() {
            return None;
        }
        let (id, secret) = (key.id.to_string(), signing_secret(&key));
        Some(AccessKey { id, secret, who: self.principal(key) })
    }

    /// The same of the key that somebody asks with.
    ///
    /// # Errors
    /// `NotFound` where nobody needs a key.
    pub fn own_access_key(&self, who: &Principal) -> Result<AccessKey, Error> {
        let key = who.key.and_then(|id| self.access_key(&id.to_string()));
        key.ok_or_else(|| {
            let message = "a development server takes any access key and secret";
            Error::new(ErrorKind::NotFound, message)
        })
    }

    pub(crate) fn check_admin(&self, who: &Principal) -> Result<(), Error> {
        if who.role == Role::Admin {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, "this needs an admin's key; yours is a member's"))
    }

    fn known_tenant(&self, name: &TenantName) -> Result<Tenant, Error> {
        let missing = || Error::new(ErrorKind::NotFound, format!("no tenant {name}"));
        self.inner.catalog.tenant(name).ok_or_else(missing)
    }

    async fn tenant_changed(&self, tenant: Tenant) -> Result<TenantInfo, Error> {
        let info = self.tenant_info(tenant.clone()).await?;
        let _ = self.inner.control.send(Message::Budget {
            tenant: tenant.name.clone(),
            monthly: tenant.monthly_budget,
            spent: None,
        });
        self.inner.catalog.put_tenant(tenant);
        Ok(info)
    }

    async fn tenant_info(&self, tenant: Tenant) -> Result<TenantInfo, Error> {
        let (name, month) = (tenant.name.clone(), Month::of(self.now()));
        let spent: Amount = self.read(move |store| store.month_spent(&name, month)).await?;
        Ok(TenantInfo {
            name: tenant.name,
            budget: tenant.monthly_budget,
            spent,
            network: tenant.allow_network,
            created: tenant.created,
        })
    }

    fn key_info(&self, key: Key) -> KeyInfo {
        let highest = &self.inner.prices.get(self.inner.prices.highest()).name;
        KeyInfo {
            id: key.id,
            tenant: key.tenant,
            label: key.label,
            role: role_of(key.role),
            max_class: key.max_class.unwrap_or_else(|| highest.clone()),
            created: key.created,
            revoked: key.revoked,
        }
    }
}
