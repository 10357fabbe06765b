//! PostgreSQL: a kind of connection that no bundled returner has.
//!
//! Salt's keys for its own returners describe it: `returner.pgjsonb.host` and those beside it
//! the connection `pgjsonb`, `returner.postgres.host` the connection `postgres`; with a profile
//! in front (`alternative.returner.pgjsonb.host`) the connection `alternative.pgjsonb`, which
//! falls back to the one without, key by key, and that to Salt's defaults.

use std::collections::BTreeMap;

use super::bundled::contents;
use super::error::{Finding, Findings};
use super::layer::{Chain, Layer, Value};
use super::salt_keys::{self, Key};
use super::secret::Secret;
use super::section::Section;
use super::settings::{ConnectionSettings, PostgresSettings, PostgresTls, ReturnerSettings, TlsSettings};

/// What Salt's returners put before their names.
const PREFIX: &str = "returner";

/// One of Salt's returners for PostgreSQL: its name, its keys, and what it calls the password.
struct Salts {
    name: &'static str,
    keys: &'static [Key],
    password: &'static str,
}

const SALTS: [Salts; 2] = [
    Salts { name: "pgjsonb", keys: salt_keys::PGJSONB, password: "pass" },
    Salts { name: "postgres", keys: salt_keys::POSTGRES, password: "passwd" },
];

/// The connections that are described, by their names.
pub(super) fn read(root: &Section<'_>, findings: &mut Findings) -> BTreeMap<String, ConnectionSettings> {
    let mut connections = BTreeMap::new();
    for salts in SALTS {
        let defaults = salts.defaults();
        let base = salts.layer(&root.under(PREFIX), findings);
        let mut describe = |name: String, layers: &[Option<&Layer>]| {
            let chain = Chain(layers.iter().copied().flatten().chain([&defaults]).collect());
            connections.insert(name, ConnectionSettings::Postgres(salts.settings(&chain)));
        };
        for profile in root.names_with(PREFIX) {
            if let Some(layer) = salts.layer(&root.under(profile).under(PREFIX), findings) {
                describe(format!("{profile}.{}", salts.name), &[Some(&layer), base.as_ref()]);
            }
        }
        if let Some(base) = &base {
            describe(salts.name.to_owned(), &[Some(base)]);
        }
    }
    connections
}

/// Warns of connections that no returner has.
pub(super) fn warn_of_unused<'r>(
    connections: &BTreeMap<String, ConnectionSettings>,
    returners: impl Iterator<Item = &'r ReturnerSettings>,
    findings: &mut Findings,
) {
    let granted: Vec<&str> =
        returners.flat_map(|returner| returner.connections.values()).map(String::as_str).collect();
    for name in connections.keys().filter(|name| !granted.contains(&name.as_str())) {
        let warning =
            Finding::nowhere(format!("the connection `{name}` is described, and no returner has it"));
        let returner = name.rsplit('.').next().unwrap_or(name);
        findings.warning(warning.hint(format!(
            "`{returner}.plugin: FILE` and `{returner}.connections: {{db: {name}}}` give it to one"
        )));
    }
}

impl Salts {
    fn layer(&self, parent: &Section<'_>, findings: &mut Findings) -> Option<Layer> {
        let section = parent.under(self.name);
        if section.is_empty() {
            return None;
        }
        let known: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        section.only(&known, findings);
        let layer = Layer::of_keys(self.keys, &section, findings);
        check(&layer, &section, findings);
        Some(layer)
    }

    fn defaults(&self) -> Layer {
        let text = || Value::Text("salt".to_owned());
        Layer(BTreeMap::from([
            ("host", text()),
            ("port", Value::Number(5432)),
            ("user", text()),
            (self.password, Value::Secret(Secret::from("salt"))),
            ("db", text()),
        ]))
    }

    fn settings(&self, chain: &Chain<'_>) -> PostgresSettings {
        let mode = chain.text("sslmode").and_then(|text| mode(&text));
        let (ca, certificate) = (chain.path("sslrootcert"), chain.path("sslcert"));
        let key = chain.path("sslkey");
        let contents = contents([&ca, &certificate, &key]);
        PostgresSettings {
            host: chain.text("host").unwrap_or_default(),
            port: chain.number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            user: chain.text("user").unwrap_or_default(),
            password: chain.secret(self.password),
            database: chain.text("db").unwrap_or_default(),
            tls_mode: mode.unwrap_or(PostgresTls::Prefer),
            tls: TlsSettings { ca, certificate, key, contents },
        }
    }
}

fn mode(text: &str) -> Option<PostgresTls> {
    PostgresTls::ALL.into_iter().find(|mode| mode.name() == text)
}

fn check(layer: &Layer, section: &Section<'_>, findings: &mut Findings) {
    let mut wrong = |name: &str, what: &str, hint: &str| {
        let found = section.find(name, &mut Findings::default());
        found.into_iter().for_each(|found| findings.error(found.wrong(what).hint(hint)));
    };
    if let Some(Value::Text(text)) = layer.0.get("sslmode")
        && mode(text).is_none()
    {
        let known: Vec<&str> = PostgresTls::ALL.into_iter().map(PostgresTls::name).collect();
        wrong("sslmode", "is no mode of TLS", &format!("it is one of `{}`", known.join("`, `")));
    }
    if layer.0.contains_key("sslcrl") {
        let hint = "leave it out, or have a proxy before the server that looks at it";
        wrong("sslcrl", "names certificates that were revoked, which this host does not look at", hint);
    }
}
