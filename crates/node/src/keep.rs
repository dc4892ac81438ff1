//! What a protocol keeps for a tenant, in its own encoding.

use store::Change;

use crate::error::Error;
use crate::handle::Handle;
use crate::types::Principal;

impl Handle {
    /// What was kept under that name.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn setting(&self, who: &Principal, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let name = full_name(who, name);
        self.read(move |store| store.setting(&name)).await
    }

    /// Keeps a value under that name: it is safe when this returns.
    ///
    /// # Errors
    /// `Storage`.
    pub async fn put_setting(
        &self,
        who: &Principal,
        name: &str,
        value: Vec<u8>,
    ) -> Result<(), Error> {
        self.apply(Change::PutSetting { name: full_name(who, name), value }).await
    }
}

fn full_name(who: &Principal, name: &str) -> String {
    format!("tenant/{}/{name}", who.tenant)
}
