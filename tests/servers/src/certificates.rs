//! Certificates for tests, signed by an authority that nobody else knows.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::directory::Directory;

/// An authority, its files in a directory of its own.
#[derive(Debug)]
pub struct Authority {
    directory: Directory,
    issuer: Issuer<'static, KeyPair>,
}

/// The PEM files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Both in one file.
    pub both: PathBuf,
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Panics
    ///
    /// If the system has no random numbers, or the directory cannot be written to.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are no wrong names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for its own issuer if both have one name.
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let certificate = params.self_signed(&key).expect("a certificate can be signed");
        let directory = Directory::new("authority");
        directory.write("ca.pem", certificate.pem());
        Self { directory, issuer: Issuer::new(params, key) }
    }

    /// Its own certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for `127.0.0.1` and `localhost`, under a name for its files; another one
    /// each time.
    ///
    /// # Panics
    ///
    /// As [`Authority::new`].
    #[must_use]
    pub fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().expect("a key can be made");
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate can be signed");
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let both = self.directory.write(&format!("{name}.both.pem"), format!("{certificate}{key}"));
        Issued {
            certificate: self.directory.write(&format!("{name}.pem"), certificate),
            key: self.directory.write(&format!("{name}.key"), key),
            both,
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
