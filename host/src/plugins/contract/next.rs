//! A version that there is not, `salt:returner@0.2.0`: that one comes beside the older one, and a
//! plugin goes on working that was built for that.
//!
//! It is unlike 0.1 where versions will be: a record has another field and lacks one, a function
//! of an import answers otherwise, and an interface is gone.

use std::collections::BTreeSet;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{HasSelf, Instance, InstancePre, Linker};

use super::{About, Answer, Exports, Job, MinionReturn, Version, v0_1};
use crate::items::{self, Failure, Item, Kind, Refusal};
use crate::plugins::calls::Delivery;
use crate::plugins::load::Interface;
use crate::plugins::state::GuestState;
use crate::plugins::{Grants, LoadError, Runtime};

use exports::salt::returner::{about, returns};

wasmtime::component::bindgen!({
    path: "../tests/guests/next/wit",
    world: "returner",
    imports: { default: async | trappable },
    exports: { default: async },
});

static BOTH: [Version; 2] = [v0_1::VERSION, Version { number: "0.2.0", link, find }];

fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    salt::returner::config::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl salt::returner::config::Host for GuestState {
    /// As 0.1 answers it, in the words of 0.2.
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, String>> {
        let value = v0_1::salt::returner::config::Host::get(self, name.clone()).await?;
        Ok(value.ok_or(format!("there is no `{name}`")))
    }
}

struct Found {
    about: about::GuestIndices,
    returns: returns::GuestIndices,
}

fn find(pre: &InstancePre<GuestState>, _: &BTreeSet<Interface>) -> wasmtime::Result<Box<dyn Exports>> {
    Ok(Box::new(Found { about: about::GuestIndices::new(pre)?, returns: returns::GuestIndices::new(pre)? }))
}

fn none<'a, T: Send + 'a>() -> Answer<'a, T> {
    Box::pin(async { Ok(Err(Failure::Reject("0.2 has no such interface".to_owned()))) })
}

impl Exports for Found {
    fn describe<'a>(&'a self, store: &'a mut Store<GuestState>, guest: &'a Instance) -> Answer<'a, About> {
        Box::pin(async move {
            let name = self.about.load(&mut *store, guest)?.call_name(store).await?;
            Ok(Ok(About { name, version: "0.2".to_owned(), options: vec!["greeting".to_owned()] }))
        })
    }

    fn setup<'a>(&'a self, _: &'a mut Store<GuestState>, _: &'a Instance) -> Answer<'a, ()> {
        Box::pin(async { Ok(Ok(())) })
    }

    fn store<'a>(
        &'a self,
        store: &'a mut Store<GuestState>,
        guest: &'a Instance,
        _: Kind,
        batch: &'a [Delivery],
    ) -> Answer<'a, Vec<Refusal>> {
        Box::pin(async move {
            let returns = self.returns.load(&mut *store, guest)?;
            let answer = |delivery: &Delivery| match delivery.item() {
                Item::Return(item) => Some(returns::Answer {
                    minion: item.minion.to_string(),
                    value: item.value().to_owned(),
                    delivered: 1 + u32::from(delivery.redelivered),
                }),
                _ => None,
            };
            let batch: Vec<returns::Answer> = batch.iter().filter_map(answer).collect();
            let refused = returns.call_store(store, &batch).await?;
            let refusal = |(index, reason): (usize, Option<String>)| {
                Some(Refusal { index, failure: Failure::Reject(reason?) })
            };
            Ok(Ok(refused.into_iter().enumerate().filter_map(refusal).collect()))
        })
    }

    fn get_load<'a>(
        &'a self,
        _: &'a mut Store<GuestState>,
        _: &'a Instance,
        _: &'a str,
    ) -> Answer<'a, Option<String>> {
        none()
    }

    fn get_jid<'a>(
        &'a self,
        _: &'a mut Store<GuestState>,
        _: &'a Instance,
        _: &'a str,
    ) -> Answer<'a, Vec<MinionReturn>> {
        none()
    }

    fn get_fun<'a>(
        &'a self,
        _: &'a mut Store<GuestState>,
        _: &'a Instance,
        _: &'a str,
    ) -> Answer<'a, Vec<MinionReturn>> {
        none()
    }

    fn get_jids<'a>(
        &'a self,
        _: &'a mut Store<GuestState>,
        _: &'a Instance,
        _: Option<u32>,
    ) -> Answer<'a, Vec<Job>> {
        none()
    }

    fn get_minions<'a>(&'a self, _: &'a mut Store<GuestState>, _: &'a Instance) -> Answer<'a, Vec<String>> {
        none()
    }

    fn clean<'a>(&'a self, _: &'a mut Store<GuestState>, _: &'a Instance, _: u64) -> Answer<'a, u64> {
        none()
    }
}

fn item(minion: &str) -> Item {
    let text = format!(r#"{{"jid":"1","id":"{minion}","fun":"f","return":{{"a":1}}}}"#);
    items::parse(Kind::Return, &text, String::new).unwrap()
}

/// What a plugin says to two items, the second of which it has had before.
async fn store(plugin: crate::plugins::Plugin) -> Vec<Refusal> {
    let plugin = std::sync::Arc::new(plugin);
    let mut grants = Grants::nothing("next");
    grants.options.insert("greeting".to_owned(), "hello".to_owned());
    grants.limits.time = Duration::from_secs(60);
    let mut instance = crate::plugins::Instance::new(&plugin, &std::sync::Arc::new(grants)).await.unwrap();
    instance.setup().await.unwrap();
    let items = [item("web1"), item("web2")];
    let delivery =
        |(item, redelivered)| Delivery { given: std::sync::Arc::new(item), accepted: 1, redelivered };
    let batch = items.into_iter().zip([false, true]).map(delivery).collect();
    instance.store(Kind::Return, batch).await.unwrap()
}

#[tokio::test]
async fn both_versions_work_side_by_side_and_a_host_of_one_says_what_to_upgrade() {
    let compiled = tempfile::tempdir().unwrap();
    let (older, newer) = (returner_servers::guest("nameless").await, returner_servers::guest("next").await);
    let source =
        |path: &std::path::Path| crate::config::PluginSource::File { path: path.to_owned(), sha256: None };
    let both = Runtime::speaking(&BOTH, &compiled.path().join("both")).unwrap();
    let plugin = both.load(&source(&older)).await.unwrap();
    assert_eq!(plugin.contract, "0.1.0");
    assert_eq!(store(plugin).await.len(), 0, "it keeps nothing, and refuses nothing");
    let plugin = both.load(&source(&newer)).await.unwrap();
    assert_eq!((plugin.title().as_str(), plugin.contract), ("next 0.2", "0.2.0"));
    let refused: Vec<String> =
        store(plugin).await.iter().map(|refusal| refusal.failure.message().to_owned()).collect();
    let said = ["hello web1 with {\"a\":1}, delivery 1", "hello web2 with {\"a\":1}, delivery 2"];
    assert_eq!(refused, said);

    // A host that speaks one of them.
    for (spoken, path, advice) in [
        (&BOTH[..1], &newer, "upgrade the host, or build the plugin against the `wit/` of this one"),
        (&BOTH[1..], &older, "build the plugin against the `wit/` of this host"),
    ] {
        let one = Runtime::speaking(spoken, &compiled.path().join(spoken[0].number)).unwrap();
        let error = one.load(&source(path)).await.err().unwrap();
        assert!(matches!(error, LoadError::OtherContract { .. }), "{error}");
        assert!(error.to_string().contains(advice), "{error}");
        assert!(error.to_string().contains(&format!("this host speaks {}", spoken[0].number)), "{error}");
    }
}
