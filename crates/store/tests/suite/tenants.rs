//! Tenants, keys and settings.

use model::{Amount, KeyId};
use store::{Change, Error, Key, Options, Role, Tenant};

use crate::Opener;
use crate::given::{at, key, tenant, tenant_name, two_tenants};

pub(crate) fn a_tenant_is_created_once_and_updated(open: Opener<'_>) {
    let store = open(Options::default());
    store.apply(&Change::CreateTenant(tenant("globex"))).unwrap();
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    store.apply(&Change::CreateTenant(tenant("acme"))).unwrap();
    assert_eq!(store.tenants().unwrap(), [tenant("acme"), tenant("globex")]);

    let other = Tenant { created: at(9), ..tenant("acme") };
    let error = store.apply(&Change::CreateTenant(other)).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");

    let update = |name| Change::UpdateTenant {
        name: tenant_name(name),
        monthly_budget: None,
        allow_network: true,
    };
    store.apply(&update("acme")).unwrap();
    let updated = Tenant { monthly_budget: None, allow_network: true, ..tenant("acme") };
    assert_eq!(store.tenants().unwrap(), [updated, tenant("globex")]);
    let error = store.apply(&update("nobody")).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");

    let zero = Tenant { monthly_budget: Some(Amount(0)), ..tenant("zero") };
    store.apply(&Change::CreateTenant(zero.clone())).unwrap();
    assert!(store.tenants().unwrap().contains(&zero), "a budget of nothing is a budget");
}

pub(crate) fn a_key_is_kept_until_and_after_it_is_revoked(open: Opener<'_>) {
    let store = open(Options::default());
    let error = store.apply(&Change::CreateKey(key(1, "acme"))).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    two_tenants(&*store);

    let highest =
        Key { id: KeyId(u128::MAX), role: Role::Member, max_class: None, ..key(0, "globex") };
    for key in [&highest, &key(1, "acme"), &key(1, "acme")] {
        store.apply(&Change::CreateKey(key.clone())).unwrap();
    }
    assert_eq!(store.keys().unwrap(), [key(1, "acme"), highest.clone()]);
    let error = store.apply(&Change::CreateKey(key(1, "globex"))).unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");

    for ms in [5, 6] {
        let revoke = Change::RevokeKey { tenant: tenant_name("acme"), id: KeyId(1), at: at(ms) };
        store.apply(&revoke).unwrap();
    }
    let revoked = Key { revoked: Some(at(5)), ..key(1, "acme") };
    assert_eq!(store.keys().unwrap(), [revoked, highest]);
}

pub(crate) fn a_key_of_another_tenant_cannot_be_revoked(open: Opener<'_>) {
    let store = open(Options::default());
    two_tenants(&*store);
    store.apply(&Change::CreateKey(key(1, "acme"))).unwrap();
    let revoke = Change::RevokeKey { tenant: tenant_name("globex"), id: KeyId(1), at: at(5) };
    let error = store.apply(&revoke).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert_eq!(store.keys().unwrap(), [key(1, "acme")]);
}

pub(crate) fn a_setting_keeps_its_last_value(open: Opener<'_>) {
    let store = open(Options::default());
    assert_eq!(store.setting("salt").unwrap(), None);
    for value in [&b""[..], &[0, 255]] {
        store.apply(&Change::PutSetting { name: "salt".into(), value: value.into() }).unwrap();
        assert_eq!(store.setting("salt").unwrap().as_deref(), Some(value));
    }
    assert_eq!(store.setting("Salt").unwrap(), None);
}
